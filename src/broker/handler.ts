/**
 * What a handler is: one Kafka API, one function, the services it names.
 *
 * The synchronous prefix of `handle` runs in the order in which requests arrived on a connection; only what follows its first
 * `await` may overlap. Responses are sent in request order whatever the handlers do.
 */
import type { Api, RequestOf, ResponseInputOf } from '../protocol/schema.js'
import type { Services } from './services.js'

/** Where a request came from. */
export interface RequestContext {
  readonly apiVersion: number
  readonly correlationId: number
  /** As the client names itself; '' when it does not. */
  readonly clientId: string
  /** Name of the listener that accepted the connection; its advertised address is what the client is told. */
  readonly listenerName: string
  /** Peer's address without port, as Kafka prints it in group descriptions: '/127.0.0.1'. */
  readonly clientHost: string
  /** Unique among the connections of this broker. */
  readonly connectionId: number
  /** Aborted when the connection is gone: long polls end early. */
  readonly closed: AbortSignal
  /**
   * Calls `callback` once, when the response has left the process or never will: what it references is no longer held for it. A
   * request has one such callback.
   */
  onSent (callback: () => void): void
}

/** Answer nothing and keep the connection (Produce with acks=0). */
export const NO_RESPONSE = Symbol('no response')
/** Close the connection: Kafka's way to report an error where no response is expected. */
export const CLOSE_CONNECTION = Symbol('close connection')

export type HandlerResult<A extends Api<any, any>> = ResponseInputOf<A> | typeof NO_RESPONSE | typeof CLOSE_CONNECTION

export interface Handler<A extends Api<any, any> = Api<any, any>, S = any> {
  readonly api: A
  /** Narrower than the declared versions where this broker serves fewer, e.g. '0-5'. */
  readonly versions?: string
  /**
   * Nothing of the request's bytes is looked at after the handler's first await (strings are no bytes). Such a handler gets them where they were
   * received; the others get a copy.
   */
  readonly copiesRequest?: true
  readonly handle: (services: S, request: RequestOf<A>, context: RequestContext) => HandlerResult<A> | Promise<HandlerResult<A>>
}

/** Types a handler; S is inferred from the signature of `handle` and must be a part of `Services`. */
export function handler<A extends Api<any, any>, S extends Partial<Services>>(definition: Handler<A, S>): Handler<A, S> {
  return definition
}
