/**
 * Looks at a store's folder without changing anything in it, and without a lock: which logs, which segments, what the indexes say, and
 * what stands behind the last entry. Reads as much as an open would: what indexes say of sealed segments is believed (`verify` does not).
 */
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { loadBinding } from '../binding.js'
import { useCrc32c } from '../crc32c.js'
import { isLogName } from './entry.js'
import { isMissing, readFormat, readIfThere, userOf } from './folder.js'
import { checkCodec, type OpenCompressed } from './compressed-segment.js'
import { LogError, type EntryLayout, type SegmentCompression } from './log.js'
import { beginOfScan, readStartOffset, tailNotes } from './recovery.js'
import { SegmentIndex } from './segment-index.js'
import { indexName, segmentName, segmentsAmong, storedName, type SegmentNames } from './segment-names.js'
import { openSegment, type SegmentFile } from './segment-file.js'
import { judge, SegmentScan, type Aftermath } from './segment-scan.js'

/** An entry layout with a name that people can give. */
export interface NamedLayout {
  readonly name: string
  readonly layout: EntryLayout
  /** An entry without contents that covers so many offsets; it stands in for lost ones in what salvage writes. */
  readonly emptyEntry: (offsetCount: number) => Buffer
}

/**
 * `nothing`: the file ends with its last entry. `zeros`: reserved space. `mark`: a commit mark, and zeros. `stale`: a commit mark, and what a
 * removed segment held. `torn`: what is left of a write that was cut off, which the next open cuts. `damaged`: the next open refuses.
 */
export type TailState = 'nothing' | 'zeros' | 'mark' | 'stale' | 'torn' | 'damaged'

/** `full` and `closed`: sealed, by a roll or by a clean close. `point`: a recovery point. `torn`: there is a file, and it does not count. */
export type IndexState = 'full' | 'closed' | 'point' | 'none' | 'torn'

export interface InspectedSegment {
  readonly file: string
  readonly baseOffset: number
  readonly endOffset: number
  readonly compression: SegmentCompression
  /** Of the file. */
  readonly fileBytes: number
  /** Of its entries. */
  readonly entryBytes: number
  readonly timestampMaxMs: number
  readonly sealed: boolean
  readonly index: IndexState
  /** Of an unsealed segment: how many bytes its recovery point covers. */
  readonly recoveryPointBytes: number
  readonly tail: TailState
  readonly tailBytes: number
}

export interface InspectedLog {
  readonly name: string
  /** Undefined for a log without an entry from which to tell. */
  readonly layout: string | undefined
  readonly startOffset: number
  readonly endOffset: number
  readonly entryBytes: number
  readonly fileBytes: number
  readonly segments: readonly InspectedSegment[]
  /** What kept some of it from being looked at. */
  readonly problems: readonly string[]
}

export interface InspectedStore {
  readonly folder: string
  /** Undefined where the file is missing or damaged, which `verify` tells. */
  readonly formatVersion: number | undefined
  /** The process that uses it now: what is said of the last segments may be behind. */
  readonly usedByProcess: number | undefined
  readonly logs: readonly InspectedLog[]
}

/** Checksums of everything take long without the processor's instruction, which the addon reaches where there is one. */
export function useFastChecksums (): void {
  const loaded = loadBinding()
  if ('binding' in loaded) useCrc32c((bytes) => loaded.binding.crc32c(bytes))
}

/** Files of one log's folder, by what they are. Only looks. */
export const listLogFiles = async (folder: string): Promise<SegmentNames> => segmentsAmong(await readdir(folder))

/** Throws LogError 'denied' where a codec is missing: nothing can be said of bytes that cannot be opened, least of all that they are damaged. */
export async function checkCodecs (folder: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const lack = lackOfCodec(await listLogFiles(path.join(folder, name)))
    if (lack !== undefined) throw new LogError('denied', `log ${name}: ${lack}`)
  }
}

