/** A broker that the kernel gives little: few file descriptors, little memory, peers that vanish without a word. */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import { firstLine, MIB, needs, run, Skip } from './disks.mjs'
import { nbdDisk } from './failing-disks.mjs'
import { BACKENDS, ensure, errorOf } from './store.mjs'

const CHILD = fileURLToPath(new URL('./broker-child.mjs', import.meta.url))
const MEMBER = fileURLToPath(new URL('./member-child.mjs', import.meta.url))

/** Starts a broker by a shell, which first does `before` to itself. */
async function start (disks, before, options) {
  const child = spawn('bash', ['-c', `${before}exec ${process.execPath} ${CHILD} "$1"`, 'broker', JSON.stringify({ port: 0, ...options })], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => { output += text })
  const ended = new Promise((resolve) => child.once('close', (code, signal) => resolve(signal ?? code)))
  disks.later(async () => {
    child.kill('SIGKILL')
    await ended
  })
  for (let waits = 0; !/^ready/m.test(output); waits++) {
    ensure(waits < 1_000 && child.exitCode === null && child.signalCode === null, `the broker did not start: ${output.slice(-400)}`)
    await sleep(10)
  }
  const port = Number(/^ready (\d+)/m.exec(output)[1])
  return {
    child,
    ended,
    port,
    output: () => output,
    kafka: (host = '127.0.0.1', retries = 0) => new Kafka({ brokers: [`${host}:${port}`], logLevel: logLevel.NOTHING, requestTimeout: 5_000, retry: { retries, initialRetryTime: 50 } }),
    stop: async () => {
      child.kill('SIGTERM')
      const code = await ended
      ensure(code === 0, `the broker ended with ${code}: ${output.slice(-400)}`)
    }
  }
}

async function makeTopic (kafka, topic, numPartitions = 1) {
  const admin = kafka.admin()
  await admin.connect()
  try {
    await admin.createTopics({ topics: [{ topic, numPartitions }] })
  } finally {
    await admin.disconnect()
  }
}

/** Everything in a topic, by partition and offset. */
async function contentOf (kafka, topic, count) {
  // Closing waits for the last fetch.
  const consumer = kafka.consumer({ groupId: `check-${topic}`, maxWaitTimeInMs: 100 })
  const found = new Map()
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  consumer.run({ eachMessage: async ({ partition, message }) => { found.set(`${partition}/${message.offset}`, message.value.subarray(0, 20).toString()) } }).catch(() => {})
  for (let waits = 0; found.size < count && waits < 500; waits++) await sleep(20)
  await consumer.disconnect()
  return found
}

/** A producer that remembers what it was told. */
async function producerOf (kafka, topic) {
  const producer = kafka.producer()
  await producer.connect()
  const told = new Map()
  const send = async (values, padding = '') => {
    const results = await producer.send({ topic, messages: values.map((value) => ({ value: `${value}`.padEnd(20) + padding, partition: 0 })) })
    ensure(results.every(({ errorCode }) => errorCode === 0), 'a message was refused')
    for (const { partition, baseOffset } of results) values.forEach((value, index) => told.set(`${partition}/${Number(baseOffset) + index}`, `${value}`.padEnd(20)))
  }
  return { told, send, close: async () => await producer.disconnect() }
}

async function ensureAll (broker, topic, told) {
  const found = await contentOf(broker.kafka(undefined, 5), topic, told.size)
  for (const [place, value] of told) ensure(found.get(place) === value, `${value.trim()}, acknowledged at ${place}, is ${found.get(place) ?? 'not there'}`)
}

