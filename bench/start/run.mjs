/**
 * `node bench/start/run.mjs [--rounds 5]`: from the start of the process to the first answered Metadata request, and the memory at rest,
 * of Haulout and of Apache Kafka (formatted, then started), in turn, on fresh data folders. Prints a table of the medians.
 */
import { spawn } from 'node:child_process'
import { openSync, rmSync } from 'node:fs'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { tied } from '../../compat-tests/driver/prepare.mjs'
import { untilAnswered } from '../../compat-tests/driver/wire.mjs'
import { KAFKA_ARTIFACTS, KAFKA_VERSION, mavenClasspath } from '../../scripts/kafka-fetch.mjs'
import { formatKafka, freePort, spawnKafka } from '../../scripts/kafka-server.mjs'

const SETTLE_MS = 3_000
const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const main = path.join(root, 'dist/src/cli/main.js')
const { values } = parseArgs({ options: { rounds: { type: 'string', default: '5' } } })

// Ctrl-C leaves nothing behind: processes are tied to this one, and the folder under way goes with it.
let folder
process.once('exit', () => { if (folder !== undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 5 }) })
process.once('SIGINT', () => process.exit(130))
process.once('SIGTERM', () => process.exit(143))

const brokers = {
  Haulout: {
    prepare: async () => {},
    start: ({ port, dataDir, stdio }) => spawn(process.execPath, [main, 'start', '--port', `${port}`, '--data-dir', dataDir], { stdio })
  },
  [`Apache Kafka ${KAFKA_VERSION}`]: {
    prepare: formatKafka,
    start: ({ dataDir, stdio }) => spawnKafka({ dataDir, stdio })
  }
}

/** One start on a fresh folder, and one more on the folder that this left. */
async function round ({ prepare, start }) {
  folder = await mkdtemp(path.join(tmpdir(), 'haulout-start-'))
  const settings = { port: await freePort(), dataDir: path.join(folder, 'data') }
  const once = async () => {
    const log = openSync(path.join(folder, 'log'), 'a')
    const startedAtMs = performance.now()
    await prepare(settings)
    const child = tied(await start({ ...settings, stdio: ['ignore', log, log] }))
    let ended = false
    const exited = new Promise((resolve) => child.once('exit', () => resolve(ended = true)))
    try {
      await untilAnswered(settings.port, 60_000, { everyMs: 2, stillThere: () => !ended })
      const startMs = performance.now() - startedAtMs
      await sleep(SETTLE_MS)
      return { startMs, rssMiB: await residentMiB(child.pid) }
    } finally {
      child.kill('SIGTERM')
      await exited
    }
  }
  const first = await once()
  const again = await once()
  await rm(folder, { recursive: true, force: true })
  return { startMs: first.startMs, restartMs: again.startMs, rssMiB: first.rssMiB }
}

async function residentMiB (pid) {
  return Number(/VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))[1]) / 1024
}

function median (numbers) {
  const sorted = numbers.toSorted ? numbers.toSorted((a, b) => a - b) : [...numbers].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]
}

await stat(main).catch(() => {
  console.error(`${main} is missing: npm run build`)
  process.exit(1)
})
await mavenClasspath('kafka', KAFKA_ARTIFACTS).catch((error) => {
  console.log(`left out: Apache Kafka cannot be had here: ${error.complaint ?? error.message}`)
  delete brokers[`Apache Kafka ${KAFKA_VERSION}`]
})
const rounds = new Map(Object.keys(brokers).map((name) => [name, []]))
for (let count = 0; count < Number(values.rounds); count++) {
  for (const [name, broker] of Object.entries(brokers)) rounds.get(name).push(await round(broker))
}

const cell = (all, field, digits = 0) => {
  const numbers = all.map((one) => one[field])
  return `${median(numbers).toFixed(digits)} (${Math.min(...numbers).toFixed(digits)} to ${Math.max(...numbers).toFixed(digits)})`
}
console.log(`Median of ${values.rounds} rounds (range), in turn, on ${cpus().length} cores, Node ${process.version}.\n`)
console.log('| broker | fresh folder to first answered Metadata, ms | started again, ms | RSS after 3 s, MiB |')
console.log('|---|---|---|---|')
for (const [name, all] of rounds) console.log(`| ${name} | ${cell(all, 'startMs')} | ${cell(all, 'restartMs')} | ${cell(all, 'rssMiB')} |`)