function lackOfCodec ({ compressions }: SegmentNames): string | undefined {
  try {
    for (const compression of new Set(compressions.values())) if (compression !== 'none') checkCodec(compression)
  } catch (error) {
    return (error as Error).message
  }
  return undefined
}

/** Names of the logs in a store's folder, or the one that was asked for. Rejects with `LogError` 'denied' for what is no store. */
export async function listLogs (folder: string, only?: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    throw new LogError('denied', isMissing(error) ? `there is no folder ${folder}` : `cannot read ${folder}: ${(error as Error).message}`)
  })
  const names = entries.filter((entry) => entry.isDirectory() && isLogName(entry.name)).map(({ name }) => name).sort()
  const hasFormat = entries.some(({ name }) => name === 'haulout.format')
  const looksLikeStore = hasFormat || (await Promise.all(names.map(async (name) => (await listLogFiles(path.join(folder, name))).baseOffsets.length > 0))).some(Boolean)
  if (!looksLikeStore) throw new LogError('denied', `${folder} is not a data folder of Haulout: there is neither haulout.format nor a log in it`)
  if (only === undefined) return names
  if (!names.includes(only)) throw new LogError('denied', `there is no log ${only} in ${folder}; there are: ${names.join(', ') || 'none'}`)
  return [only]
}

export async function inspectStore (folder: string, layouts: readonly NamedLayout[], only?: string): Promise<InspectedStore> {
  const names = await listLogs(folder, only)
  const formatVersion = await readFormat(folder).catch((error: unknown) => {
    if (error instanceof LogError && error.code === 'corrupt') return undefined
    throw error
  })
  const logs: InspectedLog[] = []
  for (const name of names) logs.push(await inspectLog(folder, name, layouts))
  return { folder, formatVersion, usedByProcess: await userOf(folder), logs }
}

async function inspectLog (folder: string, name: string, layouts: readonly NamedLayout[]): Promise<InspectedLog> {
  const inside = path.join(folder, name)
  const files = await listLogFiles(inside)
  const { baseOffsets } = files
  const problems: string[] = []
  const start = await readStartOffset(inside).catch((error: unknown) => { problems.push((error as Error).message); return undefined })
  const known = await detectLayout(inside, baseOffsets, layouts)
  if (known === undefined && baseOffsets.length > 0) problems.push(lackOfCodec(files) ?? 'no valid entry begins any of its segments')
  const segments: InspectedSegment[] = []
  for (const baseOffset of baseOffsets) {
    try {
      segments.push(await inspectSegment(inside, name, baseOffset, (known ?? layouts[0]!).layout))
    } catch (error) {
      problems.push(`${name}/${segmentName(baseOffset)}: ${(error as Error).message}`)
    }
  }
  const sum = (count: (segment: InspectedSegment) => number): number => segments.reduce((total, segment) => total + count(segment), 0)
  const startOffset = start ?? segments[0]?.baseOffset ?? 0
  return {
    name,
    layout: known?.name,
    startOffset,
    endOffset: Math.max(startOffset, segments.at(-1)?.endOffset ?? 0),
    entryBytes: sum(({ entryBytes }) => entryBytes),
    fileBytes: sum(({ fileBytes }) => fileBytes),
    segments,
    problems
  }
}

async function inspectSegment (inside: string, name: string, baseOffset: number, layout: EntryLayout): Promise<InspectedSegment> {
  return await withSegment(inside, baseOffset, async (file) => {
    const { compression, bytes: plainBytes, storedBytes } = file
    const { index: state, known } = await readIndexFile(inside, baseOffset, plainBytes)
    const common = { file: `${name}/${storedName(baseOffset, compression)}`, baseOffset, compression, fileBytes: storedBytes, index: state }
    if (known?.sealed === true) {
      const { endOffset, bytes, timestampMaxMs } = known
      return { ...common, endOffset, entryBytes: bytes, timestampMaxMs, sealed: true, recoveryPointBytes: 0, tail: 'nothing', tailBytes: 0 }
    }
    const scan = new SegmentScan(file, layout, file.bytes, tailNotes(inside, baseOffset))
    const index = await beginOfScan(inside, baseOffset, scan)
    await scan.takeEntries(index)
    const tail = await tailState(scan, await scan.lookAfter(index))
    const { endOffset, bytes, timestampMaxMs, coveredBytes } = index
    return { ...common, endOffset, entryBytes: bytes, timestampMaxMs, sealed: false, recoveryPointBytes: coveredBytes, tail, tailBytes: plainBytes - bytes }
  })
}

