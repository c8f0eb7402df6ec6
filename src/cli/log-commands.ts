/**
 * `haulout log inspect|verify|salvage`: looks at a data folder without a broker and without the native engine. Nothing in the folder is
 * ever changed. Exit code 0: as it should be; 1: the command could not be carried out; 2: it was, and `verify` found damage, or `salvage` left
 * out what cannot be read any more.
 */
import type { Finding } from '../log/findings.js'
import { userOf } from '../log/folder.js'
import { inspectStore, useFastChecksums, type InspectedLog, type InspectedSegment, type NamedLayout } from '../log/inspect.js'
import { LogError, RECORD_BATCH_LAYOUT } from '../log/log.js'
import { salvageStore, type LostRange, type SalvagedLog } from '../log/salvage.js'
import { verifyStore, type VerifiedLog } from '../log/verify.js'
import { emptyBatch } from '../protocol/empty-batch.js'
import { emptyEntry, RAW_ENTRY_LAYOUT } from '../raw/entry.js'

const EXIT_CODE_FAILED = 1
const EXIT_CODE_DAMAGE = 2

/** `--layout` in main.ts has the names. */
const LAYOUTS: readonly NamedLayout[] = [
  { name: 'record-batch', layout: RECORD_BATCH_LAYOUT, emptyEntry: emptyBatch },
  { name: 'raw', layout: RAW_ENTRY_LAYOUT, emptyEntry }
]

export interface LogArguments {
  readonly log?: string
  /** 'auto': found out from the entries. */
  readonly layout: string
  readonly json?: boolean
  readonly whileInUse?: boolean
}

export async function inspect (folder: string, given: LogArguments): Promise<void> {
  await run(async () => {
    const store = await inspectStore(folder, layoutsOf(given), given.log)
    if (given.json === true) return printJson(store)
    const { formatVersion, usedByProcess, logs } = store
    print(`${folder}: ${formatVersion === undefined ? 'format unknown (see haulout log verify)' : `format ${formatVersion}`}, ${count(logs.length, 'log')}`)
    if (usedByProcess !== undefined) print(`In use by process ${usedByProcess}: what is said of the last segments may be behind.`)
    for (const log of logs) printInspected(log)
  })
}

function printInspected (log: InspectedLog): void {
  const { name, layout, startOffset, endOffset, entryBytes, fileBytes, segments, problems } = log
  print(`\n${name}: offsets ${startOffset} to ${endOffset}, ${count(segments.length, 'segment')}, ${bytesText(entryBytes)} of entries in ${bytesText(fileBytes)} of files${layout === undefined ? '' : `, layout ${layout}`}`)
  for (const segment of segments) print(`  ${segment.file.slice(name.length + 1)}  ${segmentText(segment)}`)
  for (const problem of problems) print(`  PROBLEM: ${problem}`)
}

function segmentText ({ baseOffset, endOffset, entryBytes, compression, fileBytes, timestampMaxMs, sealed, index, recoveryPointBytes, tail, tailBytes }: InspectedSegment): string {
  const youngest = timestampMaxMs < 0 ? 'no timestamps' : `to ${timeText(timestampMaxMs)}`
  const parts = [`offsets ${baseOffset} to ${endOffset}`, bytesText(entryBytes), youngest]
  if (compression !== 'none') parts.push(`${compression} in ${bytesText(fileBytes)}`)
  if (sealed) parts.push(index === 'closed' ? 'sealed by a clean close' : 'sealed')
  else parts.push('not sealed', recoveryPointBytes > 0 ? `recovery point at ${recoveryPointBytes}` : 'no recovery point', `then ${TAIL_TEXTS[tail](tailBytes)}`)
  if (index === 'torn') parts.push('its index does not count')
  return parts.join(', ')
}

const TAIL_TEXTS: Readonly<Record<InspectedSegment['tail'], (bytes: number) => string>> = {
  nothing: () => 'the end of the file',
  zeros: (bytes) => `${bytes} bytes of zeros (reserved)`,
  mark: (bytes) => `a commit mark, ${bytes} bytes with the zeros behind it`,
  stale: (bytes) => `a commit mark, ${bytes} bytes with what a removed segment held behind it`,
  torn: (bytes) => `${bytes} bytes of a write that was cut off`,
  damaged: (bytes) => `DAMAGE: ${bytes} bytes (see haulout log verify)`
}

