/** The broker inside a process: many at once, nothing left behind, mistakes told, listeners of several kinds. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { test } from 'tap'
import { Broker, ConfigError, LogError, OptionError, type BrokerOptions } from '../../src/index.js'
import { ErrorCode } from '../../src/protocol/error-codes.js'
import { fetch } from '../../src/protocol/schemas/01-fetch.js'
import { metadata } from '../../src/protocol/schemas/03-metadata.js'
import { joinGroup } from '../../src/protocol/schemas/11-join-group.js'
import { produce } from '../../src/protocol/schemas/00-produce.js'
import { findCoordinator } from '../../src/protocol/schemas/10-find-coordinator.js'
import { plainBatch } from '../broker/support/batches.js'
import { fetchRequest, makeTopic, produceRequest, sleep, until } from '../hostile/support.js'
import { PLAIN_NODE, plainEnvironment } from '../support/plain-node.js'
import { connect } from '../support/raw-client.js'

/** What a process holds: anything of a broker's that stays would be seen here. */
function held () {
  const linux = process.platform === 'linux'
  return {
    resources: process.getActiveResourcesInfo().filter((name) => !/^(PipeWrap|TTYWrap|Immediate|Timeout)$/.test(name)).sort(),
    descriptors: linux ? readdirSync('/proc/self/fd').length : 0,
    threads: linux ? readdirSync('/proc/self/task').filter((id) => !isOfKernel(id)).length : 0
  }
}

/** The kernel keeps the workers of io_uring for seconds after their last work. */
function isOfKernel (threadId: string): boolean {
  try {
    return readFileSync(`/proc/self/task/${threadId}/comm`, 'latin1').startsWith('iou-wrk')
  } catch {
    return true
  }
}

/** Closed sockets are gone a turn of the event loop later. */
async function sameAsBefore (before: ReturnType<typeof held>, what: string): Promise<void> {
  await until(() => JSON.stringify(held()) === JSON.stringify(before), `${what}: ${JSON.stringify(before)} before`, 2_000).catch((error: Error) => {
    throw new Error(`${error.message}, ${JSON.stringify(held())} now`)
  })
}

/** A first broker of each kind loads what is loaded once: the addon, the threads of libuv's pool, epoll's descriptors, the process's metrics. */
async function warmUp (t: { testdir: () => string }): Promise<void> {
  for (const options of [{ metricsPort: 0 }, { dataDir: path.join(t.testdir(), 'warm') }] as BrokerOptions[]) {
    const broker = await Broker.start(options)
    const client = await connect(broker.port)
    await makeTopic(client, 'warm')
    await client.send(produce, 9, produceRequest('warm', plainBatch(1)))
    client.close()
    await broker.close()
  }
  await sleep(50)
}

const join = (memberId: string) => ({ groupId: 'g', sessionTimeoutMs: 60_000, rebalanceTimeoutMs: 60_000, memberId, protocolType: 'consumer', protocols: [{ name: 'range', metadata: Buffer.alloc(4) }] }) as never

