/** One connection on an in-memory stream and on a socket of the addon's, with a dispatcher that answers when the test says so. */
import { Duplex, duplexPair as nodeDuplexPair } from 'node:stream'
import net from 'node:net'
import { test, type Test } from 'tap'
import type { Connection } from '../../src/broker/connection.js'
import type { Dispatcher, DispatchResult } from '../../src/broker/dispatcher.js'
import { CLOSE_CONNECTION, NO_RESPONSE } from '../../src/broker/handler.js'
import { LimitedLog } from '../../src/broker/limited-log.js'
import { DEFAULT_LIMITS, type Limits } from '../../src/broker/limits.js'
import { Peer } from '../../src/broker/peer.js'
import { ReceiveMemory } from '../../src/broker/receive-memory.js'
import { RequestMemory } from '../../src/broker/request-memory.js'
import { loadBinding } from '../../src/binding.js'
import { NativeSockets } from '../../src/transport/native-transport.js'
import { StreamTransport } from '../../src/transport/stream-transport.js'
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

type Kind = 'stream' | 'native'
type MakePeer = (id: number) => Peer
interface Connected { readonly client: Duplex, readonly peer: Peer, awake (): Connection, close (): void }

/** A connection on one end, and the other end. */
async function connect (kind: Kind, receiveBuffer: Buffer, make: MakePeer): Promise<Connected> {
  if (kind === 'stream') {
    const [client, stream] = duplexPair()
    const peer = make(1)
    const connection = peer.open()
    connection.transport = new StreamTransport(stream, connection)
    return { client, peer, awake: () => connection, close: () => {} }
  }
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  let sockets: NativeSockets
  const accepted = new Promise<Peer>((resolve) => {
    sockets = NativeSockets.open({
      receiveBuffer,
      keepsProcessAlive: false,
      onAccepted: (id) => {
        const peer = make(id)
        setImmediate(resolve, peer)
        return peer
      },
      onAcceptFailed: (_listener, error) => { throw error }
    }) as NativeSockets
    sockets.listen((server as unknown as { _handle: { fd: number } })._handle.fd)
    server.close()
  })
  const client = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const peer = await accepted
  const awake = (): Connection => {
    sockets.wake(peer.connectionId)
    return peer.connection!
  }
  return { client, peer, awake, close: () => sockets.close() }
}

async function setUpOn (t: Test, kind: Kind, limits: Partial<Limits> = {}) {
  const clock = new ManualClock()
  const log = new RememberingLogger()
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
  const receiveMemory = new ReceiveMemory()
  const options = {
    listenerName: 'PLAINTEXT', dispatcher, limits: all, memory: new RequestMemory(all, clock), receiveMemory, clock, log: new LimitedLog(log.logger, clock),
    onClose: () => { closed = true }
  }
  const { client, peer, awake, close } = await connect(kind, receiveMemory.shared, (id) => new Peer(options, id, '/memory'))
  t.teardown(() => {
    client.destroy()
    close()
  })
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
    client, clock, log, peer, send, begun,
    connection: awake(),
    answer: (index: number, text: string) => answers[index]!([Buffer.from(`<${text}>`)]),
    settle: (index: number, result: DispatchResult) => answers[index]!(result),
    received: () => received,
    isClosed: () => closed,
    sentCount: () => sentCount
  }
}

type Pause = (ms: number) => Promise<void>

/** Each test runs on every transport that there is here. What takes a turn of the event loop on a stream takes the kernel's time on a socket. */
function onEach (name: string, body: (t: Test, setUp: (limits?: Partial<Limits>) => ReturnType<typeof setUpOn>, pause: Pause) => Promise<void>): void {
  for (const kind of ['stream', 'native'] as const) {
    const skip = kind === 'native' && !('binding' in loadBinding()) && 'there is no addon here'
    void test(`${kind}: ${name}`, { skip }, async (t) => {
      await body(t, async (limits) => await setUpOn(t, kind, limits), async (ms) => { await sleep(kind === 'native' ? ms * 8 : ms) })
    })
  }
}

onEach('answers wait for their turn, whatever the order in which they are ready', async (t, setUp, pause) => {
  const { send, answer, settle, received, sentCount, client } = await setUp()
  send('a', 'now b', 'c', 'd')
  await pause(5)
  t.equal(received(), '')
  answer(1, 'c')
  await pause(5)
  t.equal(received(), '', 'c is not first')
  answer(0, 'a')
  settle(2, NO_RESPONSE)
  await pause(5)
  t.equal(received(), '<a><now b><c>')
  t.equal(sentCount(), 4, 'each is told that it has left, the one without an answer, too')
  client.destroy()
})

