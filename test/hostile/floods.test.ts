/**
 * Floods: many connections, large promises, answers that nobody reads, records that nobody waits for. The broker is a process of its
 * own, so that its memory can be measured; a neighbour works all the while and must be served as ever.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import tap, { test, type Test } from 'tap'
import { fetch } from '../../src/protocol/schemas/01-fetch.js'
import { listOffsets } from '../../src/protocol/schemas/02-list-offsets.js'
import { metadata } from '../../src/protocol/schemas/03-metadata.js'
import { produce } from '../../src/protocol/schemas/00-produce.js'
import { plainBatch } from '../broker/support/batches.js'
import { connect } from '../support/raw-client.js'
import { fetchRequest, makeTopic, Neighbour, produceRequest, requestBytes, residentBytes, sleep, until } from './support.js'
import { plainEnvironment, PLAIN_NODE } from '../support/plain-node.js'

tap.setTimeout(90_000)

const MEGABYTE = 1024 * 1024
const COMMAND = new URL('../../src/cli/main.js', import.meta.url).pathname

interface Child {
  readonly process: ChildProcess
  readonly port: number
  readonly log: () => string[]
  /** Largest resident memory seen so far, in bytes. */
  readonly residentBytesMax: () => number
  readonly stop: () => Promise<void>
}

async function startChild (t: Test, ...settings: string[]): Promise<Child> {
  const dataDir = t.testdir()
  const child = spawn('env', [...PLAIN_NODE, COMMAND, 'start', '--port', '0', '--data-dir', dataDir, '--flush', 'none', ...settings.flatMap((setting) => ['-o', setting])], { env: plainEnvironment })
  t.teardown(() => { child.kill('SIGKILL') })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => { output += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { output += chunk.toString() })
  await until(() => /clients +\S+:\d+/.test(output), `start: ${output}`, 10_000)
  let most = 0
  const sampler = setInterval(() => { most = Math.max(most, residentBytes(child)) }, 50)
  t.teardown(() => clearInterval(sampler))
  return {
    process: child,
    port: Number(/clients +\S+:(\d+)/.exec(output)![1]),
    log: () => output.split('\n'),
    residentBytesMax: () => most,
    stop: async () => {
      child.kill('SIGTERM')
      const [code] = await once(child, 'exit') as [number]
      if (code !== 0) throw new Error(`the broker ended with ${code}: ${output.slice(-2000)}`)
    }
  }
}

async function connectMany (t: Test, port: number, count: number): Promise<net.Socket[]> {
  const sockets: net.Socket[] = []
  t.teardown(() => { for (const socket of sockets) socket.destroy() })
  for (let index = 0; index < count; index++) {
    const socket = net.connect({ port, host: '127.0.0.1' })
    socket.on('error', () => {})
    sockets.push(socket)
    if (index % 100 === 99) await sleep(5)
  }
  return sockets
}

test('1,000 connections promise 100 MB each and send a part', async (t) => {
  const child = await startChild(t)
  const neighbour = await Neighbour.start(child.port)
  const sockets = await connectMany(t, child.port, 1000)
  const part = Buffer.alloc(400 * 1024)
  part.writeInt32BE(100 * MEGABYTE)
  for (const socket of sockets) socket.write(part)
  const large = await connect(child.port)
  await makeTopic(large, 'large')
  const answer = await large.send(produce, 9, produceRequest('large', plainBatch(1, 900 * 1024)))
  t.equal(answer.responses[0]!.partitionResponses[0]!.errorCode, 0, 'a large request of another client gets through')
  const { latencyMsMax, acknowledged } = await neighbour.stop()
  t.ok(latencyMsMax < 5_000, `the neighbour waited ${Math.round(latencyMsMax)} ms at most for each of ${acknowledged} records`)
  t.ok(child.residentBytesMax() < 600 * MEGABYTE, `resident memory reached ${Math.round(child.residentBytesMax() / MEGABYTE)} MB`)
  t.ok(child.log().length < 30, 'the log is not flooded')
  for (const socket of sockets) socket.destroy()
  large.close()
  await child.stop()
})

