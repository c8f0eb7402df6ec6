import { test } from 'tap'
import { Dispatcher } from '../../src/broker/dispatcher.js'
import { handler, NO_RESPONSE } from '../../src/broker/handler.js'
import { LimitedLog } from '../../src/broker/limited-log.js'
import type { Services } from '../../src/broker/services.js'
import { joinGroup } from '../../src/protocol/schemas/11-join-group.js'
import { RememberingLogger, requestBytes } from '../hostile/support.js'
import { ManualClock } from './support/manual-clock.js'

test('a frame may be overwritten when dispatch returns: only a handler that copies looks at it itself', async (t) => {
  for (const copies of [false, true]) {
    const seen: string[] = []
    const handle = async (_services: unknown, request: { protocols: readonly { metadata: Buffer }[] }) => {
      const { metadata } = request.protocols[0]!
      seen.push(metadata.toString())
      await undefined
      seen.push(metadata.toString())
      return NO_RESPONSE
    }
    const clock = new ManualClock()
    const dispatcher = new Dispatcher([handler({ api: joinGroup, ...(copies && { copiesRequest: true }), handle: handle as never })], {} as Services, new LimitedLog(new RememberingLogger().logger, clock))
    const frame = requestBytes(joinGroup, 5, { groupId: 'g', sessionTimeoutMs: 1, memberId: '', protocolType: 'consumer', protocols: [{ name: 'range', metadata: Buffer.from('mine') }] } as never).subarray(4)
    const connection = { listenerName: 'PLAINTEXT', clientHost: '/127.0.0.1', connectionId: 1, closed: new AbortController().signal }
    const answered = dispatcher.dispatch(frame, connection, () => {})
    frame.fill('x')
    await answered
    t.same(seen, ['mine', copies ? 'xxxx' : 'mine'])
  }
})