test('many brokers in one process, each its own; closed, nothing of them stays', async (t) => {
  await warmUp(t)
  const folder = t.testdir()
  const before = held()
  const brokers = await Promise.all(Array.from({ length: 12 }, (_, index) =>
    Broker.start({ nodeId: index, metricsPort: 0, ...(index % 2 === 1 && { dataDir: path.join(folder, String(index)) }) })))
  t.equal(new Set(brokers.map(({ port }) => port)).size, 12)
  t.equal(new Set(brokers.map(({ clusterId }) => clusterId)).size, 12)
  t.equal(new Set(brokers.map(({ metricsPort }) => metricsPort)).size, 12)
  const clients = await Promise.all(brokers.map(({ port }) => connect(port)))
  await Promise.all(clients.map(async (client, index) => {
    await makeTopic(client, `of-${index}`)
    const { errorCode } = (await client.send(produce, 9, produceRequest(`of-${index}`, plainBatch(3)))).responses[0]!.partitionResponses[0]!
    t.equal(errorCode, 0)
  }))
  for (const [index, client] of clients.entries()) {
    const { brokers: nodes, topics } = await client.send(metadata, 4, { topics: null } as never)
    t.equal(nodes[0]!.nodeId, index)
    t.same(topics.map(({ name }) => name).filter((name) => !name!.startsWith('__')), [`of-${index}`])
    client.close()
    t.match(await (await globalThis.fetch(`http://127.0.0.1:${brokers[index]!.metricsPort}/metrics`)).text(), `kafka_topic_partition_current_offset{topic="of-${index}",partition="0"} 3\n`)
  }
  await Promise.all(brokers.map((broker) => broker.close()))
  await sameAsBefore(before, 'twelve brokers')
  t.pass('nothing is left')
})

test('closing with clients connected, long polls and held joins in flight, and records under way', async (t) => {
  await warmUp(t)
  const before = held()
  for (const options of [{}, { dataDir: t.testdir() }] as BrokerOptions[]) {
    const broker = await Broker.start(options)
    const idle = await connect(broker.port)
    const poller = await connect(broker.port)
    await makeTopic(poller, 'polled')
    while ((await poller.send(findCoordinator, 2, { key: 'g', keyType: 0 } as never)).errorCode !== 0) await sleep(10)
    const poll = poller.send(fetch, 11, fetchRequest('polled', 0, { maxWaitMs: 60_000, minBytes: 1e6 }))
    const first = await connect(broker.port)
    const { memberId } = await first.send(joinGroup, 3, join(''))
    t.ok(memberId)
    const second = await connect(broker.port)
    const held = second.send(joinGroup, 3, join(''))
    const producer = await connect(broker.port)
    const produced = Array.from({ length: 20 }, () => producer.send(produce, 9, produceRequest('polled', plainBatch(1))).catch(() => undefined))
    await sleep(30)
    const startedMs = performance.now()
    const clients = [idle, poller, first, second, producer]
    await Promise.all([broker.close(), broker.close()])
    t.ok(performance.now() - startedMs < 3_000, 'in no time')
    t.equal((await poll).responses[0]?.partitions[0]?.errorCode ?? 0, 0, 'the long poll was answered')
    t.equal((await held).errorCode, ErrorCode.NOT_COORDINATOR, 'the held join was told to look elsewhere')
    t.equal((await Promise.all(produced)).filter((answer) => answer?.responses[0]!.partitionResponses[0]!.errorCode === 0).length, 20, 'records under way were acknowledged')
    await Promise.all(clients.map(({ closed }) => closed))
    await broker.close()
    t.equal(broker.connectionCount, 0)
    await t.rejects(connect(broker.port), { code: 'ECONNREFUSED' })
  }
  await sameAsBefore(before, 'closing under load')
})

test('a start that fails leaves nothing', async (t) => {
  await warmUp(t)
  const folder = t.testdir()
  const owner = await Broker.start({ dataDir: path.join(folder, 'owned') })
  // Node's handle of a socket that the addon has taken over goes a turn later.
  await sleep(50)
  const before = held()
  await t.rejects(Broker.start({ dataDir: path.join(folder, 'a'), port: owner.port }), { code: 'EADDRINUSE' })
  await t.rejects(Broker.start({ listeners: `A://127.0.0.1:0,B://127.0.0.1:${owner.port}` }), { code: 'EADDRINUSE' })
  await t.rejects(Broker.start({ dataDir: path.join(folder, 'a'), metricsPort: owner.port }), { code: 'EADDRINUSE' })
  await t.rejects(Broker.start({ dataDir: path.join(folder, 'owned') }), LogError)
  await t.rejects(Broker.start({ config: { 'num.partitions': 'many' } }), ConfigError)
  await sameAsBefore(before, 'failed starts')
  const again = await Broker.start({ dataDir: path.join(folder, 'a') })
  await again.close()
  await t.rejects(Broker.start({ dataDir: path.join(folder, 'a'), clusterId: 'another' }), OptionError)
  await owner.close()
})