test('clients that never read, producers that wait for nothing, and more connections than there may be', async (t) => {
  const child = await startChild(t, 'max.connections=300', 'max.connections.per.ip=250')
  const maker = await connect(child.port)
  await makeTopic(maker, 'read')
  for (let index = 0; index < 20; index++) await maker.send(produce, 9, produceRequest('read', plainBatch(1, 900 * 1024)))
  const neighbour = await Neighbour.start(child.port)

  // 40 clients ask a hundred times for 18 MB each, and read nothing: 72 GB.
  const deaf = await connectMany(t, child.port, 40)
  for (const socket of deaf) {
    socket.pause()
    for (let index = 0; index < 100; index++) socket.write(requestBytes(fetch, 11, fetchRequest('read', 0)))
  }
  // One more asks for small answers, a million times as fast as it can.
  const chatty = net.connect({ port: child.port, host: '127.0.0.1' })
  chatty.on('error', () => {})
  chatty.pause()
  const small = Buffer.concat(Array.from({ length: 500 }, () => requestBytes(metadata, 4, { topics: null } as never)))
  let taken = 0
  const chat = (): void => { if (!chatty.destroyed && taken < 100 * MEGABYTE) { taken += small.length; if (chatty.write(small)) setImmediate(chat); else chatty.once('drain', chat) } }
  chat()
  await sleep(500)
  const flood = await connectMany(t, child.port, 1000)
  const letIn = (): number => flood.filter((socket) => !socket.destroyed).length
  await until(() => letIn() <= 250 && child.log().some((line) => /max\.connections\.per\.ip is 250/.test(line)), 'the flood is refused', 60_000)
  await sleep(500)
  const { latencyMsMax, acknowledged } = await neighbour.stop()
  t.ok(acknowledged > 0 && latencyMsMax < 5_000, `the neighbour waited ${Math.round(latencyMsMax)} ms at most for each of ${acknowledged} records`)
  t.ok(taken < 20 * MEGABYTE, `of requests whose answers are not read, ${taken} bytes were taken`)
  t.ok(letIn() > 100 && letIn() <= 250, 'no more than max.connections.per.ip are let in')
  t.ok(child.residentBytesMax() < 700 * MEGABYTE, `resident memory reached ${Math.round(child.residentBytesMax() / MEGABYTE)} MB`)
  t.ok(child.log().length < 30, 'the log says why, and is not flooded')
  for (const socket of [...deaf, chatty, ...flood]) socket.destroy()
  maker.close()
  await child.stop()
})

test('a flood of records with acks=0 is held up by its socket, and every record is kept', async (t) => {
  const child = await startChild(t)
  const neighbour = await Neighbour.start(child.port)
  const client = await connect(child.port)
  await makeTopic(client, 'flood')
  const request = requestBytes(produce, 9, produceRequest('flood', plainBatch(10, 20_000), 0))
  const count = 1500
  const flood = net.connect({ port: child.port, host: '127.0.0.1' })
  for (let index = 0; index < count; index++) if (!flood.write(request)) await once(flood, 'drain')
  let end = 0
  for (let attempt = 0; attempt < 400 && end < count * 10; attempt++) {
    const answer = await client.send(listOffsets, 5, { replicaId: -1, isolationLevel: 0, topics: [{ name: 'flood', partitions: [{ partitionIndex: 0, timestamp: -1 }] }] } as never)
    end = answer.topics[0]!.partitions[0]!.offset
    await sleep(10)
  }
  t.equal(end, count * 10, 'all of 300 MB of records are there')
  const { latencyMsMax, acknowledged } = await neighbour.stop()
  t.ok(acknowledged > 0 && latencyMsMax < 5_000, `the neighbour waited ${Math.round(latencyMsMax)} ms at most for each of ${acknowledged} records`)
  t.ok(child.residentBytesMax() < 350 * MEGABYTE, `resident memory reached ${Math.round(child.residentBytesMax() / MEGABYTE)} MB`)
  flood.destroy()
  client.close()
  await child.stop()
})