export async function verify (folder: string, given: LogArguments): Promise<void> {
  await run(async () => {
    const usedByProcess = await refuseUsed(folder, given, 'verify')
    const store = await verifyStore(folder, { layouts: layoutsOf(given), ...(given.log !== undefined && { log: given.log }), inUse: usedByProcess !== undefined })
    if (store.damageCount > 0) process.exitCode = EXIT_CODE_DAMAGE
    if (given.json === true) return printJson({ ...store, usedByProcess })
    if (usedByProcess !== undefined) print(`In use by process ${usedByProcess}: what is being written now is passed over.`)
    for (const found of store.findings) printFinding(found)
    for (const log of store.logs) printVerified(log)
    print(store.damageCount === 0 ? 'No damage.' : `${count(store.damageCount, 'damage', 'damages')} found.`)
  })
}

function printVerified ({ name, startOffset, endOffset, segmentCount, entryCount, entryBytes, findings }: VerifiedLog): void {
  print(`${name}: ${count(entryCount, 'valid entry', 'valid entries')} in ${count(segmentCount, 'segment')}, ${bytesText(entryBytes)}, offsets ${startOffset} to ${endOffset}`)
  for (const found of findings) printFinding(found)
}

function printFinding ({ severity, file, position, what, meaning, advice }: Finding): void {
  print(`  ${severity === 'damage' ? 'DAMAGE' : 'note'}: ${file}${position === undefined ? '' : ` at position ${position}`}: ${what}`)
  print(`    It means: ${meaning}.`)
  print(`    To do: ${advice}.`)
}

export async function salvage (folder: string, given: LogArguments & { readonly to: string }): Promise<void> {
  await run(async () => {
    await refuseUsed(folder, given, 'salvage')
    const logs = await salvageStore(folder, given.to, { layouts: layoutsOf(given), ...(given.log !== undefined && { log: given.log }) })
    const lostCount = logs.reduce((sum, { lost }) => sum + lost.length, 0)
    if (lostCount > 0) process.exitCode = EXIT_CODE_DAMAGE
    if (given.json === true) return printJson({ folder, to: given.to, logs })
    for (const log of logs) printSalvaged(log)
    print(lostCount === 0 ? `Everything was copied to ${given.to}.` : `Everything else was copied to ${given.to}. ${folder} is as it was.`)
  })
}

function printSalvaged ({ name, startOffset, endOffset, entryCount, entryBytes, lost }: SalvagedLog): void {
  print(`${name}: ${count(entryCount, 'entry', 'entries')}, ${bytesText(entryBytes)}, offsets ${startOffset} to ${endOffset}`)
  for (const range of lost) print(`  LOST: ${lostText(range)}`)
}

function lostText ({ fromOffset, toOffset, file, position, bytes }: LostRange): string {
  const offsets = toOffset === undefined ? `offset ${fromOffset} and what followed it` : toOffset - fromOffset === 1 ? `offset ${fromOffset}` : `offsets ${fromOffset} to ${toOffset - 1} (${toOffset - fromOffset})`
  return bytes === 0 ? `${offsets}: nothing is left of them before ${file}` : `${offsets}: ${bytes} bytes of ${file} at position ${position}`
}

/** Verifying and salvaging what changes meanwhile says little; who wants it says so. */
async function refuseUsed (folder: string, { whileInUse }: LogArguments, command: string): Promise<number | undefined> {
  const pid = await userOf(folder)
  if (pid === undefined || whileInUse === true) return pid
  throw new LogError('locked', `folder ${folder} is in use by process ${pid}.\nStop it first, or ${command} it as it is now with --while-in-use`)
}

function layoutsOf ({ layout }: LogArguments): readonly NamedLayout[] {
  return layout === 'auto' ? LAYOUTS : LAYOUTS.filter(({ name }) => name === layout)
}

async function run (command: () => Promise<void>): Promise<void> {
  useFastChecksums()
  try {
    await command()
  } catch (error) {
    process.stderr.write(`haulout: ${error instanceof LogError ? error.message : error instanceof Error ? error.stack : String(error)}\n`)
    process.exitCode = EXIT_CODE_FAILED
  }
}

function print (line: string): void {
  process.stdout.write(`${line}\n`)
}

function printJson (value: unknown): void {
  print(JSON.stringify(value, null, 2))
}

function count (number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`
}

function bytesText (bytes: number): string {
  for (const [unit, size] of [['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]] as const) if (bytes >= size) return `${(bytes / size).toFixed(1)} ${unit}`
  return `${bytes} bytes`
}

/** Timestamps come from clients: some are no date. */
function timeText (timestampMs: number): string {
  const date = new Date(timestampMs)
  return Number.isNaN(date.getTime()) ? `timestamp ${timestampMs}` : date.toISOString()
}
