/**
 * Malformed, strange and unfinished requests: each costs the one connection that sent it, is told in one line of the log, and a
 * neighbour notices nothing.
 */
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'tap'
import type { BrokerOptions } from '../../src/broker/options.js'
import { Broker } from '../../src/index.js'
import { ErrorCode } from '../../src/protocol/error-codes.js'
import { responseDecoder } from '../../src/protocol/codec.js'
import { produce } from '../../src/protocol/schemas/00-produce.js'
import { metadata } from '../../src/protocol/schemas/03-metadata.js'
import { listOffsets } from '../../src/protocol/schemas/02-list-offsets.js'
import { fetch } from '../../src/protocol/schemas/01-fetch.js'
import { joinGroup } from '../../src/protocol/schemas/11-join-group.js'
import { apiVersions } from '../../src/protocol/schemas/18-api-versions.js'
import { plainBatch } from '../broker/support/batches.js'
import { ManualClock } from '../broker/support/manual-clock.js'
import { connect } from '../support/raw-client.js'
import { fetchRequest, makeTopic, Neighbour, produceRequest, RememberingLogger, requestBytes, sleep, until } from './support.js'

async function setUp (options: BrokerOptions = {}) {
  const log = new RememberingLogger()
  const broker = await Broker.start({ logger: log.logger, ...options })
  return { broker, log, port: broker.port }
}

/** Sends bytes on a connection of its own; resolves with all that came back when the broker has closed it. */
async function exchangeUntilClosed (port: number, bytes: Buffer, withinMs = 3_000): Promise<Buffer> {
  const socket = net.connect({ port, host: '127.0.0.1' })
  const received: Buffer[] = []
  socket.on('data', (chunk) => received.push(chunk))
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(bytes)
  const timer = setTimeout(() => socket.destroy(new Error('never closed')), withinMs)
  const [hadError] = await once(socket, 'close') as [boolean]
  clearTimeout(timer)
  if (hadError && received.length === 0 && socket.errored?.message === 'never closed') throw new Error('the broker did not close the connection')
  return Buffer.concat(received)
}

function int32 (...values: number[]): Buffer {
  const out = Buffer.alloc(values.length * 4)
  values.forEach((value, index) => out.writeInt32BE(value, index * 4))
  return out
}

function prefix (apiKey: number, apiVersion: number, correlationId = 7): Buffer {
  const out = Buffer.alloc(14)
  out.writeInt32BE(10, 0)
  out.writeInt16BE(apiKey, 4)
  out.writeInt16BE(apiVersion, 6)
  out.writeInt32BE(correlationId, 8)
  out.writeInt16BE(-1, 12)
  return out
}

test('what is no request closes its connection with one clear line', async (t) => {
  const { broker, log, port } = await setUp()
  const neighbour = await Neighbour.start(port)
  const cases: readonly (readonly [string, Buffer, RegExp])[] = [
    ['length 0', int32(0), /a frame of 0 bytes/],
    ['length -1', int32(-1), /a frame of -1 bytes/],
    ['the smallest length', int32(-2147483648), /a frame of -2147483648 bytes/],
    ['the largest length', int32(2147483647), /socket\.request\.max\.bytes allows 104857600/],
    ['one over the limit', int32(104857601), /a frame of 104857601 bytes/],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'), /looks like HTTP/],
    ['a POST', Buffer.from('POST /topics HTTP/1.1\r\n\r\n'), /looks like HTTP/],
    ['TLS', Buffer.from('16030100f8010000f40303', 'hex'), /looks like a TLS handshake/],
    ['SSH', Buffer.from('SSH-2.0-OpenSSH_9.2\r\n'), /looks like SSH/],
    ['a frame too short for a header', Buffer.concat([int32(3), Buffer.from([0, 3, 0])]), /./],
    ['an unknown key', prefix(9999, 0), /API key 9999 version 0 is not served/],
    ['a negative key', prefix(-1, 0), /API key -1 version 0 is not served/],
    ['an unknown version', prefix(metadata.key, 99), /API key 3 version 99 is not served/],
    ['a negative version', prefix(metadata.key, -1), /API key 3 version -1 is not served/],
    ['a key that only brokers use', prefix(6, 0), /API key 6 version 0 is not served/],
    ['an array of two billion topics', Buffer.concat([int32(18), prefix(metadata.key, 4).subarray(4), int32(2_000_000_000, 0)]), /./]
  ]
  for (const [name, bytes, line] of cases) {
    const before = log.lines.length
    const answer = await exchangeUntilClosed(port, bytes)
    t.equal(answer.length, 0, `${name}: nothing is answered`)
    const lines = log.lines.slice(before)
    // Ten lines of a cause a minute are written; the cases after them are counted.
    if (before < 10) t.match(lines[0]?.message, line, `${name}: one line says why`)
    t.ok(lines.length <= 1, `${name}: and no more than one`)
    t.ok(lines.every(({ level }) => level === 'warn'), `${name}: is no bug`)
  }
  const { latencyMsMax, acknowledged } = await neighbour.stop()
  t.ok(acknowledged > 0 && latencyMsMax < 1_000, `the neighbour waited ${Math.round(latencyMsMax)} ms at most for each of ${acknowledged} records`)
  await until(() => broker.connectionCount === 0, 'all connections gone')
  await broker.close()
  t.equal(log.matching(/more of this kind/).length, 1, 'what was held back is counted at the end')
})