test('await using closes', async (t) => {
  let port = 0
  {
    const broker = await Broker.start()
    port = broker.port
    await broker[Symbol.asyncDispose]()
    await broker[Symbol.asyncDispose]()
  }
  await t.rejects(connect(port), { code: 'ECONNREFUSED' })
})

test('options that cannot be are refused in a sentence', async (t) => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [null, /takes an object of options, not null/],
    [{ prot: 1 }, /there is no option prot; did you mean port\? Kafka's settings go into config/],
    [{ 'num.partitions': 1 }, /there is no option num\.partitions.* Kafka's settings go into config/],
    [{ port: '9092' }, /option port is '9092': a number from 0/],
    [{ port: 65536 }, /option port is 65536/],
    [{ port: 1.5 }, /option port is 1\.5/],
    [{ host: 5 }, /option host is 5/],
    [{ metricsPort: '9464' }, /option metricsPort is '9464': a number from 0/],
    [{ storage: 'disc' }, /option storage is 'disc': 'memory' or 'disk'/],
    [{ storage: 'disk' }, /storage 'disk' needs a folder/],
    [{ storage: 'memory', dataDir: 'x' }, /keeps nothing in a folder/],
    [{ dataDir: '' }, /option dataDir is ''/],
    [{ storageBackend: 'uring' }, /option storageBackend is 'uring'/],
    [{ flushPolicy: 'each' }, /option flushPolicy is 'each'/],
    [{ flushPolicy: { kind: 'interval' } }, /option flushPolicy/],
    [{ nodeId: -1 }, /option nodeId is -1/],
    [{ clusterId: 'a b' }, /option clusterId is 'a b'/],
    [{ logger: console.log }, /option logger is a function: a pino logger/],
    [{ clock: {} }, /option clock/],
    [{ limits: { frameDeadline: 1 } }, /option limits .*frameDeadlineMs/],
    [{ listeners: [] }, /option listeners is a list/],
    [{ listeners: 'x' }, /listener 'x' is not of the form/],
    [{ listeners: 'A://:1,A://:2' }, /each name may stand once only/],
    [{ listeners: [{ name: 'A', port: 0 }] }, /each of listeners is \{ name/],
    [{ listeners: 'A://:0', port: 1 }, /leave out port and host/],
    [{ advertisedListeners: 'B://x:1' }, /names B, which is no listener/]
  ]
  for (const [options, message] of cases) {
    await t.rejects(Broker.start(options as BrokerOptions), { name: 'OptionError', message }, String(message))
  }
  t.ok(new OptionError('x') instanceof TypeError)
})

test('each client is told the address of its own listener', async (t) => {
  const broker = await Broker.start({
    listeners: [
      { name: 'INSIDE', host: '127.0.0.1', port: 0 },
      { name: 'OUTSIDE', host: '127.0.0.1', port: 0, advertisedHost: 'broker.example', advertisedPort: 19092 }
    ]
  })
  t.equal(broker.bootstrapServers, `127.0.0.1:${broker.port},broker.example:19092`)
  t.same(broker.brokers, [`127.0.0.1:${broker.port}`, 'broker.example:19092'])
  const inside = await connect(broker.port)
  t.match((await inside.send(metadata, 4, { topics: [] } as never)).brokers, [{ host: '127.0.0.1', port: broker.port }])
  t.match(await inside.send(findCoordinator, 2, { key: 'g', keyType: 0 } as never), { host: '127.0.0.1', port: broker.port })
  inside.close()
  await broker.close()

  // The port of a listener whose clients are told another is found by taking a free one first.
  const probe = net.createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as net.AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  const second = await Broker.start({ listeners: `INSIDE://127.0.0.1:0,OUTSIDE://127.0.0.1:${port}`, advertisedListeners: 'OUTSIDE://broker.example:19092' })
  const outside = await connect(port)
  t.match((await outside.send(metadata, 4, { topics: [] } as never)).brokers, [{ host: 'broker.example', port: 19092 }])
  t.match(await outside.send(findCoordinator, 2, { key: 'g', keyType: 0 } as never), { host: 'broker.example', port: 19092 })
  outside.close()
  await second.close()
})

const hasIpv6 = Object.values(os.networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === '::1'))

