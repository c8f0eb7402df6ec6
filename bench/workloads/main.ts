/**
 * The documented workloads as commands: `npm run bench-writes`, `bench-reads`, `bench-scaling`, `bench-batch`, `bench-batch-scaling`, `bench-vs`.
 * Settings come from the environment by the guide's names, or from `--preset`; the outcome is a table and a CSV file.
 */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { Argument, Command, Option } from 'commander'
import { openStore, type BackendChoice } from '../../src/log/open-store.js'
import { toCsv } from '../store/csv.js'
import { passingFolder, resultsFolder, whenInterrupted } from '../store/ending.js'
import { describeMachine, type Machine } from '../store/machine.js'
import { LeftOut } from '../store/measurement.js'
import { plainTable } from '../store/table.js'
import { KAFKA_VERSION } from '../kafka/tools.js'
import { progressOf } from './progress.js'
import { LATENCY_ENDING, latenciesCsv } from './latencies.js'
import { PRESETS, settingsFrom, type Preset } from './settings.js'
import type { StepOutcome } from './steps.js'
import { settingsInWords, stepsOf, WORKLOADS, type WorkloadName } from './workloads.js'

const command = new Command('bench-<workload>')
  .addArgument(new Argument('<workload>').choices(Object.keys(WORKLOADS)))
  .addOption(new Option('--preset <scenario>', 'a scenario of the guide').choices(Object.keys(PRESETS)))
  .option('--out <folder>', 'for the CSV file, and the machine and the settings beside it', 'benchmarks')
  .addHelpText('after', `
Environment: FSYNC (sync-each, no-fsync, async, 500ms; several with commas), THREADS (8, 1-16, 1,2,4), WALRUS_DURATION (30s, 2m, 1h), WALRUS_WRITE_DURATION,
WALRUS_READ_DURATION, WALRUS_BATCH_SIZE or BATCH, ENTRY_SIZE, WALRUS_DATA_DIR, WALRUS_QUIET, BACKEND (fd, mmap, io_uring, io_uring-buffered, threads, node:fs), WALRUS_DISABLE_IO_URING=1`)
  .parse()
const { preset, out } = command.opts<{ readonly preset?: Preset, readonly out: string }>()
try {
  await run(command.args[0] as WorkloadName)
} catch (error) {
  command.error((error as Error).message)
}

async function run (name: WorkloadName): Promise<void> {
  const workload = WORKLOADS[name]
  const settings = settingsFrom(process.env, workload.defaults, preset)
  resultsFolder(out, '--out')
  const dataDir = passingFolder(settings.dataDir, 'WALRUS_DATA_DIR')
  const steps = stepsOf(name, { ...settings, dataDir })
  const chosen = await backendHere(path.join(dataDir, 'backend'), settings.backend)
  const facts: Machine = {
    ...describeMachine(dataDir, name === 'vs' ? ['walrus-rust', 'rocksdb', 'fio', 'java', 'librdkafka'] : []),
    ...(name === 'vs' && { kafka: KAFKA_VERSION }),
    ...(preset !== undefined && { preset }),
    ...settingsInWords(name, settings, chosen)
  }
  if (!settings.quiet) console.log(`${Object.entries(facts).map(([fact, value]) => `${fact}: ${value}`).join('\n')}\n`)
  const progress = progressOf(steps, settings.quiet)
  const outcomes: StepOutcome[] = []
  const leftOut: string[] = []
  // What is finished is not lost, neither by an interruption nor by a step that fails.
  const tell = (): void => {
    progress.stop()
    for (const line of leftOut) console.log(`left out: ${line}`)
    if (outcomes.length > 0) writeOutcome(workload, outcomes, facts)
  }
  whenInterrupted(tell)
  try {
    for (const step of steps) {
      try {
        outcomes.push(await progress.during(step, async () => await step.run()))
      } catch (error) {
        if (!(error instanceof LeftOut)) throw new Error(`${step.title}: ${(error as Error).message}`)
        leftOut.push(`${step.title}: ${error.message}`)
      }
    }
  } finally {
    tell()
  }
}

function writeOutcome ({ name, columns }: (typeof WORKLOADS)[WorkloadName], outcomes: readonly StepOutcome[], facts: Machine): void {
  const rows = outcomes.map(({ row }) => row)
  const file = path.join(out, `${name}_benchmark_${new Date().toISOString().replace(/[:.]/g, '-')}`)
  console.log(plainTable(columns, rows))
  writeFileSync(`${file}.csv`, toCsv(columns, rows))
  writeFileSync(`${file}${LATENCY_ENDING}`, latenciesCsv(columns, outcomes))
  writeFileSync(`${file}.machine.json`, `${JSON.stringify(facts, null, 2)}\n`)
  console.log(`${file}.csv`)
}

/** The way to the disk that a store takes here. Rejects where the one that was asked for cannot be had. */
async function backendHere (dataDir: string, asked: BackendChoice): Promise<string> {
  const store = await openStore({ dataDir, backend: asked })
  const { name, reason } = store.backend
  await store.close()
  return `${name} (${reason})`
}