/** Sockets and segments both want descriptors: whoever comes too late is refused with a reason, and nobody else notices. */
async function fewDescriptors (disks, backend) {
  const limit = 140
  const dataDir = disks.folder('few')
  const broker = await start(disks, `ulimit -n ${limit}; `, { dataDir, storageBackend: backend })
  ensure(broker.output().includes(`this process may have only ${limit} files and sockets open`), 'the broker says how many connections that leaves')
  const kafka = broker.kafka()
  await makeTopic(kafka, 'orders')
  const producer = await producerOf(kafka, 'orders')
  await producer.send(['before'])
  const sockets = Array.from({ length: 300 }, () => net.connect({ port: broker.port, host: '127.0.0.1' }).on('error', () => {}))
  const letIn = () => sockets.filter((socket) => !socket.destroyed && !socket.closed && socket.readyState === 'open').length
  for (let waits = 0; !/refused a connection from .*max\.connections is \d+/.test(broker.output()) && waits < 200; waits++) await sleep(20)
  ensure(/refused a connection from .*max\.connections is \d+/.test(broker.output()), 'the log says why connections are refused')
  await sleep(200)
  ensure(letIn() > 10 && letIn() < limit / 2, `${letIn()} connections let in`)
  await producer.send(['during'])
  const held = letIn()
  for (const socket of sockets) socket.destroy()
  // More partitions than descriptors.
  let refusal
  let topics = 0
  const admin = kafka.admin()
  for (let waits = 0; waits < 100 && await errorOf(async () => await admin.connect()) !== undefined; waits++) await sleep(20)
  for (; refusal === undefined && topics < 12; topics++) {
    refusal = await errorOf(async () => {
      await admin.createTopics({ topics: [{ topic: `many-${topics}`, numPartitions: 20 }] })
      const many = await producerOf(kafka, `many-${topics}`)
      await many.close()
    })
  }
  const wide = kafka.producer()
  await wide.connect()
  let failures = 0
  for (let topic = 0; topic < topics - (refusal === undefined ? 0 : 1); topic++) {
    const messages = Array.from({ length: 20 }, (_, partition) => ({ value: 'wide', partition }))
    failures += await errorOf(async () => await wide.send({ topic: `many-${topic}`, messages })) === undefined ? 0 : 1
  }
  await wide.disconnect()
  await admin.disconnect()
  ensure(broker.child.exitCode === null, 'the broker lives')
  await producer.send(['after'])
  await producer.close()
  await broker.stop()
  const again = await start(disks, '', { dataDir, storageBackend: backend })
  await ensureAll(again, 'orders', producer.told)
  await again.stop()
  ensure(failures === 0, `${failures} of ${topics} topics with 20 partitions each could not be written to`)
  return `${held} connections of 300 let in; ${topics * 20} partitions written with ${limit} descriptors`
}

function memoryGroup (disks, mib) {
  const parent = existsSync('/sys/fs/cgroup/memory/memory.limit_in_bytes') ? '/sys/fs/cgroup/memory' : '/sys/fs/cgroup'
  const isFirst = parent.endsWith('memory')
  if (!isFirst && !(existsSync(`${parent}/cgroup.controllers`) && readFileSync(`${parent}/cgroup.controllers`, 'latin1').includes('memory'))) throw new Skip('there is no memory controller')
  const group = `${parent}/haulout-test-${process.pid}-${mib}`
  try {
    mkdirSync(group)
    disks.later(async () => {
      for (let waits = 0; waits < 50 && await errorOf(() => rmdirSync(group)) !== undefined; waits++) await sleep(20)
    })
    writeFileSync(`${group}/${isFirst ? 'memory.limit_in_bytes' : 'memory.max'}`, String(mib * MIB))
  } catch (error) {
    throw new Skip(`no memory group can be made: ${firstLine(error)}`)
  }
  return { enter: `echo $$ > ${group}/cgroup.procs && `, peakBytes: () => Number(readFileSync(`${group}/${isFirst ? 'memory.max_usage_in_bytes' : 'memory.peak'}`, 'latin1')) }
}

async function loadUntil (broker, told, count, prefix = '') {
  const producer = await producerOf(broker.kafka(), 'orders')
  const padding = 'x'.repeat(100_000)
  const error = await errorOf(async () => {
    for (let id = 0; id < count; id++) await producer.send(Array.from({ length: 10 }, (_, index) => `${prefix}${id}-${index}`), padding)
  })
  for (const [place, value] of producer.told) told.set(place, value)
  await producer.close().catch(() => {})
  return error
}

/** Enough to live: the page cache gives way, buffers are bounded. */
async function someMemory (disks, backend) {
  const group = memoryGroup(disks, 256)
  const dataDir = disks.folder('memory')
  const broker = await start(disks, group.enter, { dataDir, storageBackend: backend })
  await makeTopic(broker.kafka(), 'orders')
  const told = new Map()
  const error = await loadUntil(broker, told, 200)
  ensure(error === undefined && broker.child.exitCode === null, `under load: ${error?.message}; ${broker.output().slice(-300)}`)
  await ensureAll(broker, 'orders', told)
  await broker.stop()
  return `200 MB in ${told.size} messages produced and consumed in 256 MiB`
}