test('IPv6', { skip: hasIpv6 ? false : 'this machine has no ::1' }, async (t) => {
  const broker = await Broker.start({ host: '::1' })
  t.equal(broker.bootstrapServers, `[::1]:${broker.port}`)
  const client = await connect(broker.port, { host: '::1' })
  t.match((await client.send(metadata, 4, { topics: [] } as never)).brokers, [{ host: '::1', port: broker.port }])
  client.close()
  await broker.close()
  const both = await Broker.start({ listeners: 'A://[::]:0' })
  for (const host of ['::1', '127.0.0.1']) (await connect(both.port, { host })).close()
  await both.close()
})

/** Runs a script that starts a broker and forgets to close it; resolves with its exit code, or 'runs on'. */
async function forgetful (options: string, more = ''): Promise<number | string> {
  const index = new URL('../../src/index.js', import.meta.url).href
  const script = `import { Broker } from '${index}'
    const broker = await Broker.start(${options})
    ${more}
    console.log('the end')`
  const child = spawn('env', [...PLAIN_NODE, '--input-type=module', '-e', script], { env: plainEnvironment })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => { output += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { output += chunk.toString() })
  const exited = once(child, 'exit').then(([code]) => code as number)
  await until(() => output.includes('the end') || child.exitCode !== null, `the script: ${output}`, 10_000)
  const result = await Promise.race([exited, sleep(400).then(() => 'runs on')])
  child.kill('SIGKILL')
  return result
}

test('a process that forgets to close ends when it keeps its data in memory, and serves on when it has a folder', async (t) => {
  const dataDir = JSON.stringify(path.join(t.testdir(), 'data'))
  const [memory, measured, disk, asked, askedNot] = await Promise.all([
    forgetful('{}', 'const net = await import("node:net"); await new Promise((r) => { const s = net.connect(broker.port, "127.0.0.1", r); s.unref() })'),
    forgetful('{ metricsPort: 0 }', 'const net = await import("node:net"); await new Promise((r) => { const s = net.connect(broker.metricsPort, "127.0.0.1", r); s.unref() })'),
    forgetful(`{ dataDir: ${dataDir} }`),
    forgetful('{ keepsProcessAlive: true }'),
    forgetful(`{ dataDir: ${dataDir} + '2', keepsProcessAlive: false }`)
  ])
  t.equal(memory, 0)
  t.equal(measured, 0)
  t.equal(disk, 'runs on')
  t.equal(asked, 'runs on')
  t.equal(askedNot, 0)
})

test('a broker whose disk fails closes everything else, and tells', async (t) => {
  for (const backend of ['node:fs', 'auto'] as const) {
    const dataDir = path.join(t.testdir(), backend.replace(':', ''))
    const broker = await Broker.start({ dataDir, storageBackend: backend })
    const client = await connect(broker.port)
    await makeTopic(client, 'orders')
    await client.send(produce, 9, produceRequest('orders', plainBatch(1)))
    client.close()
    rmSync(path.join(dataDir, 'orders-0'), { recursive: true })
    await t.rejects(broker.close(), { name: 'LogError' }, `${backend}: a log that cannot be closed in order`)
    const again = await Broker.start({ dataDir, storageBackend: backend })
    await again.close()
  }
})
