/** `npm run show-writes` and its like: draws the newest CSV of a workload, or the named one, as SVG beside it, and prints it as a table. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Argument, Command } from 'commander'
import { fromCsv } from '../store/csv.js'
import { plainTable } from '../store/table.js'
import { openInBrowser } from './browser.js'
import { svgOf } from './charts.js'
import { LATENCY_ENDING } from './latencies.js'
import { WORKLOADS, type WorkloadName } from './workloads.js'

const command = new Command('show-<workload>')
  .addArgument(new Argument('<workload>').choices(Object.keys(WORKLOADS)))
  .argument('[file]', 'a CSV file; the newest of --out without it')
  .option('--out <folder>', 'where the CSV files are', 'benchmarks')
  .parse()
try {
  show(command.args[0] as WorkloadName, command.args[1])
} catch (error) {
  command.error((error as Error).message)
}

function show (name: WorkloadName, named: string | undefined): void {
  const file = named ?? newest(WORKLOADS[name].name)
  if (file === undefined) return command.error(`there is no CSV file of this workload in ${command.opts<{ out: string }>().out}: run bench-${name} first`)
  const records = recordsOf(file)
  const columns = WORKLOADS[name].columns
  const missing = columns.filter((column) => records[0]?.[column] === undefined)
  if (missing.length > 0) return command.error(`${file} has no column ${missing.join(', ')}`)
  const stem = file.replace(/\.csv$/, '')
  const picture = `${stem}.svg`
  const latencies = existsSync(`${stem}${LATENCY_ENDING}`) ? recordsOf(`${stem}${LATENCY_ENDING}`) : []
  writeFileSync(picture, svgOf(name, records, aboutOf(`${stem}.machine.json`), latencies))
  console.log(plainTable(columns, records.map((record) => columns.map((column) => valueOf(record[column]!)))))
  console.log(picture)
  openInBrowser(picture)
}

/** What a picture that is passed on has to say of its run; nothing where the CSV came alone. */
function aboutOf (file: string): string {
  if (!existsSync(file)) return ''
  const facts = JSON.parse(readFileSync(file, 'utf8')) as Readonly<Record<string, string>>
  return ['haulout', 'processor', 'kernel', 'duration', 'entries', 'backend'].filter((name) => facts[name] !== undefined).map((name) => `${name} ${facts[name]!}`).join('; ')
}

function recordsOf (file: string): Record<string, string>[] {
  try {
    return fromCsv(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new Error(`${file} is no CSV file of a benchmark: ${(error as Error).message}`)
  }
}

/** Numbers are shown as the command that measured them shows them. */
function valueOf (text: string): string | number {
  return text === '' || Number.isNaN(Number(text)) ? text : Number(text)
}

/** Names end in the time, so the last one is the newest. */
function newest (name: string): string | undefined {
  const { out } = command.opts<{ readonly out: string }>()
  const names = existing(out).filter((file) => file.startsWith(`${name}_benchmark_`) && file.endsWith('.csv') && !file.endsWith(LATENCY_ENDING)).sort()
  return names.length === 0 ? undefined : path.join(out, names.at(-1)!)
}

function existing (folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}
