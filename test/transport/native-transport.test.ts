/** The addon's sockets under a broker and by themselves: which transport serves, memory that is sent, threads that end. */
import { once } from 'node:events'
import net from 'node:net'
import { Worker } from 'node:worker_threads'
import { test } from 'tap'
import { loadBinding } from '../../src/binding.js'
import { Broker } from '../../src/index.js'
import { NativeSockets, type NativeTransport } from '../../src/transport/native-transport.js'
import type { TransportOwner } from '../../src/transport/transport.js'
import { RememberingLogger, sleep } from '../hostile/support.js'
import { PLAIN_WORKER } from '../support/plain-node.js'

const skip = 'binding' in loadBinding() ? false : 'there is no addon here'
/** ApiVersions, version 0. */
const API_VERSIONS = Buffer.from('0000000a00120000000000070000', 'hex')

class Owner implements TransportOwner {
  received_ = ''
  readonly told: string[] = []
  room (): undefined { return undefined }
  received (bytes: Buffer): void { this.received_ += bytes.toString() }
  arrived (): void {}
  drained (): void { this.told.push('drained') }
  receivedEnd (): void { this.told.push('end') }
  failed (error: Error): void { this.told.push((error as NodeJS.ErrnoException).code!) }
  transportClosed (): void { this.told.push('closed') }
}

/** A client's socket and what it is connected to. */
async function pair (): Promise<{ client: net.Socket, transport: NativeTransport, owner: Owner, sockets: NativeSockets }> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  const owner = new Owner()
  let sockets: NativeSockets
  const accepted = new Promise<NativeTransport>((resolve) => {
    sockets = NativeSockets.open({
      receiveBuffer: Buffer.alloc(256 * 1024),
      keepsProcessAlive: true,
      onAccepted: (id) => {
        setImmediate(() => resolve(sockets.wake(id)!))
        return { wake: () => owner }
      },
      onAcceptFailed: (_listener, error) => { throw error }
    }) as NativeSockets
    sockets.listen((server as unknown as { _handle: { fd: number } })._handle.fd)
    server.close()
  })
  const client = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  client.on('error', () => {})
  return { client, transport: await accepted, owner, sockets: sockets! }
}

async function until (condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !condition(); i++) await sleep(10)
}

test('what is sent is let go of once: when it has left, and when it never will', { skip }, async (t) => {
  const large = Buffer.alloc(16 * 1024 * 1024, 'x')
  for (const how of ['taken', 'destroyed', 'reset'] as const) {
    const { client, transport, owner, sockets } = await pair()
    client.pause()
    const sent: string[] = []
    transport.send([Buffer.from('a')], () => sent.push('small'))
    transport.send([large, Buffer.alloc(0), large], () => sent.push('large'))
    transport.send([Buffer.from('b')], () => sent.push('last'))
    t.same(sent, [], `${how}: leaves at the end of the turn`)
    await sleep(20)
    t.same(sent, ['small'])
    t.ok(transport.bytesUnsent > 0)
    if (how === 'taken') {
      client.resume()
      let bytes = 0
      client.on('data', (chunk) => { bytes += chunk.length })
      await until(() => sent.length === 3)
      await until(() => bytes === 2 * large.length + 2)
      t.equal(bytes, 2 * large.length + 2)
      t.equal(transport.bytesUnsent, 0)
      t.same(owner.told, ['drained'])
      client.destroy()
      await until(() => owner.told.includes('end'))
      transport.end()
      await until(() => owner.told.includes('closed'))
      t.same(owner.told, ['drained', 'end', 'closed'])
    } else {
      if (how === 'destroyed') transport.destroy()
      else client.resetAndDestroy()
      await until(() => owner.told.includes('closed'))
      t.same(owner.told, how === 'destroyed' ? ['closed'] : ['ECONNRESET', 'closed'])
    }
    t.same(sent, ['small', 'large', 'last'])
    t.ok(transport.isDestroyed)
    sockets.close()
    transport.destroy()
    client.destroy()
  }
})

test('what an owner throws reaches the process, and the other connections are told all the same', { skip }, async (t) => {
  const { client, transport, owner, sockets } = await pair()
  owner.received = (bytes) => {
    owner.received_ += bytes.toString()
    if (bytes.toString() === 'a') throw new Error('on purpose')
  }
  const thrown = new Promise<Error>((resolve) => process.setUncaughtExceptionCaptureCallback(resolve))
  client.write('a')
  t.match(await thrown, { message: 'on purpose' })
  process.setUncaughtExceptionCaptureCallback(null)
  client.write('b')
  await until(() => owner.received_ === 'ab')
  t.equal(owner.received_, 'ab')
  transport.destroy()
  client.destroy()
  sockets.close()
})

test('the log says which sockets serve', async (t) => {
  for (const [sockets, expected] of [['auto', skip === false ? 'native' : 'node'], ['node', 'node']] as const) {
    const log = new RememberingLogger()
    const lines: { sockets?: string }[] = []
    const logger = Object.assign(Object.create(log.logger) as typeof log.logger, { debug: (fields: { sockets?: string }) => { lines.push(fields) } })
    const broker = await Broker.start({ sockets, logger })
    t.equal(lines.find((line) => line.sockets !== undefined)?.sockets, expected)
    const client = net.connect(broker.port, '127.0.0.1')
    client.write(API_VERSIONS)
    const [answer] = await once(client, 'data') as [Buffer]
    t.equal(answer.readInt32BE(4), 7)
    t.equal(broker.connectionCount, 1)
    client.end()
    await once(client, 'close')
    await broker.close()
  }
  await t.rejects(Broker.start({ sockets: 'uring' as 'auto' }), /option sockets is 'uring'/)
})

test('a thread that ends takes its connections with it, and nothing else', async (t) => {
  const index = new URL('../../src/index.js', import.meta.url).href
  for (let round = 0; round < 3; round++) {
    const worker = new Worker(`
      const { parentPort } = require('node:worker_threads')
      import(${JSON.stringify(index)}).then(async ({ Broker }) => {
        const broker = await Broker.start({ keepsProcessAlive: true })
        parentPort.postMessage(broker.port)
      })`, { eval: true, ...PLAIN_WORKER })
    const [port] = await once(worker, 'message') as [number]
    const clients = Array.from({ length: 5 }, () => net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }))
    for (const client of clients) {
      client.on('error', () => {})
      client.write(API_VERSIONS)
      await once(client, 'data')
    }
    const closed = clients.map((client) => once(client, 'end').catch(() => {}))
    // One of them in the middle of a request.
    clients[0]!.write(API_VERSIONS.subarray(0, 6))
    await worker.terminate()
    await Promise.all(closed)
    for (const client of clients) client.destroy()
  }
  t.pass()
})
