/** One connection on an in-memory stream, with a dispatcher that answers when the test says so. */
import { Duplex, duplexPair as nodeDuplexPair } from 'node:stream'
import { test } from 'tap'
import { Connection } from '../../src/broker/connection.js'
import type { Dispatcher, DispatchResult } from '../../src/broker/dispatcher.js'
import { CLOSE_CONNECTION, NO_RESPONSE } from '../../src/broker/handler.js'
import { LimitedLog } from '../../src/broker/limited-log.js'
import { DEFAULT_LIMITS, type Limits } from '../../src/broker/limits.js'
import { ReceiveMemory } from '../../src/broker/receive-memory.js'
import { RequestMemory } from '../../src/broker/request-memory.js'
import { ProtocolError } from '../../src/protocol/protocol-error.js'
import { RememberingLogger, sleep } from '../hostile/support.js'
import { ManualClock } from './support/manual-clock.js'

/** Two ends of one stream. Node has had its own since 20.17 (and 22.6); older ones get this. */
function duplexPair (): [Duplex, Duplex] {
  if (typeof nodeDuplexPair === 'function') return nodeDuplexPair() as [Duplex, Duplex]
  const ends: Duplex[] = []
  for (const other of [1, 0]) {
    ends.push(new Duplex({
      read () {},
      write (chunk, _encoding, callback) { ends[other]!.push(chunk); callback() },
      final (callback) { ends[other]!.push(null); callback() }
    }))
  }
  return ends as [Duplex, Duplex]
}

function setUp (limits: Partial<Limits> = {}) {
  const clock = new ManualClock()
  const log = new RememberingLogger()
  const [client, stream] = duplexPair()
  const all = { ...DEFAULT_LIMITS, ...limits }
  /** Requests as text; an answer is had with `answer(index, ...)`. */
  const begun: string[] = []
  const answers: ((result: DispatchResult) => void)[] = []
  let sentCount = 0
  const dispatcher = {
    dispatch (frame: Buffer, _connection: unknown, onSent: (callback: () => void) => void) {
      const text = frame.toString()
      if (text === 'malformed') throw new ProtocolError('malformed on purpose')
      begun.push(text)
      onSent(() => { sentCount++ })
      if (text.startsWith('now')) return [Buffer.from(`<${text}>`)]
      return new Promise<DispatchResult>((resolve) => answers.push(resolve))
    }
  } as unknown as Dispatcher
  let closed = false
  const connection = new Connection({
    connectionId: 1,
    listenerName: 'PLAINTEXT',
    clientHost: '/memory',
    dispatcher,
    limits: all,
    memory: new RequestMemory(all, clock),
    receiveMemory: new ReceiveMemory(),
    clock,
    log: new LimitedLog(log.logger, clock),
    onClose: () => { closed = true }
  }, () => stream)
  let received = ''
  client.on('data', (chunk: Buffer) => { received += chunk.toString() })
  client.on('error', () => {})
  /** In one chunk. */
  const send = (...texts: string[]): void => {
    client.write(Buffer.concat(texts.flatMap((text) => {
      const length = Buffer.alloc(4)
      length.writeInt32BE(text.length)
      return [length, Buffer.from(text)]
    })))
  }
  return {
    client, clock, log, connection, send, begun,
    answer: (index: number, text: string) => answers[index]!([Buffer.from(`<${text}>`)]),
    settle: (index: number, result: DispatchResult) => answers[index]!(result),
    received: () => received,
    isClosed: () => closed,
    sentCount: () => sentCount
  }
}

test('answers wait for their turn, whatever the order in which they are ready', async (t) => {
  const { send, answer, settle, received, sentCount, client } = setUp()
  send('a', 'now b', 'c', 'd')
  await sleep(5)
  t.equal(received(), '')
  answer(1, 'c')
  await sleep(5)
  t.equal(received(), '', 'c is not first')
  answer(0, 'a')
  settle(2, NO_RESPONSE)
  await sleep(5)
  t.equal(received(), '<a><now b><c>')
  t.equal(sentCount(), 4, 'each is told that it has left, the one without an answer, too')
  client.destroy()
})