test('ApiVersions in a version of the future is answered in version 0 with what would do', async (t) => {
  const { broker, port } = await setUp()
  const client = await connect(port)
  const answer = await client.exchange([prefix(apiVersions.key, 99, 42)])
  t.equal(answer.readInt32BE(0), 42)
  const { errorCode, apiKeys } = responseDecoder(apiVersions, 0)(answer, 4)
  t.equal(errorCode, ErrorCode.UNSUPPORTED_VERSION)
  t.match(apiKeys, [{ apiKey: 18, minVersion: 0 }])
  const next = await client.send(apiVersions, 3, { clientSoftwareName: 'test', clientSoftwareVersion: '1' })
  t.equal(next.errorCode, 0, 'the connection lives on')
  client.close()
  await broker.close()
})

test('requests before a malformed one are answered, even in the same segment', async (t) => {
  const { broker, port } = await setUp()
  const good = requestBytes(metadata, 4, { topics: [], allowAutoTopicCreation: false } as never, 5)
  for (const [name, bad] of [['frame', int32(-5)], ['key', prefix(9999, 0)]] as const) {
    const answer = await exchangeUntilClosed(port, Buffer.concat([good, good, bad, good]))
    const first = answer.readInt32BE(0) + 4
    t.equal(answer.length, 2 * first, `two answers before a malformed ${name}, none after it`)
    t.equal(answer.readInt32BE(first + 4), 5)
  }
  await broker.close()
})

test('half a request and then silence: closed at its deadline, and no earlier', async (t) => {
  const clock = new ManualClock()
  const { broker, log, port } = await setUp({ clock, limits: { frameDeadlineMs: 10_000 } })
  const patient = await connect(port)
  const whole = requestBytes(metadata, 4, { topics: [] } as never)
  patient.write(whole.subarray(0, 10))
  const neighbour = await connect(port)
  for (let second = 0; second < 9; second++) {
    clock.advance(1_000)
    await neighbour.send(metadata, 4, { topics: [] } as never)
  }
  t.equal(broker.connectionCount, 2, 'the time is not over')
  const answered = patient.nextFrame()
  patient.write(whole.subarray(10))
  t.ok((await answered).length > 4, 'a slow request that arrives in time is answered')
  patient.write(whole.subarray(0, 3))
  // One that trickles in is as slow: each byte is progress, the whole is not.
  let closed = false
  void patient.closed.then(() => { closed = true })
  let sent = 3
  await sleep(20)
  for (let second = 0; second < 13 && !closed; second++) {
    clock.advance(1_000)
    if (sent < 20) patient.write(whole.subarray(sent, ++sent))
    await sleep(5)
  }
  await patient.closed
  t.match(log.matching(/did not complete a request/), [/did not complete a request within 1[01]\d\d\d ms/])
  neighbour.close()
  await broker.close()
})

test('a connection that lies idle is closed after connections.max.idle.ms', async (t) => {
  const clock = new ManualClock()
  const { broker, port } = await setUp({ clock, config: { 'connections.max.idle.ms': 30_000 } })
  const idle = await connect(port)
  const silent = await connect(port)
  const active = await connect(port)
  await idle.send(metadata, 4, { topics: [] } as never)
  for (let second = 0; second < 32; second++) {
    clock.advance(1_000)
    await active.send(metadata, 4, { topics: [] } as never)
  }
  await idle.closed
  await silent.closed
  t.equal(broker.connectionCount, 1, 'the active one lives')
  active.close()
  await broker.close()
})

/** One session with every kind of answer: versions, a topic made, records in and out, offsets, a refusal. */
function recordedSession (): { readonly bytes: Buffer, readonly requestCount: number } {
  const requests = [
    requestBytes(apiVersions, 3, { clientSoftwareName: 'session', clientSoftwareVersion: '1' }, 1),
    requestBytes(metadata, 9, { topics: [{ name: 'session' }], allowAutoTopicCreation: false } as never, 2),
    requestBytes(produce, 9, produceRequest('session', plainBatch(3, 200)), 3),
    requestBytes(fetch, 11, fetchRequest('session', 0, { bytesMax: 300 }), 4),
    requestBytes(produce, 3, produceRequest('no-such-topic', plainBatch(1)), 5),
    requestBytes(listOffsets, 5, { replicaId: -1, isolationLevel: 0, topics: [{ name: 'session', partitions: [{ partitionIndex: 0, timestamp: -2 }] }] } as never, 6)
  ]
  return { bytes: Buffer.concat(requests), requestCount: requests.length }
}

