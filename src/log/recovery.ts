/** Opens a log's folder: which segments there are, where the log starts and ends, and what a crash left (docs/storage.md, "Recovery"). */
import { existsSync } from 'node:fs'
import { open, readdir, rename, unlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { crc32c } from '../crc32c.js'
import { fileError, isFull, isMissing, readIfThere, replaceFile, syncFolder } from './folder.js'
import { checkCodec } from './compressed-segment.js'
import type { EntryLayout } from './log.js'
import { openSegment } from './segment-file.js'
import { SegmentIndex } from './segment-index.js'
import { COMPRESSIONS, corrupt, indexName, reusedName, segmentName, segmentsAmong, storedName, type SegmentNames } from './segment-names.js'
import { judge, SegmentScan, type TailNotes } from './segment-scan.js'
import { Turns } from './turns.js'

export interface RecoveredLog {
  readonly folderExists: boolean
  readonly startOffset: number
  /** In order; only the last one may be unsealed. */
  readonly segments: SegmentIndex[]
}

const START_OFFSET_NAME = 'start-offset'
const UNFLUSHED_NAME = 'unflushed'
/** Of segments of one log, at open. */
const SCANS_MAX = 4

const checksumOf = (text: string): string => crc32c(Buffer.from(text, 'latin1')).toString(16).padStart(8, '0')

function startOffsetLine (offset: number): string {
  const text = `haulout-start-offset 1 ${offset}`
  return `${text} ${checksumOf(text)}\n`
}

export async function writeStartOffset (folder: string, offset: number): Promise<void> {
  await replaceFile(folder, START_OFFSET_NAME, startOffsetLine(offset))
}

/**
 * Makes `offset` the log's start, durably. `doomed` are the segments that end at or below it, oldest first. On a full disk, which is
 * when space must be made, what needs no new block is tried first. Rejects with `LogError` 'full' when nothing was changed.
 */
export async function moveStart (folder: string, offset: number, doomed: readonly SegmentIndex[], isEverySegmentDoomed: boolean): Promise<void> {
  try {
    return await writeStartOffset(folder, offset)
  } catch (error) {
    if (!isFull(error)) throw error
    await unlink(path.join(folder, `${START_OFFSET_NAME}~`)).catch(() => {})
    if (await readStartOffset(folder) !== undefined) return await overwriteStartOffset(folder, offset)
    // Without that file the log starts with its first segment, so the old ones may go first; but one must stay, or nothing would say
    // where the log goes on. Each is gone for good before the next one goes: after a power cut none is missing behind another.
    const first = isEverySegmentDoomed ? doomed.slice(0, -1) : doomed
    if (first.length === 0) throw fileError(`move the start of the log in ${folder}`, error)
    for (const { baseOffset } of first) {
      await deleteSegment(folder, baseOffset)
      await syncFolder(folder)
    }
    await writeStartOffset(folder, offset)
  }
}

/** In place: the line is shorter than a sector, and never gets shorter. */
async function overwriteStartOffset (folder: string, offset: number): Promise<void> {
  const file = await open(path.join(folder, START_OFFSET_NAME), 'r+')
  try {
    await file.write(Buffer.from(startOffsetLine(offset)), 0, undefined, 0)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** What was read may be what somebody wrote who was killed before it was synced: a start that somebody saw never moves back. */
async function syncStartOffset (folder: string): Promise<void> {
  const file = await open(path.join(folder, START_OFFSET_NAME), 'r+').catch((error: unknown) => {
    if (isMissing(error)) return undefined
    throw error
  })
  if (file === undefined) return
  try {
    await file.sync()
  } finally {
    await file.close()
  }
  await syncFolder(folder)
}

/**
 * Says in the folder whether what is appended from now on may be acknowledged before it is on stable storage: recovery judges by it. All
 * that was written before is on stable storage; the caller syncs the folder before it writes.
 */
export async function noteFlushPolicy (folder: string, isDurable: boolean): Promise<void> {
  const file = path.join(folder, UNFLUSHED_NAME)
  if (!isDurable) {
    await writeFile(file, '').catch((error: unknown) => {
      // On a full disk it goes without: a torn tail may be taken for damage then, and is kept.
      if (!isFull(error)) throw error
    })
    return
  }
  await unlink(file).catch((error: unknown) => {
    if (!isMissing(error)) throw error
  })
}

export const tailNotes = (folder: string, baseOffset: number): TailNotes =>
  ({ unflushed: existsSync(path.join(folder, UNFLUSHED_NAME)), reused: existsSync(path.join(folder, reusedName(baseOffset))) })

/** Undefined where there is none: the log starts with its first segment. */
export async function readStartOffset (folder: string): Promise<number | undefined> {
  const file = path.join(folder, START_OFFSET_NAME)
  const content = await readIfThere(file)
  if (content === null) return undefined
  const [, text, offset, checksum] = /^(haulout-start-offset 1 (\d{1,16})) ([0-9a-f]{8})\n?$/.exec(content.toString('latin1')) ?? []
  if (text === undefined || checksumOf(text) !== checksum) throw corrupt(file, 0, 'it does not hold a start offset')
  return Number(offset)
}

/** Durably: the segment's entries, no byte after them, and the index that makes it sealed. */
export async function sealSegment (folder: string, index: SegmentIndex, clean: boolean): Promise<void> {
  const file = await open(path.join(folder, segmentName(index.baseOffset)), 'r+')
  try {
    if ((await file.stat()).size !== index.bytes) await file.truncate(index.bytes)
    await file.sync()
  } finally {
    await file.close()
  }
  await writeIndex(folder, index, clean)
}

async function writeIndex (folder: string, index: SegmentIndex, clean: boolean): Promise<void> {
  await replaceFile(folder, indexName(index.baseOffset), index.encode(clean ? 'clean' : 'full')).catch((error: unknown) => {
    // On a full disk it goes without: the next open makes the index again.
    if (!isFull(error)) throw error
  })
  index.sealed = true
  index.clean = clean
}

/** Index first: a segment without an index is made whole again, an index without its segment is nothing. */
export async function deleteSegment (folder: string, baseOffset: number): Promise<void> {
  for (const name of [indexName(baseOffset), ...COMPRESSIONS.map((compression) => storedName(baseOffset, compression))]) {
    await unlink(path.join(folder, name)).catch((error: unknown) => {
      if (!isMissing(error)) throw error
    })
  }
}

/** `closed`: the log was closed the last time it was used, so that what its folder shows is on stable storage. */
export async function recoverLog (folder: string, layout: EntryLayout, closed: boolean): Promise<RecoveredLog> {
  try {
    if (!closed) await syncStartOffset(folder)
    const names = await readdir(folder).catch((error: unknown) => {
      if (isMissing(error)) return null
      throw error
    })
    if (names === null) return { folderExists: false, startOffset: 0, segments: [] }
    const found = segmentsAmong(names)
    for (const name of [...found.unfinished, ...found.besides]) await unlink(path.join(folder, name))
    const start = await readStartOffset(folder)
    const segments = await recoverSegments(folder, layout, found, start ?? 0)
    const startOffset = start ?? segments[0]?.baseOffset ?? 0
    await deleteBelow(folder, segments, startOffset)
    checkOrder(folder, segments, startOffset)
    // Whatever stood behind entries is cut off.
    for (const name of found.reused) await unlink(path.join(folder, name)).catch(() => {})
    return { folderExists: true, startOffset, segments }
  } catch (error) {
    throw fileError(`open the log in ${folder}`, error)
  }
}

async function recoverSegments (folder: string, layout: EntryLayout, { baseOffsets, compressions }: SegmentNames, startOffset: number): Promise<SegmentIndex[]> {
  const segments: SegmentIndex[] = []
  const left = [...baseOffsets]
  while (left.length > 0 && segments.length === 0) {
    const baseOffset = left.pop()!
    // What is compressed was sealed, whatever its index says.
    const isPlain = compressions.get(baseOffset) === 'none'
    const last = isPlain ? await lastSegment(folder, layout, baseOffset) : await fullSegment(folder, layout, baseOffset)
    if (last !== undefined) segments.push(last)
  }
  const endOffsets = [...left.slice(1), segments[0]?.baseOffset ?? 0]
  // On their way out when the process ended.
  const below = left.filter((_, at) => endOffsets[at]! <= startOffset)
  const turns = new Turns(SCANS_MAX)
  const full = await Promise.allSettled(left.slice(below.length).map(async (baseOffset, at) =>
    await turns.take(async () => await fullSegment(folder, layout, baseOffset, endOffsets[below.length + at]))))
  // The youngest damage is the one that is told.
  for (const found of full.reverse()) {
    if (found.status === 'rejected') throw found.reason
    segments.unshift(found.value)
  }
  for (const baseOffset of below.reverse()) await deleteSegment(folder, baseOffset)
  return segments
}

async function readIndex (folder: string, baseOffset: number, segmentBytes: number): Promise<SegmentIndex | undefined> {
  const content = await readIfThere(path.join(folder, indexName(baseOffset)))
  return content === null ? undefined : SegmentIndex.decode(content, baseOffset, segmentBytes)
}

/** Where the scan of a segment begins: at its recovery point, if it has one that fits, and otherwise at its first entry. */
export async function beginOfScan (folder: string, baseOffset: number, scan: SegmentScan): Promise<SegmentIndex> {
  const content = await readIfThere(path.join(folder, indexName(baseOffset)))
  const point = content === null ? undefined : SegmentIndex.decode(content, baseOffset, scan.fileBytes, true)
  return point !== undefined && await scan.confirms(point) ? point : new SegmentIndex(baseOffset)
}

/**
 * Writes down what `index` knows of the first bytes of an unsealed segment, which are on stable storage. False when that failed. The
 * folder is not synced: a point that is lost, or torn, is none.
 */
export async function writeRecoveryPoint (folder: string, baseOffset: number, content: Buffer): Promise<boolean> {
  const name = path.join(folder, indexName(baseOffset))
  try {
    const file = await open(`${name}~`, 'w')
    try {
      await file.writeFile(content)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(`${name}~`, name)
    return true
  } catch {
    await unlink(`${name}~`).catch(() => {})
    return false
  }
}

/** The segment that a crash may have cut off; undefined when its file holds no entry and is gone now. */
async function lastSegment (folder: string, layout: EntryLayout, baseOffset: number): Promise<SegmentIndex | undefined> {
  const name = path.join(folder, segmentName(baseOffset))
  const file = await open(name, 'r+')
  try {
    const { size } = await file.stat()
    const known = await readIndex(folder, baseOffset, size)
    if (known !== undefined) return known
    const scan = new SegmentScan(file, layout, size, tailNotes(folder, baseOffset))
    const index = await beginOfScan(folder, baseOffset, scan)
    await scan.takeEntries(index)
    const aftermath = await scan.lookAfter(index)
    if (judge(aftermath) === 'corrupt') {
      throw corrupt(name, aftermath.position, aftermath.laterEntryFirst === undefined
        ? `acknowledged entries up to position ${aftermath.markEnd} are missing`
        : `valid entries follow, from position ${aftermath.laterEntryFirst} on`)
    }
    // An index that did not count must not begin to count when the file has its size by chance.
    if (index.coveredBytes === 0) {
      await unlink(path.join(folder, indexName(baseOffset))).then(async () => await syncFolder(folder), () => {})
    }
    if (index.bytes > 0) {
      // After a write or a flush that failed, the page cache shows what is not on disk, as if it were: written once more, it is.
      await scan.writeAgain(file, index.coveredBytes, index.bytes)
      if (size !== index.bytes) await file.truncate(index.bytes)
      await file.sync()
      return index
    }
  } finally {
    await file.close()
  }
  await deleteSegment(folder, baseOffset)
  await syncFolder(folder)
  return undefined
}

/** Without `endOffset` it is the last one, and its entries must fill it. */
async function fullSegment (folder: string, layout: EntryLayout, baseOffset: number, endOffset?: number): Promise<SegmentIndex> {
  const file = await openSegment(folder, baseOffset)
  const { compression, storedBytes, bytes } = file
  try {
    if (compression !== 'none') checkCodec(compression)
    const known = await readIndex(folder, baseOffset, bytes)
    if (known !== undefined) return Object.assign(known, { compression, compressedBytes: storedBytes, clean: known.clean && compression === 'none' })
    const scan = new SegmentScan(file, layout, bytes)
    const index = await beginOfScan(folder, baseOffset, scan)
    await scan.takeEntries(index)
    if (endOffset !== undefined && index.endOffset !== endOffset) {
      throw corrupt(file.path, index.bytes, `its entries end at offset ${index.endOffset} and not at ${endOffset}, where the next segment begins`)
    }
    if (compression !== 'none' && index.bytes !== bytes) throw corrupt(file.path, index.bytes, `no valid entry begins there, in the plain bytes, of which there are ${bytes}`)
    Object.assign(index, { compression, compressedBytes: storedBytes })
    if (compression === 'none') await sealSegment(folder, index, false)
    else await writeIndex(folder, index, false)
    return index
  } finally {
    await file.close()
  }
}

async function deleteBelow (folder: string, segments: SegmentIndex[], startOffset: number): Promise<void> {
  if (segments.length === 0 || segments[0]!.endOffset > startOffset) return
  while (segments.length > 0 && segments[0]!.endOffset <= startOffset) await deleteSegment(folder, segments.shift()!.baseOffset)
  await syncFolder(folder)
}

function checkOrder (folder: string, segments: readonly SegmentIndex[], startOffset: number): void {
  let expected = startOffset
  segments.forEach(({ baseOffset, endOffset }, index) => {
    if (index === 0 ? baseOffset > expected : baseOffset !== expected) {
      throw corrupt(path.join(folder, segmentName(baseOffset)), 0, `the entries from offset ${expected} on, which should come before it, are missing`)
    }
    expected = endOffset
  })
}