/** Too little: the kernel kills it, and what was acknowledged is there. */
async function noMemory (disks, backend) {
  const dataDir = disks.folder('memory')
  const broker = await start(disks, '', { dataDir, storageBackend: backend })
  await makeTopic(broker.kafka(), 'orders')
  const group = memoryGroup(disks, 48)
  spawnSync('bash', ['-c', `echo ${broker.child.pid} > ${/> (\S+)/.exec(group.enter)[1]}`])
  const told = new Map()
  await Promise.all(Array.from({ length: 3 }, async (_, at) => await loadUntil(broker, told, 60, `${at}-`)))
  // It may live until here, and closing may take what is not there.
  broker.child.kill('SIGTERM')
  const end = await broker.ended
  ensure(end === 0 || end === 'SIGKILL', `the broker ended with ${end}: ${broker.output().slice(-400)}`)
  const again = await start(disks, '', { dataDir, storageBackend: backend })
  await ensureAll(again, 'orders', told)
  await again.stop()
  return `${end === 0 ? 'lived' : `ended by ${end}`}; ${told.size} acknowledged messages are there`
}

/** What a broker with `metricsPort` says of itself. */
function monitorOf (broker) {
  const url = /metrics on (http:\S+)\/metrics/.exec(broker.output())[1]
  const health = async () => {
    const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(5_000) })
    return { code: response.status, ...await response.json() }
  }
  const metrics = async () => {
    const lines = (await (await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(5_000) })).text()).split('\n')
    return (series) => Number(lines.find((line) => line.startsWith(`${series} `)).split(' ').at(-1))
  }
  const metric = async (series) => (await metrics())(series)
  const becomes = async (status, withinMs) => {
    const startedAtMs = performance.now()
    let last = await health()
    for (; last.status !== status; last = await health()) {
      ensure(performance.now() - startedAtMs < withinMs, `not ${status} within ${withinMs} ms: ${JSON.stringify(last)}; ${broker.output().slice(-400)}`)
      await sleep(50)
    }
    return { ...last, afterMs: Math.round(performance.now() - startedAtMs) }
  }
  return { health, metrics, metric, becomes }
}

const linesOf = (broker, pattern) => broker.output().split('\n').filter((line) => pattern.test(line))

/** Its server stands still for a while: not an error, but no answer either. */
async function standsStill (disks, backend) {
  const disk = await nbdDisk(disks, ['delay'], ['delay-write=20ms'])
  const broker = await start(disks, '', { dataDir: `${disk.folder}/data`, storageBackend: backend, metricsPort: 0, config: { 'haulout.min.free.bytes': 0 } })
  const { health, metrics, metric, becomes } = monitorOf(broker)
  const kafka = broker.kafka()
  await makeTopic(kafka, 'orders')
  const producer = await producerOf(kafka, 'orders')
  for (let id = 0; id < 3; id++) await producer.send([id], 'x'.repeat(900_000))
  const padding = 'x'.repeat(100_000)
  ensure((await health()).status === 'ok', '20 ms a write is slow, but no reason to worry')
  const before = await metric('process_resident_memory_bytes')
  disks.later(() => disk.server.kill('SIGCONT'))
  disk.server.kill('SIGSTOP')
  const sends = Array.from({ length: 300 }, (_, id) => producer.send([`waiting-${id}`], padding))
  for (const send of sends) send.catch(() => {})
  const { code, reasons, afterMs } = await becomes('degraded', 3_000)
  ensure(code === 200 && reasons.length === 1 && /^a batch for orders-0 has been waiting \d\.\d s to be written, so the disk with .*\/data is too slow/.test(reasons[0]), `${code} ${reasons}`)
  let peak = 0
  let lag = 0
  for (let looks = 0; looks < 10; looks++) {
    const now = await metrics()
    peak = Math.max(peak, now('process_resident_memory_bytes'))
    lag = Math.max(lag, now('nodejs_eventloop_lag_max_seconds'))
    await sleep(100)
  }
  ensure(lag < 0.5, `the event loop of the broker stood still for ${lag} s`)
  const heldBytes = await metric('haulout_request_memory_bytes')
  ensure(peak - before < 48 * MIB, `memory grew from ${before} to ${peak} while 30 MB waited`)
  ensure(heldBytes < 32 * MIB, `${heldBytes} bytes of requests are held`)
  disk.server.kill('SIGCONT')
  await Promise.all(sends)
  ensure(await metric('haulout_store_append_seconds_bucket{le="1"}') < await metric('haulout_store_append_seconds_count'), 'the histogram has batches that waited longer than 1 s')
  await producer.send(['after'])
  await producer.close()
  await ensureAll(broker, 'orders', producer.told)
  await becomes('ok', 13_000)
  const lines = linesOf(broker, /^(warn|error)/)
  ensure(lines.length === 1 && /^warn the disk is slow: a batch for orders-0 has waited/.test(lines[0]), lines.join('; '))
  await broker.stop()
  return `degraded after ${afterMs} ms, memory ${Math.round((peak - before) / MIB)} MiB more at most, event loop at most ${Math.round(lag * 1000)} ms; one line`
}

