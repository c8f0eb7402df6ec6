/**
 * `npm run bench:store`: measures the store beside walrus-rust, RocksDB's write-ahead log and the device itself (fio) in one run, the sides in turn;
 * prints the table with what is asked of each row, and writes every repetition as CSV.
 */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { toCsv } from './csv.js'
import { passingFolder, resultsFolder, whenInterrupted } from './ending.js'
import { mountFilesystem, type FilesystemKind } from './filesystem.js'
import { describeMachine, type Machine } from './machine.js'
import { judge, MeasurementRun, type Measurement, type Outcome } from './measurement.js'
import { DURABLE_MEASUREMENTS, measurements } from './rows.js'
import { markdownTable, terminalTable } from './table.js'

interface Options {
  readonly only?: readonly string[]
  readonly seconds: number
  readonly repetitions: number
  readonly mebibytes: number
  readonly dataDir: string
  readonly out: string
  readonly filesystem?: FilesystemKind
  readonly markdown?: boolean
}

const positive = (text: string): number => {
  const value = Number(text)
  if (!(value > 0)) throw new InvalidArgumentError('a number above 0 is wanted')
  return value
}

const command = new Command('bench:store')
  .description('The store beside walrus-rust, RocksDB and fio.')
  .option('--only <rows...>', 'measure these only: ' + measurements({ dataDir: '', seconds: 1, mebibytes: 1 }).map(({ id }) => id).join(', '))
  .option('--seconds <number>', 'of each repetition of each side', positive, 3)
  .option('--repetitions <number>', 'of each side', positive, 3)
  .option('--mebibytes <number>', 'written before reads and recoveries', positive, 768)
  .option('--data-dir <folder>', 'where everybody writes', '/var/tmp')
  .option('--out <folder>', 'for the CSV files', 'benchmarks')
  .addOption(new Option('--filesystem <kind>', 'on a loop image of this file system (root); the durable rows unless --only says others').choices(['ext4', 'xfs']))
  .option('--markdown', 'print the tables in Markdown too')
try {
  await main(command.parse().opts<Options>())
} catch (error) {
  command.error((error as Error).message)
}

async function main (options: Options): Promise<void> {
  resultsFolder(options.out, '--out')
  const parent = passingFolder(options.dataDir, '--data-dir')
  const mounted = options.filesystem === undefined ? undefined : await mountFilesystem(options.filesystem, parent)
  // Also when somebody has seen enough: a mounted image would stay. Before the folder is removed, which is below it.
  if (mounted !== undefined) process.prependOnceListener('exit', () => mounted.unmount())
  await run(options, mounted?.folder ?? parent)
}

async function run (options: Options, dataDir: string): Promise<void> {
  const machine = describeMachine(dataDir, ['fio', 'rocksdb', 'walrus-rust'])
  print(machine)
  const outcomes: Outcome[] = []
  // What is finished is not lost, neither by an interruption nor by a row that fails.
  whenInterrupted(() => tell(options, machine, outcomes))
  try {
    for (const measurement of wanted(options, measurements({ ...options, dataDir }))) {
      const outcome = new MeasurementRun(measurement)
      outcomes.push(outcome)
      await outcome.run(Math.max(1, Math.round(options.repetitions)), progress)
    }
  } finally {
    tell(options, machine, outcomes)
  }
}

function tell (options: Options, machine: Machine, outcomes: readonly Outcome[]): void {
  progress('')
  if (outcomes.length === 0) return
  writeFiles(options, machine, outcomes)
  const rows = outcomes.flatMap(({ measurement, samples }) => measurement.rows.map((row) => judge(row, samples)))
  console.log(terminalTable(rows))
  for (const { measurement } of outcomes) console.log(`${measurement.id}: ${measurement.method}`)
  for (const [side, why] of new Map(outcomes.flatMap(({ leftOut }) => [...leftOut]))) console.log(`left out: ${side}: ${why}`)
  if (options.markdown === true) console.log(`\n${markdownTable(rows)}`)
}

function wanted ({ only, filesystem }: Options, all: readonly Measurement[]): Measurement[] {
  const ids = only?.flatMap((id) => id.split(',')) ?? (filesystem === undefined ? undefined : DURABLE_MEASUREMENTS)
  const unknown = ids?.find((id) => !all.some((measurement) => measurement.id === id))
  if (unknown !== undefined) command.error(`no row is called ${unknown}; there are ${all.map(({ id }) => id).join(', ')}`)
  return all.filter(({ id }) => ids?.includes(id) ?? true)
}

function writeFiles ({ out }: Options, machine: Machine, outcomes: readonly Outcome[]): void {
  const name = path.join(out, `store_benchmark_${new Date().toISOString().replace(/[:.]/g, '-')}`)
  const samples = outcomes.flatMap((outcome) => outcome.samples)
  const columns = ['measurement', 'side', 'repetition', 'figure', 'value']
  writeFileSync(`${name}.csv`, toCsv(columns, samples.map(({ measurement, side, repetition, figure, value }) => [measurement, side, repetition, figure, value])))
  writeFileSync(`${name}.machine.json`, `${JSON.stringify(machine, null, 2)}\n`)
  console.log(`${name}.csv`)
}

function print (machine: Machine): void {
  for (const [fact, value] of Object.entries(machine)) console.log(`${fact}: ${value}`)
}

/** One line that is written over on a terminal, one line each elsewhere; on stderr, so that the table can be kept alone. */
function progress (text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
  else if (text !== '') process.stderr.write(`${text}\n`)
}
