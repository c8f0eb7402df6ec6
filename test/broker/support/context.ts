/** Where a handler's request came from, in a test. */
import type { RequestContext } from '../../../src/broker/handler.js'

export function contextOf (apiVersion: number, closed: AbortSignal = new AbortController().signal, onSent: RequestContext['onSent'] = () => {}): RequestContext {
  return { apiVersion, correlationId: 1, clientId: 'test', listenerName: 'PLAINTEXT', clientHost: '/127.0.0.1', connectionId: 1, closed, onSent }
}
