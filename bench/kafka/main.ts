/**
 * `npm run bench`: Haulout beside Apache Kafka in one run, the same clients with the same settings, in turn. Prints the table with what is asked of
 * each row, and writes every repetition as CSV and all of it as one HTML file.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { toCsv } from '../store/csv.js'
import { passingFolder, resultsFolder, whenInterrupted } from '../store/ending.js'
import { describeMachine, type Machine } from '../store/machine.js'
import { judge } from '../store/measurement.js'
import { ROOT } from '../store/tools.js'
import { LoadRun, type Load, type LoadOutcome } from './load.js'
import { HAULOUT, KAFKA, KAFKA_DURABLE } from './brokers.js'
import { growths } from './growth.js'
import { loads } from './loads.js'
import { htmlReport } from './report.js'
import { KAFKA_VERSION } from './tools.js'
import { markdownTable, terminalTable } from './table.js'

interface Options {
  readonly only?: readonly string[]
  readonly seconds: number
  readonly repetitions: number
  readonly dataDir: string
  readonly out: string
  readonly markdown?: boolean
  readonly growth?: boolean
  /** False for --no-kafka. */
  readonly kafka: boolean
}

const positive = (text: string): number => {
  const value = Number(text)
  if (!(value > 0)) throw new InvalidArgumentError('a number above 0 is wanted')
  return value
}

const command = new Command('bench')
  .description('Haulout beside Apache Kafka, the same clients with the same settings, in turn.')
  .option('--only <loads...>', `these only: ${[...loads(), ...growths()].map(({ id }) => id).join(', ')}`)
  .option('--growth', 'how throughput and cost grow with partitions, connections, records, settings, lagging consumers; instead of the table')
  .option('--seconds <number>', 'of each repetition on each broker, after a second of warm-up', positive, 5)
  .option('--repetitions <number>', 'on each broker; one more, the first, is dropped', positive, 5)
  .option('--data-dir <folder>', 'where all brokers write', '/var/tmp')
  .option('--out <folder>', 'for the CSV file and the report', 'benchmarks')
  .option('--no-kafka', 'Haulout alone, and the server that drops the records: where Kafka cannot be had, or while tuning')
  .option('--markdown', 'print the table in Markdown too')
try {
  await main(command.parse().opts<Options>())
} catch (error) {
  command.error((error as Error).message)
}

async function main (options: Options): Promise<void> {
  resultsFolder(options.out, '--out')
  const dataDir = passingFolder(options.dataDir, '--data-dir')
  const machine = {
    ...describeMachine(dataDir, ['java', 'librdkafka']),
    kafkajs: packageVersion('kafkajs', 'kafkajs'),
    '@platformatic/kafka': packageVersion('platformatic', '@platformatic/kafka'),
    kafka: KAFKA_VERSION,
    run: `${Math.max(1, Math.round(options.repetitions))} repetitions of ${options.seconds} s on each broker in turn, warm-up dropped`
  }
  for (const [fact, value] of Object.entries(machine)) console.log(`${fact}: ${value}`)
  const runs: LoadRun[] = []
  const outcomes = (): LoadOutcome[] => runs.map((run) => run.outcome())
  // What is finished is not lost.
  whenInterrupted(() => tell(options, machine, outcomes()))
  for (const load of wanted(options).map((one) => options.kafka ? one : withoutKafka(one))) {
    const run = new LoadRun(load, { dataDir, seconds: options.seconds, repetitions: Math.max(1, Math.round(options.repetitions)), onStep: progress })
    runs.push(run)
    await run.run()
  }
  tell(options, machine, outcomes())
  if (!hasWorked(outcomes())) process.exitCode = 1
}

/** A client that cannot be had here is no failure, but of some row there has to be a figure. */
function hasWorked (outcomes: readonly LoadOutcome[]): boolean {
  return outcomes.every(({ failed }) => !failed.has(HAULOUT.name)) && outcomes.some(({ samples }) => samples.some(({ side }) => side === HAULOUT.name))
}

function withoutKafka (load: Load): Load {
  return { ...load, brokers: load.brokers.filter((kind) => kind !== KAFKA && kind !== KAFKA_DURABLE) }
}

function wanted ({ only, growth }: Options): readonly Load[] {
  const all = [...loads(), ...growths()]
  const ids = only?.flatMap((id) => id.split(','))
  if (ids === undefined) return growth === true ? growths() : loads()
  const unknown = ids.find((id) => !all.some((load) => load.id === id))
  if (unknown !== undefined) command.error(`no load is called ${unknown}; there are ${all.map(({ id }) => id).join(', ')}`)
  return all.filter(({ id }) => ids.includes(id))
}

function tell ({ out, markdown }: Options, machine: Machine, outcomes: readonly LoadOutcome[]): void {
  progress('')
  if (outcomes.every(({ samples, leftOut }) => samples.length === 0 && leftOut.size === 0)) return
  const rows = outcomes.flatMap(({ load, samples }) => load.rows.map((row) => judge(row, samples)))
  console.log(terminalTable(rows))
  for (const { load } of outcomes) console.log(`${load.id}: ${load.settings}. ${load.method}`)
  for (const { load, leftOut } of outcomes) for (const [side, why] of leftOut) console.log(`left out: ${load.id}: ${side}: ${why}`)
  if (markdown === true) console.log(`\n${markdownTable(rows)}`)
  const name = path.join(out, `kafka_benchmark_${new Date().toISOString().replace(/[:.]/g, '-')}`)
  const columns = ['measurement', 'side', 'repetition', 'figure', 'value']
  const samples = outcomes.flatMap((outcome) => outcome.samples)
  writeFileSync(`${name}.csv`, toCsv(columns, samples.map(({ measurement, side, repetition, figure, value }) => [measurement, side, repetition, figure, value])))
  writeFileSync(`${name}.machine.json`, `${JSON.stringify(machine, null, 2)}\n`)
  const commandLine = `npm run bench -- ${process.argv.slice(2).join(' ')}`
  writeFileSync(`${name}.html`, htmlReport({ title: `Haulout beside Apache Kafka ${KAFKA_VERSION}`, command: commandLine, machine, outcomes, rows }))
  console.log(`${name}.csv\n${name}.html`)
}

/** As the folder of the compatibility tests asks for it, whose client is the one that is measured. */
function packageVersion (folder: string, name: string): string {
  const { dependencies } = JSON.parse(readFileSync(path.join(ROOT, 'compat-tests', folder, 'package.json'), 'utf8')) as { readonly dependencies: Readonly<Record<string, string>> }
  return dependencies[name] ?? 'unknown'
}

/** One line that is written over on a terminal, one line each elsewhere; on stderr, so that the table can be kept alone. */
function progress (text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
  else if (text !== '') process.stderr.write(`${text}\n`)
}
