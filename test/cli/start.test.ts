/** `haulout start` as a user meets it: the command as a process, its output, its exit code, what a signal does and what survives. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import tap, { test, type Test } from 'tap'
import { offsetCommit } from '../../src/protocol/schemas/08-offset-commit.js'
import { offsetFetch } from '../../src/protocol/schemas/09-offset-fetch.js'
import { listOffsets } from '../../src/protocol/schemas/02-list-offsets.js'
import { metadata } from '../../src/protocol/schemas/03-metadata.js'
import { produce } from '../../src/protocol/schemas/00-produce.js'
import { plainBatch } from '../broker/support/batches.js'
import { makeTopic, produceRequest, until } from '../hostile/support.js'
import { plainEnvironment, PLAIN_NODE } from '../support/plain-node.js'
import { connect, type RawClient } from '../support/raw-client.js'

tap.setTimeout(90_000)

const COMMAND = new URL('../../src/cli/main.js', import.meta.url).pathname

class Command {
  output = ''
  errors = ''
  readonly exited: Promise<number>

  constructor (readonly child: ChildProcess) {
    child.stdout!.on('data', (chunk: Buffer) => { this.output += chunk.toString() })
    child.stderr!.on('data', (chunk: Buffer) => { this.errors += chunk.toString() })
    this.exited = once(child, 'close').then(([code, signal]) => code ?? `ended by ${signal}`)
  }

  async started (): Promise<{ readonly port: number }> {
    await until(() => /^Try it:/m.test(this.output) || this.child.exitCode !== null, 'started', 10_000)
    const port = /^ +clients +\S+:(\d+)$/m.exec(this.output)?.[1]
    if (port === undefined) throw new Error(`did not start: ${this.output}${this.errors}`)
    return { port: Number(port) }
  }

  async stop (): Promise<number> {
    this.child.kill('SIGTERM')
    return await this.exited
  }
}


function haulout (t: Test, args: readonly string[], more: { readonly env?: Record<string, string>, readonly uid?: number, readonly cwd?: string, readonly preload?: string } = {}): Command {
  const { env, preload = '', ...rest } = more
  const child = spawn('env', [...PLAIN_NODE, '--import', `data:text/javascript,${encodeURIComponent(preload)}`, COMMAND, ...args], { ...rest, env: { ...plainEnvironment, ...env } })
  t.teardown(() => { child.kill('SIGKILL') })
  return new Command(child)
}

async function refused (t: Test, command: Command, expected: RegExp): Promise<void> {
  t.equal(await command.exited, 1, 'exit code 1')
  t.match(command.errors, expected)
  t.notMatch(command.errors, /^ +at /m, 'no stack')
  t.equal(command.output.replace(/^\{.*\n/gm, ''), '', 'no start message')
}

async function endOffset (client: RawClient, topic: string): Promise<number> {
  const answer = await client.send(listOffsets, 5, { replicaId: -1, isolationLevel: 0, topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp: -1 }] }] } as never)
  return answer.topics[0]!.partitions[0]!.offset
}

async function identity (client: RawClient, topic: string) {
  const { clusterId, brokers, topics } = await client.send(metadata, 12, { topics: [{ name: topic }], allowAutoTopicCreation: false } as never)
  return { clusterId, nodeId: brokers[0]!.nodeId, topicId: topics[0]!.topicId, partitionCount: topics[0]!.partitions.length }
}

test('the start message says where, what and how safe; a signal ends it', async (t) => {
  const dataDir = path.join(t.testdir(), 'made', 'by the broker')
  const command = haulout(t, ['start', '--port', '0', '--data-dir', dataDir, '--backend', 'node:fs'])
  const { port } = await command.started()
  t.match(command.output, /^Haulout \d+\.\d+\.\d+, up after \d+ ms$/m)
  t.match(command.output, new RegExp(`^  data +${dataDir}$`, 'm'))
  t.match(command.output, /^  storage +node:fs/m)
  t.match(command.output, /^  acknowledged means on stable storage$/m)
  t.match(command.output, new RegExp(`kcat -b 127.0.0.1:${port}`))
  const client = await connect(port)
  const { brokers } = await client.send(metadata, 4, { topics: [] } as never)
  t.match(brokers, [{ nodeId: 1, host: '127.0.0.1', port }])
  client.close()
  t.equal(await command.stop(), 0)
})

test('metrics and health are served where they are asked for, and the log says where', async (t) => {
  for (const [args, env] of [[['--metrics-port', '0'], {}], [[], { HAULOUT_METRICS_PORT: '0' }]] as const) {
    const command = haulout(t, ['start', '--port', '0', '--storage', 'memory', ...args], { env })
    await command.started()
    const url = /metrics on (http:\/\/127\.0\.0\.1:\d+)\/metrics/.exec(command.output)?.[1]
    t.same(await (await fetch(`${url}/healthz`)).json(), { status: 'ok', reasons: [] })
    t.match(await (await fetch(`${url}/metrics`)).text(), /^process_resident_memory_bytes \d+$/m)
    t.equal(await command.stop(), 0)
  }
})

test('WALRUS_DISABLE_IO_URING decides where nobody named a backend', async (t) => {
  const threads = /^  storage +(threads|node:fs)/m
  for (const [args, value, expected] of [[['--backend', 'auto'], '1', threads], [['--backend', 'auto'], 'true', threads], [['--backend', 'mmap'], '1', /^  storage +(mmap|node:fs)/m]] as const) {
    const command = haulout(t, ['start', '--port', '0', '--data-dir', path.join(t.testdir(), args[1] + value), ...args], { env: { WALRUS_DISABLE_IO_URING: value } })
    await command.started()
    t.match(command.output, expected)
    t.equal(await command.stop(), 0)
  }
})

test('mistakes are told in a sentence with what to do, before anything is open', async (t) => {
  const folder = t.testdir({ 'bad.properties': 'num.partitions=many\n', 'quiet.properties': 'listeners=SSL://:0\n' })
  const taken = net.createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as net.AddressInfo
  const start = (...args: string[]) => haulout(t, ['start', '--data-dir', path.join(folder, 'data'), ...args])
  const memory = (...args: string[]) => haulout(t, ['start', '--storage', 'memory', ...args])
  await Promise.all([
    refused(t, memory('--port', String(port)), new RegExp(`port taken: something else listens on 127.0.0.1:${port}[^]*--port`)),
    refused(t, memory('--port', '0', '--metrics-port', String(port)), new RegExp(`port taken: something else listens on 127.0.0.1:${port}[^]*--metrics-port 0`)),
    refused(t, memory('--port', '70000'), /A port is a number from 0/),
    refused(t, memory('--port', '0', '--host', '192.0.2.1'), /cannot listen on 192\.0\.2\.1[^]*--host/),
    refused(t, memory('--port', '0', '-c', path.join(folder, 'bad.properties')), /Invalid value many for configuration num\.partitions/),
    refused(t, memory('--port', '0', '-c', path.join(folder, 'none.properties')), /cannot read the settings in .*none\.properties: .*no such file/i),
    refused(t, memory('-c', path.join(folder, 'quiet.properties')), /listener SSL asks for SSL: this broker serves PLAINTEXT only/)
  ])
  await Promise.all([
    refused(t, memory('-o', 'nonsense'), /Write name=value/),
    refused(t, memory('-o', 'listeners=9092'), /listener '9092' is not of the form NAME:\/\/host:port/),
    refused(t, start('--flush', 'often'), /Write each, none, or a number with its unit/),
    refused(t, start('--storage', 'memory'), /--storage memory keeps nothing/),
    refused(t, start('-o', 'log.dirs=a', '--data-dir', 'a,b'), /keeps its data in one folder/),
    refused(t, haulout(t, ['begin']), /unknown command 'begin'/)
  ])
  taken.close()
})

test('a folder belongs to one broker, and to those who may write to it', async (t) => {
  const folder = t.testdir()
  const carefully = ['start', '--port', '0', '--data-dir', folder, '--no-create-if-missing']
  await refused(t, haulout(t, carefully), /has no data .*is its disk mounted/)
  await refused(t, haulout(t, carefully.slice(0, -1), { env: { HAULOUT_CREATE_IF_MISSING: 'false' } }), /has no data/)
  await refused(t, haulout(t, carefully, { env: { HAULOUT_CREATE_IF_MISSING: 'maybe' } }), /HAULOUT_CREATE_IF_MISSING is 'maybe': true or false expected/)
  const first = haulout(t, ['start', '--port', '0', '--data-dir', folder])
  await first.started()
  await refused(t, haulout(t, ['start', '--port', '0', '--data-dir', folder]), new RegExp(`data folder is in use: .*${first.child.pid}[^]*--data-dir`))
  t.equal(await first.stop(), 0)
  const again = haulout(t, carefully)
  await again.started()
  t.equal(await again.stop(), 0)
  if (process.getuid?.() !== 0) {
    chmodSync(folder, 0o500)
    await refused(t, haulout(t, ['start', '--port', '0', '--data-dir', folder]), /the data folder cannot be used: .*ermission denied/)
    chmodSync(folder, 0o700)
    return
  }
  chmodSync(folder, 0o700)
  const nobody = haulout(t, ['start', '--port', '0', '--data-dir', folder], { uid: 65534 })
  await nobody.exited
  if (/Cannot find module|EACCES.*main\.js/.test(nobody.errors)) t.pass('skipped: another user cannot read this checkout')
  else await refused(t, nobody, /the data folder cannot be used: .*ermission denied/)
})

test('settings come from the file, the environment and the command line; the last one counts', async (t) => {
  const folder = t.testdir({ 'server.properties': '# a comment\nnum.partitions = 2\nlog.retention.hours=1\nnum.partition=7\n' })
  const command = haulout(t, ['start', '--port', '0', '-c', path.join(folder, 'server.properties'), '-o', 'default.replication.factor=1'], {
    env: { KAFKA_NUM_PARTITIONS: '3', HAULOUT_STORAGE: 'memory', KAFKA_NODE_ID: '42', HAULOUT_PROT: '1', KAFKA_HEAP_OPTS: '-Xmx1G' }
  })
  const { port } = await command.started()
  t.match(command.output, /unknown setting num\.partition: it has no effect; did you mean num\.partitions\?/)
  t.match(command.output, /HAULOUT_PROT in the environment has no effect: there are HAULOUT_PORT/)
  t.notMatch(command.output, /heap/i)
  const client = await connect(port)
  await makeTopic(client, 'made')
  t.match(await identity(client, 'made'), { nodeId: 42, partitionCount: 3 })
  client.close()
  t.equal(await command.stop(), 0)
})

test("the environment of Kafka's image starts it unedited, each client told its own listener's address", async (t) => {
  const command = haulout(t, ['start'], {
    env: {
      HAULOUT_STORAGE: 'memory',
      CLUSTER_ID: '4L6g3nShT-eMCtK--X86sw',
      KAFKA_NODE_ID: '1',
      KAFKA_PROCESS_ROLES: 'broker,controller',
      KAFKA_CONTROLLER_QUORUM_VOTERS: '1@broker:29093',
      KAFKA_CONTROLLER_LISTENER_NAMES: 'KRAFT',
      KAFKA_LISTENERS: 'KRAFT://:29093,PLAINTEXT_HOST://127.0.0.1:0,PLAINTEXT://127.0.0.1:0',
      KAFKA_ADVERTISED_LISTENERS: 'PLAINTEXT_HOST://localhost:0,PLAINTEXT://broker:19092',
      KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: 'KRAFT:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT',
      KAFKA_INTER_BROKER_LISTENER_NAME: 'PLAINTEXT',
      KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: '1',
      KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: '0',
      KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR: '1',
      KAFKA_TRANSACTION_STATE_LOG_MIN_ISR: '1',
      KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR: '1',
      KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR: '1',
      KAFKA_LOG_DIRS: '/tmp/kraft-combined-logs'
    }
  })
  await until(() => /Try it/.test(command.output) || command.child.exitCode !== null, 'started')
  t.match(command.output, /clients +localhost:\d+,broker:19092/, command.errors)
  t.match(command.output, /passed over, because there is one process here: .*controller\.listener\.names/)
  t.match(command.output, /cluster +4L6g3nShT-eMCtK--X86sw, node 1/)
  t.notMatch(command.output, /unknown setting/)
  t.equal(await command.stop(), 0)
})

const SHIPPED = `
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:0,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:0,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
`

test("the server.properties that Kafka ships starts it, but for the ports", async (t) => {
  const folder = t.testdir()
  const file = path.join(folder, 'server.properties')
  writeFileSync(file, `${SHIPPED}log.dirs=${folder}/data\n`)
  const command = haulout(t, ['start', '-c', file])
  await command.started()
  t.match(command.output, /clients +localhost:\d+$/m)
  t.match(command.output, new RegExp(`data +${folder}/data`))
  t.notMatch(command.output, /unknown setting/)
  t.equal(await command.stop(), 0)
})

/** Produces without end; counts what was acknowledged. The end of the connection is the only error that may come. */
async function load (port: number, topic: string): Promise<{ readonly acknowledged: () => number, readonly ended: Promise<void> }> {
  const client = await connect(port)
  await makeTopic(client, topic)
  let acknowledged = 0
  const work = async (): Promise<void> => {
    for (;;) {
      const answer = await client.send(produce, 9, produceRequest(topic, plainBatch(1, 1000)))
      if (answer.responses[0]!.partitionResponses[0]!.errorCode !== 0) throw new Error('refused')
      acknowledged++
    }
  }
  const ended = Promise.all(Array.from({ length: 8 }, async () => {
    await work().catch((error: Error) => { if (error.name !== 'ConnectionEnded' && (error as NodeJS.ErrnoException).code !== 'ECONNRESET') throw error })
  })).then(() => {})
  return { acknowledged: () => acknowledged, ended }
}

