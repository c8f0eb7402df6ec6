/** One segment by itself: its entries, read through the log, and its file, verified from the first byte to the last entry. */
import path from 'node:path'
import { fileError, isMissing, readIfThere } from './folder.js'
import { LogError, type EntryLayout, type Log, type LogRead, type SegmentDamage, type SegmentInfo, type SegmentVerification } from './log.js'
import { CompressedDamage } from './compressed-segment.js'
import { openSegment } from './segment-file.js'
import { SegmentIndex } from './segment-index.js'
import { indexName, segmentName } from './segment-names.js'
import { SegmentScan } from './segment-scan.js'

const READ_BYTES_MAX = 1024 * 1024

export function segmentAt (log: Pick<Log, 'name' | 'segments'>, baseOffset: number): SegmentInfo {
  const found = log.segments().find((segment) => segment.baseOffset === baseOffset)
  if (found === undefined) throw new LogError('out-of-range', `no segment of ${log.name} begins at offset ${baseOffset}`)
  return found
}

export async function * readSegmentOf (log: Log, baseOffset: number, bytesMax = READ_BYTES_MAX): AsyncGenerator<LogRead> {
  const { endOffset } = segmentAt(log, baseOffset)
  for (let offset = Math.max(baseOffset, log.startOffset); offset < endOffset;) {
    const read = await log.read(offset, { bytesMax, atLeastOneEntry: true, endOffset })
    if (read.bytes === 0) return
    yield read
    offset = read.nextOffset
  }
}

/** Of a log in a folder. What was appended before is in the file when it is looked at. */
export async function verifySegmentOf (log: Log, folder: string, layout: EntryLayout, baseOffset: number): Promise<SegmentVerification> {
  await log.flush()
  const segment = segmentAt(log, baseOffset)
  // Entries that came after the flush may be in it.
  await log.flush()
  const verification = await verifySegmentFile(folder, layout, segment)
  if (verification.damage !== null && !log.segments().some((each) => each.baseOffset === baseOffset)) {
    throw new LogError('out-of-range', `the segment of ${log.name} that begins at offset ${baseOffset} was deleted meanwhile`)
  }
  return verification
}

async function verifySegmentFile (folder: string, layout: EntryLayout, segment: SegmentInfo): Promise<SegmentVerification> {
  const { baseOffset, bytes, endOffset, sealed } = segment
  let name = path.join(folder, segmentName(baseOffset))
  let block: SegmentDamage | undefined
  const seen = new SegmentIndex(baseOffset)
  const result = (checksum: SegmentVerification['checksum'], what?: string, position = seen.bytes, file = name): SegmentVerification =>
    ({ baseOffset, endOffset: seen.endOffset, entryCount: seen.entryCount, bytes: seen.bytes, checksum, damage: block ?? (what === undefined ? null : { file, position, what }) })
  try {
    // Before the size of the file: an index that makes the segment sealed was written after that was cut.
    const indexFile = path.join(folder, indexName(baseOffset))
    const index = await readIfThere(indexFile)
    const file = await openSegment(folder, baseOffset, { onDamage: ({ position, what }) => { block ??= { file: file.path, position, what } } })
    try {
      const size = file.bytes
      name = file.path
      await takeEntries(new SegmentScan(file, layout, size), layout, seen, bytes)
      if (seen.bytes !== bytes) return result('none', `the entry there is not valid; the segment should have ${bytes} bytes of entries up to offset ${endOffset}`)
      if (seen.endOffset !== endOffset) return result('none', `the entries end at offset ${seen.endOffset} and not at ${endOffset}`)
      if (index === null) return result('none')
      const known = SegmentIndex.decode(index, baseOffset, size)
      if (known === undefined) {
        const isPoint = SegmentIndex.decode(index, baseOffset, size, true) !== undefined
        return sealed && !isPoint ? result('none', 'the index does not count: its checksums, its offset or its size do not fit the segment', 0, indexFile) : result('none')
      }
      if (known.checksum === undefined || known.bytes !== bytes) return result('none')
      if (known.checksum === seen.checksum) return result('right')
      return result('wrong', 'every entry is valid by its own checksum, but the checksum of the whole segment is wrong: bytes that no entry\'s checksum covers were changed', 0)
    } finally {
      await file.close()
    }
  } catch (error) {
    if (isMissing(error)) return result('none', 'the file is missing', 0)
    if (error instanceof CompressedDamage) return result('none', error.what, error.position, error.file)
    throw fileError(`verify ${name}`, error)
  }
}

/** Valid entries that follow each other, up to position `to`. */
async function takeEntries (scan: SegmentScan, layout: EntryLayout, seen: SegmentIndex, to: number): Promise<void> {
  while (seen.bytes < to) {
    const entry = await scan.entryAt(seen.bytes)
    if (entry?.baseOffset !== seen.endOffset || entry.position + entry.bytes > to) return
    seen.add(layout, await scan.bytesAt(entry.position, layout.headerBytes), 0)
  }
}