test('no more than so many requests are begun before the first is answered', async (t) => {
  const { send, answer, begun, client, connection } = setUp({ requestsInFlightMax: 2 })
  send('a', 'b', 'c')
  await sleep(5)
  t.same(begun, ['a', 'b'])
  t.equal(connection.requestBytes, 3)
  answer(0, 'a')
  await sleep(5)
  t.same(begun, ['a', 'b', 'c'])
  client.destroy()
})

test('many requests of one connection take several turns of the event loop', async (t) => {
  const { send, begun, client, received } = setUp()
  send(...Array.from({ length: 200 }, (_, index) => `now ${index}`))
  let turns = 0
  while (begun.length < 200 && turns < 1000) {
    const before = begun.length
    await new Promise((resolve) => setImmediate(resolve))
    if (begun.length - before > 64) t.fail(`${begun.length - before} requests in one turn`)
    turns++
  }
  await sleep(5)
  t.equal(received().match(/<now \d+>/g)?.length, 200)
  client.destroy()
})

test('a handler that closes: what came before is sent, what came behind is not', async (t) => {
  const { send, answer, settle, received, isClosed, sentCount } = setUp()
  send('a', 'b', 'c')
  await sleep(5)
  settle(1, CLOSE_CONNECTION)
  answer(2, 'c')
  answer(0, 'a')
  await sleep(20)
  t.equal(received(), '<a>')
  t.equal(sentCount(), 3)
  t.ok(isClosed())
})

test('a malformed request: those before it are answered first', async (t) => {
  const { send, answer, received, isClosed, log, begun } = setUp()
  send('a', 'malformed', 'c')
  await sleep(5)
  t.notOk(isClosed(), 'a is in work')
  answer(0, 'a')
  await sleep(20)
  t.equal(received(), '<a>')
  t.same(begun, ['a'])
  t.ok(isClosed())
  t.same(log.matching(/./), ['closed a connection from memory: malformed on purpose'])
})

test('the client ends its side: its requests are answered, but not waited for without end', async (t) => {
  const first = setUp()
  first.send('a')
  first.client.end()
  await sleep(5)
  t.ok(first.connection.closed.aborted, 'long polls are told')
  first.answer(0, 'a')
  await sleep(20)
  t.equal(first.received(), '<a>')
  t.ok(first.isClosed())

  const second = setUp({ drainDeadlineMs: 5_000 })
  second.send('a')
  second.client.end()
  await sleep(5)
  second.clock.advance(5_000)
  second.connection.checkDeadlines(second.clock.monotonic())
  await sleep(5)
  t.notOk(second.isClosed())
  second.clock.advance(1)
  second.connection.checkDeadlines(second.clock.monotonic())
  await sleep(5)
  t.ok(second.isClosed(), 'an answer that never comes')
})

test('a client that takes nothing is closed; one that is slow is not', async (t) => {
  const { client, clock, connection, send, settle, isClosed, log } = setUp({ unsentDeadlineMs: 10_000, unsentBytesMax: 1000 })
  client.pause()
  send('a', 'b')
  await sleep(5)
  settle(0, Array.from({ length: 20 }, () => Buffer.alloc(20_000)))
  await sleep(5)
  const check = async (ms: number): Promise<void> => {
    clock.advance(ms)
    connection.checkDeadlines(clock.monotonic())
    await sleep(2)
  }
  await check(1)
  for (let step = 0; step < 5; step++) {
    await check(9_000)
    t.notOk(isClosed())
    // It takes some.
    client.read(20_000) ?? client.read()
    await sleep(2)
  }
  await check(1)
  await check(10_001)
  t.ok(isClosed())
  t.match(log.matching(/./), [/took nothing of its responses for 10000 ms/])
})

test('drain answers what is in work and takes no more', async (t) => {
  const { client, connection, send, answer, received, begun } = setUp()
  send('a')
  await sleep(5)
  let drained = false
  const draining = connection.drain().then(() => { drained = true })
  send('b')
  await sleep(5)
  t.notOk(drained)
  answer(0, 'a')
  await sleep(5)
  t.equal(received(), '<a>')
  t.same(begun, ['a'])
  client.end()
  await draining
  t.ok(drained)
})
