/**
 * `node bench/clients/run.mjs [--rounds 3] [--records 1000000]`: Kafka's own ProducerPerformance and ConsumerPerformance against Haulout (an
 * acknowledgement means on stable storage) and Apache Kafka (its default settings: it does not), in turn, each round on fresh data. Prints a table
 * of medians with the smallest and the largest; the first round warms up and is dropped.
 */
import { spawn } from 'node:child_process'
import { openSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { untilAnswered } from '../../compat-tests/driver/wire.mjs'
import { KAFKA_ARTIFACTS, KAFKA_VERSION, mavenClasspath } from '../../scripts/kafka-fetch.mjs'
import { formatKafka, freePort, spawnKafka } from '../../scripts/kafka-server.mjs'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const { values: given } = parseArgs({ options: { rounds: { type: 'string', default: '3' }, records: { type: 'string', default: '1000000' } } })
const [rounds, recordCount] = [Number(given.rounds), Number(given.records)]
const RECORD_BYTES = 1000
const TICKS_PER_SECOND = 100 // sysconf(_SC_CLK_TCK) of Linux

const brokers = {
  Haulout: {
    prepare: async () => {},
    start: ({ port, dataDir, stdio }) => spawn(process.execPath, [path.join(root, 'dist/src/cli/main.js'), 'start', '--port', `${port}`, '--data-dir', dataDir], { stdio })
  },
  [`Apache Kafka ${KAFKA_VERSION}`]: { prepare: formatKafka, start: ({ dataDir, stdio }) => spawnKafka({ dataDir, stdio }) }
}

const classpath = await mavenClasspath('kafka', KAFKA_ARTIFACTS)
const results = new Map(Object.keys(brokers).map((name) => [name, []]))
for (let round = 0; round <= rounds; round++) {
  for (const [name, broker] of Object.entries(brokers)) {
    const result = await measure(broker)
    if (round > 0) results.get(name).push(result)
    process.stderr.write(`round ${round}${round === 0 ? ' (dropped)' : ''}, ${name}: ${JSON.stringify(result)}\n`)
  }
}
printTable()

async function measure (broker) {
  const folder = await mkdtemp(path.join(tmpdir(), 'haulout-bench-'))
  const dataDir = path.join(folder, 'data')
  const port = await freePort()
  const log = openSync(path.join(folder, 'broker.log'), 'a')
  await broker.prepare({ port, dataDir })
  const child = await broker.start({ port, dataDir, stdio: ['ignore', log, log] })
  const exited = new Promise((resolve) => child.once('exit', resolve))
  try {
    await untilAnswered(port, 60_000)
    const before = await cpuSeconds(child.pid)
    const produced = await tool('ProducerPerformance', ['--topic', 'bench', '--num-records', `${recordCount}`, '--record-size', `${RECORD_BYTES}`, '--throughput', '-1',
      '--producer-props', `bootstrap.servers=127.0.0.1:${port}`, 'acks=all', 'linger.ms=5', 'batch.size=131072'])
    const between = await cpuSeconds(child.pid)
    const consumed = await tool('ConsumerPerformance', ['--topic', 'bench', '--messages', `${recordCount}`, '--bootstrap-server', `127.0.0.1:${port}`, '--hide-header', '--timeout', '60000'])
    const after = await cpuSeconds(child.pid)
    const gigabytes = recordCount * RECORD_BYTES / 1e9
    return {
      'produce, MB/s': Number(/\(([\d.]+) MB\/sec\)[^(]*$/.exec(produced)[1]) * 1.048576,
      'consume, MB/s': Number(consumed.trim().split('\n').at(-1).split(', ')[3]) * 1.048576,
      'broker CPU-s per GB produced': (between - before) / gigabytes,
      'broker CPU-s per GB consumed': (after - between) / gigabytes,
      'peak RSS, MiB': Number(/VmHWM:\s+(\d+)/.exec(await readFile(`/proc/${child.pid}/status`, 'utf8'))[1]) / 1024
    }
  } finally {
    child.kill('SIGKILL')
    await exited
    await rm(folder, { recursive: true, force: true })
  }
}

/** Runs one of Kafka's tools and resolves with what it printed. */
async function tool (name, args) {
  const child = spawn('java', ['-Xmx512m', '-cp', classpath, `org.apache.kafka.tools.${name}`, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let errors = ''
  child.stdout.on('data', (chunk) => { output += chunk })
  child.stderr.on('data', (chunk) => { errors += chunk })
  const code = await new Promise((resolve) => child.once('close', resolve))
  if (code !== 0) throw new Error(`${name} ended with ${code}: ${errors}${output}`)
  return output
}

async function cpuSeconds (pid) {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

function printTable () {
  const measures = Object.keys([...results.values()][0][0])
  console.log(`\nMedian of ${rounds} rounds (smallest to largest), in turn, ${recordCount} records of ${RECORD_BYTES} bytes, ${cpus().length} cores, Node ${process.version}.\n`)
  console.log(`| broker | ${measures.join(' | ')} |`)
  console.log(`|---|${measures.map(() => '---').join('|')}|`)
  for (const [name, rows] of results) {
    const cells = measures.map((measure) => {
      const sorted = rows.map((row) => row[measure]).sort((one, other) => one - other)
      const text = (value) => value >= 10 ? value.toFixed(0) : value.toFixed(2)
      return `${text(sorted[Math.floor(sorted.length / 2)])} (${text(sorted[0])} to ${text(sorted.at(-1))})`
    })
    console.log(`| ${name} | ${cells.join(' | ')} |`)
  }
}