/** Plays a session in these pieces; resolves with its answers, offsets and times that grow with each session blanked out. */
async function play (port: number, pieces: readonly Buffer[], requestCount: number): Promise<string> {
  const client = await connect(port)
  const answers: string[] = []
  for (const piece of pieces) {
    client.write(piece)
    await new Promise((resolve) => setImmediate(resolve))
  }
  for (let index = 0; index < requestCount; index++) {
    const frame = await client.nextFrame()
    // Produce and Fetch say where the log ends now: their lengths and correlation ids are compared, the rest by other tests.
    answers.push(index === 2 || index === 3 ? `${frame.readInt32BE(0)}:${frame.length}` : frame.toString('hex'))
  }
  client.close()
  return answers.join('\n')
}

test('a session is answered alike at every split point, one byte at a time and in one piece', async (t) => {
  const { broker, port } = await setUp()
  const maker = await connect(port)
  await makeTopic(maker, 'session')
  await maker.send(produce, 9, produceRequest('session', plainBatch(3, 200)))
  const { bytes, requestCount } = recordedSession()
  const expected = await play(port, [bytes], requestCount)
  t.equal(expected.split('\n').length, requestCount)
  let different = 0
  for (let at = 1; at < bytes.length; at++) {
    if (await play(port, [bytes.subarray(0, at), bytes.subarray(at)], requestCount) !== expected) different++
  }
  t.equal(different, 0, `each of ${bytes.length - 1} split points gives the same answers`)
  const single = Array.from(bytes, (_, index) => bytes.subarray(index, index + 1))
  t.equal(await play(port, single, requestCount), expected, 'byte by byte')
  maker.close()
  await broker.close()
})

test('hundreds of pipelined requests are answered in order, fast ones and slow ones mixed', async (t) => {
  const { broker, port } = await setUp()
  const client = await connect(port)
  await makeTopic(client, 'pipelined')
  const answers: Promise<unknown>[] = []
  // The client fails on an answer out of order. A fetch at the end waits 20 ms, and what comes behind it must wait, too.
  for (let index = 0; index < 600; index++) {
    if (index % 100 === 0) answers.push(client.send(fetch, 11, fetchRequest('pipelined', 0, { maxWaitMs: 20, minBytes: 1e9 })))
    else if (index % 3 === 0) answers.push(client.send(produce, 9, produceRequest('pipelined', plainBatch(1))))
    else answers.push(client.send(metadata, 4, { topics: [{ name: 'pipelined' }] } as never))
  }
  t.equal((await Promise.all(answers)).length, 600)
  client.close()
  await broker.close()
})

test('a client that ends its side is answered what it asked for; one that held a JoinGroup is let go', async (t) => {
  const clock = new ManualClock()
  const { broker, port } = await setUp({ clock })
  const maker = await connect(port)
  await makeTopic(maker, 'half')
  maker.close()
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const requests = Array.from({ length: 300 }, (_, index) => requestBytes(metadata, 4, { topics: [{ name: 'half' }] } as never, index))
  socket.end(Buffer.concat(requests))
  const received: Buffer[] = []
  socket.on('data', (chunk) => received.push(chunk))
  await once(socket, 'end')
  const answers = Buffer.concat(received)
  const length = answers.readInt32BE(0) + 4
  t.equal(answers.length / length, 300, 'all 300 requests before the end are answered')
  t.equal(answers.readInt32BE(answers.length - length + 4), 299)

  // Two members, of which the second waits for the first, which never joins again.
  const first = await connect(port)
  const join = { groupId: 'g', sessionTimeoutMs: 60_000, rebalanceTimeoutMs: 600_000, memberId: '', protocolType: 'consumer', protocols: [{ name: 'range', metadata: Buffer.alloc(4) }] }
  const joined = first.send(joinGroup, 3, join as never)
  await until(() => clock.timers.size > 1, 'the group has a timer')
  clock.advance(10)
  await joined
  const held = net.connect({ port, host: '127.0.0.1' })
  await once(held, 'connect')
  held.end(requestBytes(joinGroup, 3, join as never))
  await until(() => broker.connectionCount === 1, 'the held connection is let go')
  t.pass('nothing is held for a client that is gone')
  first.close()
  await broker.close()
})
