/** Opens a log's folder: which segments there are, where the log starts and ends, and what a crash left (docs/storage.md, "Recovery"). */
import { open, readdir, rename, unlink } from 'node:fs/promises'
import path from 'node:path'
import { crc32c } from '../crc32c.js'
import { fileError, isFull, isMissing, readIfThere, replaceFile, syncFolder } from './folder.js'
import { checkCodec } from './compressed-segment.js'
import type { EntryLayout } from './log.js'
import { openSegment } from './segment-file.js'
import { SegmentIndex } from './segment-index.js'
import { COMPRESSIONS, corrupt, indexName, segmentName, segmentsAmong, storedName, type SegmentNames } from './segment-names.js'
import { judge, SegmentScan } from './segment-scan.js'

export interface RecoveredLog {
  readonly folderExists: boolean
  readonly startOffset: number
  /** In order; only the last one may be unsealed. */
  readonly segments: SegmentIndex[]
}

const START_OFFSET_NAME = 'start-offset'

const checksumOf = (text: string): string => crc32c(Buffer.from(text, 'latin1')).toString(16).padStart(8, '0')

export async function writeStartOffset (folder: string, offset: number): Promise<void> {
  const text = `haulout-start-offset 1 ${offset}`
  await replaceFile(folder, START_OFFSET_NAME, `${text} ${checksumOf(text)}\n`)
}

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

export async function recoverLog (folder: string, layout: EntryLayout): Promise<RecoveredLog> {
  try {
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
  for (const baseOffset of left.reverse()) {
    const next = segments[0]!
    if (next.baseOffset <= startOffset) await deleteSegment(folder, baseOffset) // on its way out when the process ended
    else segments.unshift(await fullSegment(folder, layout, baseOffset, next.baseOffset))
  }
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
    const scan = new SegmentScan(file, layout, size)
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
