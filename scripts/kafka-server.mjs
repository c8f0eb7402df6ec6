/**
 * Apache Kafka as one KRaft node, for comparison: its own StorageTool formats the data folder, its own main class runs it.
 * As a command: `node scripts/kafka-server.mjs start --port 9092 --data-dir DIR` (runs until it is ended).
 */
import { spawn, execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import net from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { KAFKA_ARTIFACTS, mavenClasspath } from './kafka-fetch.mjs'

const CLUSTER_ID = 'aGFvdWxvdXQtY29tcGFyZQ'

/** What Kafka's own kafka-server-start passes to Java, less its 1 GiB of initial heap where `heap` says otherwise. */
const javaOptions = (heap) => [`-Xmx${heap}`, `-Xms${heap}`, '-server', '-XX:+UseG1GC', '-XX:MaxGCPauseMillis=20', '-XX:InitiatingHeapOccupancyPercent=35',
  '-Djava.awt.headless=true']

export async function freePort () {
  const server = net.createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Writes the configuration and formats the folder, unless that was done before. */
export async function formatKafka ({ port, dataDir }) {
  const properties = path.join(dataDir, 'server.properties')
  if (existsSync(properties)) return
  await mkdir(dataDir, { recursive: true })
  const controllerPort = await freePort()
  await writeFile(properties, Object.entries({
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
    'log.dirs': path.join(dataDir, 'logs'),
    'offsets.topic.replication.factor': 1,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'group.initial.rebalance.delay.ms': 0
  }).map(([name, value]) => `${name}=${value}\n`).join(''))
  const classpath = await mavenClasspath('kafka', KAFKA_ARTIFACTS)
  await promisify(execFile)('java', ['-cp', classpath, 'kafka.tools.StorageTool', 'format', '-t', CLUSTER_ID, '-c', properties])
}

/** Starts a formatted node; the child process, with its output in the files of `stdio`. */
export async function spawnKafka ({ dataDir, heap = '1G', stdio = 'inherit' }) {
  const classpath = await mavenClasspath('kafka', KAFKA_ARTIFACTS)
  return spawn('java', [...javaOptions(heap), '-cp', classpath, 'kafka.Kafka', path.join(dataDir, 'server.properties')], { stdio })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals: [verb] } = parseArgs({ allowPositionals: true, options: { port: { type: 'string', default: '9092' }, 'data-dir': { type: 'string', default: 'data/kafka' } } })
  if (verb !== 'start') {
    console.error('usage: node scripts/kafka-server.mjs start [--port 9092] [--data-dir data/kafka]')
    process.exit(2)
  }
  const dataDir = path.resolve(values['data-dir'])
  await formatKafka({ port: Number(values.port), dataDir })
  const child = await spawnKafka({ dataDir })
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code) => process.exit(code ?? 1))
}