test('native: nothing is kept of a connection that has nothing to do but who it is', { skip: !('binding' in loadBinding()) }, async (t) => {
  const { client, peer, connection, send, answer, settle, received, clock, isClosed } = await setUpOn(t, 'native')
  clock.advance(7)
  send('a')
  await sleep(30)
  t.equal(peer.connection, connection, 'a request is in work')
  const { closed } = connection
  answer(0, 'a')
  await sleep(30)
  t.equal(peer.connection, undefined)
  t.equal(peer.lastActiveMs, clock.monotonic())
  client.write(Buffer.from([0, 0]))
  await sleep(30)
  t.not(peer.connection, undefined, 'half of a length')
  t.not(peer.connection, connection)
  client.write(Buffer.from([0, 1, 98]))
  await sleep(30)
  answer(1, 'b')
  await sleep(30)
  t.equal(received(), '<a><b>')
  t.equal(peer.connection, undefined)
  send('c')
  await sleep(30)
  settle(2, NO_RESPONSE)
  await sleep(1)
  peer.connection!.checkDeadlines(clock.monotonic())
  t.equal(peer.connection, undefined, 'without an answer, from the next look at the deadlines on')
  // Now it is not another protocol's beginning, but a request that is too large.
  client.write('GET / HTTP/1.1')
  await sleep(30)
  t.ok(isClosed())
  t.notOk(closed.aborted, 'what was answered is not told')
})

onEach('no more than so many requests are begun before the first is answered', async (t, setUp, pause) => {
  const { send, answer, begun, client, connection } = await setUp({ requestsInFlightMax: 2 })
  send('a', 'b', 'c')
  await pause(5)
  t.same(begun, ['a', 'b'])
  t.equal(connection.requestBytes, 3)
  answer(0, 'a')
  await pause(5)
  t.same(begun, ['a', 'b', 'c'])
  client.destroy()
})

onEach('many requests of one connection take several turns of the event loop', async (t, setUp, pause) => {
  const { send, begun, client, received } = await setUp()
  send(...Array.from({ length: 200 }, (_, index) => `now ${index}`))
  let turns = 0
  while (begun.length < 200 && turns < 1000) {
    const before = begun.length
    await new Promise((resolve) => setImmediate(resolve))
    if (begun.length - before > 64) t.fail(`${begun.length - before} requests in one turn`)
    turns++
  }
  await pause(5)
  t.equal(received().match(/<now \d+>/g)?.length, 200)
  client.destroy()
})

onEach('a handler that closes: what came before is sent, what came behind is not', async (t, setUp, pause) => {
  const { send, answer, settle, received, isClosed, sentCount } = await setUp()
  send('a', 'b', 'c')
  await pause(5)
  settle(1, CLOSE_CONNECTION)
  answer(2, 'c')
  answer(0, 'a')
  await pause(20)
  t.equal(received(), '<a>')
  t.equal(sentCount(), 3)
  t.ok(isClosed())
})

onEach('a malformed request: those before it are answered first', async (t, setUp, pause) => {
  const { send, answer, received, isClosed, log, begun } = await setUp()
  send('a', 'malformed', 'c')
  await pause(5)
  t.notOk(isClosed(), 'a is in work')
  answer(0, 'a')
  await pause(20)
  t.equal(received(), '<a>')
  t.same(begun, ['a'])
  t.ok(isClosed())
  t.same(log.matching(/./), ['closed a connection from memory: malformed on purpose'])
})

onEach('the client ends its side: its requests are answered, but not waited for without end', async (t, setUp, pause) => {
  const first = await setUp()
  first.send('a')
  first.client.end()
  await pause(5)
  t.ok(first.connection.closed.aborted, 'long polls are told')
  first.answer(0, 'a')
  await pause(20)
  t.equal(first.received(), '<a>')
  t.ok(first.isClosed())

  const second = await setUp({ drainDeadlineMs: 5_000 })
  second.send('a')
  second.client.end()
  await pause(5)
  second.clock.advance(5_000)
  second.connection.checkDeadlines(second.clock.monotonic())
  await pause(5)
  t.notOk(second.isClosed())
  second.clock.advance(1)
  second.connection.checkDeadlines(second.clock.monotonic())
  await pause(5)
  t.ok(second.isClosed(), 'an answer that never comes')
})

/** On a stream, whose buffers are small; test/hostile has clients of real sockets that do not read. */
test('a client that takes nothing is closed; one that is slow is not', async (t) => {
  const { client, clock, connection, send, settle, isClosed, log } = await setUpOn(t, 'stream', { unsentDeadlineMs: 10_000, unsentBytesMax: 1000 })
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

onEach('drain answers what is in work and takes no more', async (t, setUp, pause) => {
  const { client, connection, send, answer, received, begun } = await setUp()
  send('a')
  await pause(5)
  let drained = false
  const draining = connection.drain().then(() => { drained = true })
  send('b')
  await pause(5)
  t.notOk(drained)
  answer(0, 'a')
  await pause(5)
  t.equal(received(), '<a>')
  t.same(begun, ['a'])
  client.end()
  await draining
  t.ok(drained)
})