/** What stands behind the last entry of an unsealed segment. */
export async function tailState (scan: SegmentScan, aftermath: Aftermath): Promise<TailState> {
  const { position, markEndsHere } = aftermath
  if (judge(aftermath) === 'corrupt') return 'damaged'
  if (position === scan.fileBytes) return 'nothing'
  const zerosEnd = await scan.zerosEnd(position)
  if (zerosEnd === scan.fileBytes) return 'zeros'
  if (markEndsHere && scan.notes.reused) return 'stale'
  const markAt = Math.ceil(position / 8) * 8
  return markEndsHere && zerosEnd === markAt && await scan.zerosEnd(markAt + 32) === scan.fileBytes ? 'mark' : 'torn'
}

/**
 * Without the last segments that hold no entry: their files were made before anything was written into them, and the next open
 * deletes them. The one that is left last may be unsealed.
 */
export async function withoutEmptyTail (inside: string, baseOffsets: readonly number[], layout: EntryLayout): Promise<readonly number[]> {
  const left = [...baseOffsets]
  while (left.length > 1) {
    const baseOffset = left.at(-1)!
    const isEmpty = await withSegment(inside, baseOffset, async (file) => {
      const scan = new SegmentScan(file, layout, file.bytes, tailNotes(inside, baseOffset))
      if ((await scan.entryAt(0))?.baseOffset === baseOffset) return false
      return judge(await scan.lookAfter(new SegmentIndex(baseOffset))) === 'cut'
    }).catch(() => false)
    if (!isEmpty) break
    left.pop()
  }
  return left
}

export async function readIndexFile (inside: string, baseOffset: number, fileBytes: number): Promise<{ index: IndexState, known: SegmentIndex | undefined }> {
  const content = await readIfThere(path.join(inside, indexName(baseOffset)))
  if (content === null) return { index: 'none', known: undefined }
  const sealed = SegmentIndex.decode(content, baseOffset, fileBytes)
  if (sealed !== undefined) return { index: sealed.clean ? 'closed' : 'full', known: sealed }
  const point = SegmentIndex.decode(content, baseOffset, fileBytes, true)
  return point === undefined ? { index: 'torn', known: undefined } : { index: 'point', known: point }
}

export async function withSegment<T> (inside: string, baseOffset: number, use: (file: SegmentFile) => Promise<T>, options: OpenCompressed = {}): Promise<T> {
  const file = await openSegment(inside, baseOffset, options)
  try {
    return await use(file)
  } finally {
    await file.close()
  }
}

/** The layout under which the segments' first entries are valid; where every first entry is damaged, any entry of the first segment. */
export async function detectLayout (inside: string, baseOffsets: readonly number[], layouts: readonly NamedLayout[]): Promise<NamedLayout | undefined> {
  for (const search of [false, true]) {
    for (const baseOffset of baseOffsets) {
      const found = await withSegment(inside, baseOffset, async (file) => {
        for (const candidate of layouts) {
          const scan = new SegmentScan(file, candidate.layout, file.bytes)
          const entry = search ? await scan.nextEntry(0, baseOffset) : await scan.entryAt(0)
          if (entry !== undefined && (search || entry.baseOffset === baseOffset)) return candidate
        }
        return undefined
      }, { rescue: true }).catch(() => undefined)
      if (found !== undefined) return found
    }
  }
  return undefined
}
