/**
 * The documented workloads as commands: `npm run bench-writes`, `bench-reads`, `bench-scaling`, `bench-batch`, `bench-batch-scaling`, `bench-vs`.
 * Settings come from the environment by the guide's names, or from `--preset`; the outcome is a table and a CSV file.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Argument, Command, Option } from 'commander'
import type { CsvValue } from '../store/csv.js'
import { toCsv } from '../store/csv.js'
import { describeMachine } from '../store/machine.js'
import { LeftOut } from '../store/measurement.js'
import { plainTable } from '../store/table.js'
import { withProgress } from './progress.js'
import { fsyncMode, PRESETS, settingsFrom, type Preset, type WorkloadSettings } from './settings.js'
import { inThreads, WORKLOADS, type WorkloadName } from './workloads.js'

const command = new Command('bench-<workload>')
  .addArgument(new Argument('<workload>').choices(Object.keys(WORKLOADS)))
  .addOption(new Option('--preset <scenario>', 'a scenario of the guide').choices(Object.keys(PRESETS)))
  .option('--out <folder>', 'for the CSV file', 'benchmarks')
  .addHelpText('after', `
Environment: FSYNC (sync-each, no-fsync, async, 500ms), THREADS (8, 1-16, 1,2,4), WALRUS_DURATION (30s, 2m, 1h), WALRUS_WRITE_DURATION,
WALRUS_READ_DURATION, WALRUS_BATCH_SIZE or BATCH, ENTRY_SIZE, WALRUS_DATA_DIR, WALRUS_QUIET, BACKEND (fd, mmap, io_uring, io_uring-buffered, threads, node:fs)`)
  .parse()
const { preset, out } = command.opts<{ readonly preset?: Preset, readonly out: string }>()
await run(command.args[0] as WorkloadName)

async function run (name: WorkloadName): Promise<void> {
  const workload = WORKLOADS[name]
  const settings = settingsOf(name)
  if (!settings.quiet) tellSettings(settings)
  const rows: (readonly CsvValue[])[] = []
  await withProgress(workload.steps(settings), settings.quiet, async (step) => {
    try {
      rows.push(...await step.run())
    } catch (error) {
      if (!(error instanceof LeftOut)) throw error
      console.log(`left out: ${step.title}: ${error.message}`)
    }
  })
  mkdirSync(out, { recursive: true })
  const file = path.join(out, `${workload.name}_benchmark_${new Date().toISOString().replace(/[:.]/g, '-')}.csv`)
  writeFileSync(file, toCsv(workload.columns, rows))
  console.log(plainTable(workload.columns, rows))
  console.log(file)
}

function settingsOf (name: WorkloadName): WorkloadSettings {
  try {
    return settingsFrom(process.env, WORKLOADS[name].defaults, preset)
  } catch (error) {
    return command.error((error as Error).message)
  }
}

function tellSettings (settings: WorkloadSettings): void {
  const { flushPolicy, threads, seconds, bytesMin, bytesMax, batch, backend, dataDir } = settings
  console.log(Object.entries(describeMachine(dataDir)).map(([fact, value]) => `${fact}: ${value}`).join('\n'))
  console.log(`settings: fsync ${fsyncMode(flushPolicy)}, threads ${threads.join(' ')}, ${seconds} s each, entries of ${bytesMin} to ${bytesMax} bytes, ` +
    `batches of ${batch}, backend ${backend}. A thread is ${inThreads(settings) ? 'a worker thread' : 'an asynchronous function of one thread, since node:fs cannot be shared,'} with a topic of its own.`)
}