/** One partition is written to while the disk answers with EIO; another one is not. */
async function answersEio (disks, backend) {
  const trigger = `${disks.folder('trigger')}/eio`
  // Without a journal of ext4's, which would make the file system read-only for good.
  const disk = await nbdDisk(disks, ['error'], ['error-pwrite=EIO', `error-file=${trigger}`, 'error-rate=100%'], ['-O', '^has_journal'])
  const dataDir = `${disk.folder}/data`
  const broker = await start(disks, '', { dataDir, storageBackend: backend, metricsPort: 0 })
  const { health, metric, becomes } = monitorOf(broker)
  const kafka = broker.kafka()
  const producers = {}
  for (const topic of ['bad', 'good']) {
    await makeTopic(kafka, topic)
    producers[topic] = await producerOf(kafka, topic)
    for (let id = 0; id < 5; id++) await producers[topic].send([id])
  }
  ensure((await health()).status === 'ok', 'all is well')
  writeFileSync(trigger, '')
  let refused = 0
  for (const startedAtMs = performance.now(); performance.now() - startedAtMs < 500; refused++) {
    const error = await errorOf(async () => await producers.bad.send(['lost']))
    ensure(error?.type === 'KAFKA_STORAGE_ERROR' || error?.cause?.type === 'KAFKA_STORAGE_ERROR', `a record for a disk with EIO: ${error?.message ?? 'acknowledged'}`)
  }
  const { code, status, reasons } = await health()
  ensure(code === 200 && status === 'degraded' && reasons.length === 1 && /^bad-0 takes no records \(.*\), so producers/.test(reasons[0]), `${status}: ${reasons}`)
  ensure(await metric('haulout_health') === 1 && await metric('haulout_store_failed_logs') === 1, 'the metrics say so')
  ensure(await metric('haulout_store_append_failures_total{code="failed"}') === 1, 'one batch could not be written')
  const lines = linesOf(broker, /^(warn|error)/)
  ensure(lines.length === 1 && /^error a write to bad-0 failed/.test(lines[0]), `one line: ${lines.join('; ')}`)
  rmSync(trigger)
  await producers.good.send(['meanwhile'])
  const again = await becomes('ok', 5_000)
  await producers.bad.send(['after'])
  ensure(await metric('haulout_store_failed_logs') === 0, 'the metrics say that all is well')
  for (const [topic, producer] of Object.entries(producers)) {
    await producer.close()
    await ensureAll(broker, topic, producer.told)
  }
  await broker.stop()
  return `${refused} records refused, one line in the log: ${reasons[0].replace(/.*records \((.*?)\).*/, '$1')}; well ${again.afterMs} ms after the disk was`
}