interface End {
  readonly signal: NodeJS.Signals
  readonly code: number | string
  /** What a listener of that signal does: a fault of the broker's own, or of what runs beside it. */
  readonly bug?: string
}

const ENDS: readonly End[] = [
  { signal: 'SIGTERM', code: 0 },
  { signal: 'SIGKILL', code: 'ended by SIGKILL' },
  { signal: 'SIGUSR2', code: 1, bug: "throw new Error('a bug')" },
  { signal: 'SIGUSR2', code: 1, bug: "Promise.reject(new Error('a bug'))" },
  { signal: 'SIGTERM', code: 0 }
]

test('SIGTERM under load finishes cleanly; SIGKILL, an exception and a rejection that nobody handles lose nothing that was acknowledged, and ids stay', async (t) => {
  const folder = t.testdir()
  const args = ['start', '--port', '0', '--data-dir', folder]
  let before: unknown
  let acknowledged = 0
  let committed = false
  for (const { signal, code, bug } of ENDS) {
    const command = haulout(t, args, bug === undefined ? {} : { preload: `process.on('${signal}', () => { ${bug} })` })
    const { port } = await command.started()
    const client = await connect(port)
    if (before !== undefined) {
      t.same(await identity(client, 'load'), before, 'cluster, node and topic ids are the same')
      t.ok(await endOffset(client, 'load') >= acknowledged, `all of ${acknowledged} acknowledged records are there`)
    }
    if (committed) {
      const answer = await client.send(offsetFetch, 5, { groupId: 'g', topics: [{ name: 'load', partitionIndexes: [0] }] } as never)
      t.equal(answer.topics[0]!.partitions[0]!.committedOffset, 7, 'the committed offset is there')
    }
    const running = await load(port, 'load')
    await until(() => running.acknowledged() > 100, 'a hundred records')
    before ??= await identity(client, 'load')
    const commit = await client.send(offsetCommit, 2, { groupId: 'g', generationIdOrMemberEpoch: -1, memberId: '', retentionTimeMs: -1, topics: [{ name: 'load', partitions: [{ partitionIndex: 0, committedOffset: 7, committedMetadata: '' }] }] } as never)
    t.equal(commit.topics[0]!.partitions[0]!.errorCode, 0)
    committed = true
    command.child.kill(signal)
    await running.ended
    acknowledged += running.acknowledged()
    t.equal(await command.exited, code, signal)
    if (bug !== undefined) t.match(command.errors, /Error: a bug\n +at /)
    if (signal === 'SIGTERM') {
      t.match(command.output, /SIGTERM: finishing the requests in work/)
      t.match(command.output, /"msg":"closed"/)
      t.notMatch(command.output, /"level":[56]0/, 'no error in the log')
    }
    client.close()
  }
})

test('a second signal stops at once', async (t) => {
  const command = haulout(t, ['start', '--port', '0', '--storage', 'memory'])
  const { port } = await command.started()
  // A client that never ends its side: closing waits for it, for a while.
  const lingering = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  lingering.on('error', () => {})
  await once(lingering, 'connect')
  lingering.resume()
  await new Promise((resolve) => setTimeout(resolve, 50))
  command.child.kill('SIGTERM')
  await once(lingering, 'end')
  const startedMs = performance.now()
  command.child.kill('SIGTERM')
  t.equal(await command.exited, 143)
  t.ok(performance.now() - startedMs < 2_000)
  lingering.destroy()
})