/** A member of a group behind a cable that is pulled: no FIN, no RST. */
async function vanished (disks, backend) {
  needs('ip')
  const name = `haulout${process.pid % 10_000}`
  const [host, peer] = ['10.213.77.1', '10.213.77.2']
  try {
    run('ip', 'netns', 'add', name)
    disks.later(() => run('ip', 'netns', 'delete', name))
    run('ip', 'link', 'add', `${name}a`, 'type', 'veth', 'peer', 'name', `${name}b`, 'netns', name)
    run('ip', 'address', 'add', `${host}/30`, 'dev', `${name}a`)
    run('ip', 'link', 'set', `${name}a`, 'up')
    run('ip', '-n', name, 'address', 'add', `${peer}/30`, 'dev', `${name}b`)
    run('ip', '-n', name, 'link', 'set', `${name}b`, 'up')
  } catch (error) {
    throw new Skip(`no network namespace can be made: ${firstLine(error)}`)
  }
  const options = { dataDir: disks.folder('vanished'), storageBackend: backend, host, config: { 'connections.max.idle.ms': 4_000, 'group.min.session.timeout.ms': 500, 'group.initial.rebalance.delay.ms': 0 } }
  const broker = await start(disks, '', options)
  const kafka = broker.kafka(host)
  await makeTopic(kafka, 'orders', 4)
  const producer = await producerOf(kafka, 'orders')
  await producer.send(['one'])
  const member = spawn('ip', ['netns', 'exec', name, process.execPath, MEMBER, `${host}:${broker.port}`], { stdio: ['ignore', 'pipe', 'inherit'] })
  disks.later(() => member.kill('SIGKILL'))
  let output = ''
  member.stdout.setEncoding('utf8').on('data', (text) => { output += text })
  for (let waits = 0; !output.includes('has 4'); waits++) {
    ensure(waits < 1_000, `the member did not join: ${output}`)
    await sleep(10)
  }
  const connectionsOf = () => run('ss', '-Htn', 'state', 'established', 'src', host, 'sport', '=', `:${broker.port}`, 'dst', peer).split('\n').filter(Boolean).length
  needs('ss')
  ensure(connectionsOf() > 0, 'the member is connected')
  run('ip', '-n', name, 'link', 'set', `${name}b`, 'down')
  const cutAtMs = performance.now()
  const heir = kafka.consumer({ groupId: 'g', sessionTimeout: 1_000, heartbeatInterval: 200 })
  let joinedAtMs
  heir.on(heir.events.GROUP_JOIN, ({ payload }) => { if (payload.memberAssignment.orders?.length === 4) joinedAtMs = performance.now() })
  await heir.connect()
  await heir.subscribe({ topics: ['orders'], fromBeginning: true })
  heir.run({ eachMessage: async () => {} }).catch(() => {})
  let slowestMs = 0
  while (joinedAtMs === undefined && performance.now() - cutAtMs < 10_000) {
    const startedAtMs = performance.now()
    await producer.send(['beside'])
    slowestMs = Math.max(slowestMs, performance.now() - startedAtMs)
  }
  ensure(joinedAtMs !== undefined, 'the heir got the partitions')
  for (let waits = 0; connectionsOf() > 0 && waits < 200; waits++) await sleep(50)
  ensure(connectionsOf() === 0, `${connectionsOf()} connections of the vanished member are still held`)
  const heldMs = Math.round(performance.now() - cutAtMs)
  await heir.disconnect()
  await producer.close()
  await broker.stop()
  ensure(slowestMs < 1_000, `another client waited ${Math.round(slowestMs)} ms`)
  return `its partitions were another's after ${Math.round(joinedAtMs - cutAtMs)} ms, its connections gone after ${heldMs} ms; others waited ${Math.round(slowestMs)} ms at most`
}

export const brokers = [
  ...BACKENDS.map((backend) => ({ name: `a broker with few file descriptors, ${backend}: refuses connections with a reason, goes on, loses nothing`, run: async (disks) => await fewDescriptors(disks, backend) })),
  ...['io_uring', 'node:fs'].flatMap((backend) => [
    { name: `a broker in 256 MiB of memory, ${backend}: takes 200 MB`, run: async (disks) => await someMemory(disks, backend) },
    { name: `a broker in too little memory, ${backend}: nothing acknowledged is lost`, run: async (disks) => await noMemory(disks, backend) }
  ]),
  { name: 'a broker on a slow disk (nbdkit), io_uring: says so, holds little, is well when the disk is', run: async (disks) => await standsStill(disks, 'io_uring') },
  ...['io_uring', 'node:fs'].map((backend) => ({ name: `a broker on a disk with EIO on write (nbdkit), ${backend}: says so, other partitions go on, is well when the disk is`, run: async (disks) => await answersEio(disks, backend) })),
  { name: 'peers that vanish without a word: their partitions and connections are freed', run: async (disks) => await vanished(disks, 'io_uring') }
]
