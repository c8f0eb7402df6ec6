/**
 * Reads an unsealed segment after a crash: takes in the entries that are valid, looks at what follows them, and judges whether that is
 * what a cut-off write leaves or damage to what was acknowledged (docs/storage.md, "Recovery").
 */
import type { FileHandle } from 'node:fs/promises'
import { crc32c } from '../crc32c.js'
import { entryBaseOffset, entryBytes, entryOffsetCount, entryTimestampMaxMs } from './entry.js'
import type { EntryLayout } from './log.js'
import type { PlainBytes } from './segment-file.js'
import type { SegmentIndex } from './segment-index.js'
import type { EntryPlace } from './segment-reader.js'

const WINDOW_BYTES = 1024 * 1024
const SECTOR_BYTES = 512
/** A writer has at most so much of a log under way, unless one entry alone is larger. */
export const WRITE_BYTES_MAX = 8 * 1024 * 1024
/**
 * In the file of a removed segment, which may be long, the search ends where nothing of this one was found for so long: no entry in it is
 * larger than a write, nor is what a crash cuts off.
 */
const REUSED_REACH_BYTES = 2 * WRITE_BYTES_MAX
const MARK_MAGIC = Buffer.from('HAULMARK', 'latin1')
const MARK_BYTES = 32
const MARK_ALIGNMENT = 8

/** What stands in a log's folder about the tail of a segment. */
export interface TailNotes {
  /** Whoever wrote it did not wait for stable storage before the next write: more than one write may be torn. */
  readonly unflushed: boolean
  /** It grows in the file of a removed segment, whose entries may stand behind its own. */
  readonly reused: boolean
}
const NO_NOTES: TailNotes = { unflushed: false, reused: false }

/** What follows the last valid entry, at `position`. */
export interface Aftermath {
  readonly position: number
  readonly unflushed: boolean
  /** A commit mark says that the last write ended exactly here. */
  readonly markEndsHere: boolean
  /** Where the write began that the last commit mark is of. */
  readonly markBegin: number | undefined
  readonly markEnd: number | undefined
  readonly laterEntryFirst: number | undefined
  readonly laterEntryLast: number | undefined
  /** A sector before the first later entry was never written. Where old entries may stand, nobody can tell, and it is taken for one. */
  readonly unwrittenSector: boolean
}

export function judge (aftermath: Aftermath): 'cut' | 'corrupt' {
  const { position, unflushed, markEndsHere, markBegin, laterEntryFirst, laterEntryLast, unwrittenSector } = aftermath
  if (markEndsHere) return 'cut'
  if (markBegin !== undefined && markBegin > position) return 'corrupt'
  if (laterEntryFirst === undefined) return 'cut'
  if (markBegin === undefined && !unflushed && laterEntryLast! >= position + WRITE_BYTES_MAX) return 'corrupt'
  return unwrittenSector ? 'cut' : 'corrupt'
}

export class SegmentScan {
  private window: Buffer = Buffer.alloc(0)
  private windowAt = 0

  constructor (private readonly file: PlainBytes, private readonly layout: EntryLayout, readonly fileBytes: number, readonly notes: TailNotes = NO_NOTES) {}

  /** Adds entries to `index` for as long as they are valid and follow each other. */
  async takeEntries (index: SegmentIndex): Promise<void> {
    while (await this.isValid(index.bytes)) {
      const header = await this.view(index.bytes, this.layout.headerBytes)
      if (entryBaseOffset(this.layout, header, 0) !== index.endOffset) return
      index.add(this.layout, header, 0)
    }
  }

  /** Whether a recovery point fits what the file holds: the entries from its last sample on are valid and end where it ends. */
  async confirms (point: SegmentIndex): Promise<boolean> {
    let position = point.positions.at(-1)!
    let offset = point.offsets.at(-1)!
    if (position < 0 || position >= point.bytes) return false
    while (position < point.bytes) {
      if (!(await this.isValid(position))) return false
      const header = await this.view(position, this.layout.headerBytes)
      if (entryBaseOffset(this.layout, header, 0) !== offset) return false
      position += entryBytes(this.layout, header, 0)
      offset += entryOffsetCount(this.layout, header, 0)
    }
    if (position !== point.bytes || offset !== point.endOffset) return false
    // A smaller one is of what a removed segment held.
    return !(await this.isValid(position)) || entryBaseOffset(this.layout, await this.view(position, this.layout.headerBytes), 0) <= offset
  }

  async lookAfter (index: SegmentIndex): Promise<Aftermath> {
    const position = index.bytes
    const { unflushed, reused } = this.notes
    const later = await this.findEntries(position + 1, index.endOffset + 1, reused ? REUSED_REACH_BYTES : Infinity)
    const marks = await this.findMarks(position, later.searchedTo)
    const unwrittenSector = later.first !== undefined &&
      (reused || await this.hasUnwrittenSector(position, Math.max(later.first, await this.claimedEnd(index, marks.markEnd))))
    return { position, unflushed, ...marks, laterEntryFirst: later.first, laterEntryLast: later.last, unwrittenSector }
  }

  /** Writes these bytes of the file once more. */
  async writeAgain (file: FileHandle, from: number, to: number): Promise<void> {
    for (let position = from; position < to;) {
      const bytes = (await this.run(position, 1)).subarray(0, to - position)
      const { bytesWritten } = await file.write(bytes, 0, bytes.length, position)
      position += bytesWritten
    }
  }

  /** The entry that begins at `position`; undefined when what stands there is not a valid one. */
  async entryAt (position: number): Promise<EntryPlace | undefined> {
    if (!(await this.isValid(position))) return undefined
    const header = await this.view(position, this.layout.headerBytes)
    const baseOffset = entryBaseOffset(this.layout, header, 0)
    const endOffset = baseOffset + entryOffsetCount(this.layout, header, 0)
    return { position, bytes: entryBytes(this.layout, header, 0), baseOffset, endOffset, timestampMaxMs: entryTimestampMaxMs(this.layout, header, 0) }
  }

  /** The first valid entry at or after `from`, at any position: found by the byte that every entry has, so that zeros are passed over fast. */
  async nextEntry (from: number, baseOffsetMin: number, to = this.fileBytes): Promise<EntryPlace | undefined> {
    const { layout } = this
    let position = from
    while (position + layout.headerBytes <= to) {
      const bytes = (await this.run(position, layout.headerBytes)).subarray(0, to - position)
      const run = bytes.length - layout.headerBytes + 1
      const at = bytes.subarray(0, run + layout.magicAt).indexOf(layout.magic, layout.magicAt) - layout.magicAt
      if (at < 0) {
        position += run
        continue
      }
      position += at
      const entry = entryBaseOffset(layout, bytes, at) < baseOffsetMin ? undefined : await this.entryAt(position)
      if (entry !== undefined) return entry
      position++
    }
    return undefined
  }

  /** Bytes of the file from `position` on. Valid until the next call. */
  async bytesAt (position: number, bytes: number): Promise<Buffer> {
    return await this.view(position, bytes)
  }

  /** Where the first byte stands that is not zero, at or after `from`; the end of the file when there is none. */
  async zerosEnd (from: number): Promise<number> {
    for (let position = from; position < this.fileBytes;) {
      const bytes = await this.run(position, 1)
      const at = bytes.findIndex((byte) => byte !== 0)
      if (at !== -1) return position + at
      position += bytes.length
    }
    return this.fileBytes
  }

  private async isValid (position: number): Promise<boolean> {
    const { layout } = this
    if (this.fileBytes - position < layout.headerBytes) return false
    const header = await this.view(position, layout.headerBytes)
    const bytes = entryBytes(layout, header, 0)
    if (header[layout.magicAt] !== layout.magic || entryOffsetCount(layout, header, 0) < 1 || entryBaseOffset(layout, header, 0) < 0) return false
    if (bytes < layout.headerBytes || bytes > this.fileBytes - position) return false
    const entry = await this.view(position, bytes)
    return crc32c(entry.subarray(layout.checksumFrom)) === entry.readUInt32BE(layout.checksumAt)
  }

  /** Bytes of the file, from the window where they lie in it. What is returned is valid until the next call. */
  private async view (position: number, bytes: number): Promise<Buffer> {
    if (position < this.windowAt || position + bytes > this.windowAt + this.window.length) {
      const window = Buffer.allocUnsafeSlow(Math.min(Math.max(bytes, WINDOW_BYTES), this.fileBytes - position))
      for (let at = 0; at < window.length;) {
        const { bytesRead } = await this.file.read(window, at, window.length - at, position + at)
        if (bytesRead === 0) throw new Error(`the file became shorter than ${this.fileBytes} bytes`)
        at += bytesRead
      }
      this.window = window
      this.windowAt = position
    }
    return this.window.subarray(position - this.windowAt, position - this.windowAt + bytes)
  }

  /** At least `bytesMin` bytes, and whatever else the window has. */
  private async run (position: number, bytesMin: number): Promise<Buffer> {
    await this.view(position, bytesMin)
    return this.window.subarray(position - this.windowAt)
  }

  /**
   * What looks like a later entry may be the payload of the one at the index's end. Its own length says how far it should reach, and
   * is believed if something stands there that goes with it. 0 where nothing is believed.
   */
  private async claimedEnd (index: SegmentIndex, markEnd: number | undefined): Promise<number> {
    const { layout, fileBytes } = this
    if (fileBytes - index.bytes < layout.headerBytes) return 0
    const header = await this.view(index.bytes, layout.headerBytes)
    const bytes = entryBytes(layout, header, 0)
    const plausible = header[layout.magicAt] === layout.magic && entryBaseOffset(layout, header, 0) === index.endOffset && bytes > 0 && bytes <= fileBytes - index.bytes
    if (!plausible) return 0
    const end = index.bytes + bytes
    const endOffset = index.endOffset + entryOffsetCount(layout, header, 0)
    return markEnd === end || (await this.entryAt(end))?.baseOffset === endOffset ? end : 0
  }

  private async findMarks (from: number, to: number): Promise<Pick<Aftermath, 'markEndsHere' | 'markBegin' | 'markEnd'>> {
    let markEndsHere = false
    let markBegin: number | undefined
    let markEnd: number | undefined
    let position = Math.ceil(from / MARK_ALIGNMENT) * MARK_ALIGNMENT
    while (position + MARK_BYTES <= to) {
      const bytes = await this.run(position, MARK_BYTES)
      for (let at = bytes.indexOf(MARK_MAGIC); at !== -1 && at + MARK_BYTES <= bytes.length; at = bytes.indexOf(MARK_MAGIC, at + 1)) {
        const mark = markAt(bytes, at, position + at)
        if (mark === undefined) continue
        markBegin = mark.begin
        markEnd = mark.end
        markEndsHere ||= markEnd === from
      }
      // The end of this piece is looked at again with the next one: a mark may begin in it.
      position += bytes.length - MARK_BYTES + MARK_ALIGNMENT
      position -= position % MARK_ALIGNMENT
    }
    return { markEndsHere, markBegin, markEnd }
  }

  /** Ends where none was found for `reachBytes`. */
  private async findEntries (from: number, baseOffsetMin: number, reachBytes: number): Promise<{ first: number | undefined, last: number | undefined, searchedTo: number }> {
    let first: number | undefined
    let last: number | undefined
    let searchedTo = Math.min(this.fileBytes, from + reachBytes)
    for (let entry = await this.nextEntry(from, baseOffsetMin, searchedTo); entry !== undefined; entry = await this.nextEntry(last! + entry.bytes, baseOffsetMin, searchedTo)) {
      first ??= entry.position
      last = entry.position
      searchedTo = Math.min(this.fileBytes, last + entry.bytes + reachBytes)
    }
    return { first, last, searchedTo }
  }

  private async hasUnwrittenSector (from: number, to: number): Promise<boolean> {
    const firstEnd = Math.min(Math.ceil(from / SECTOR_BYTES) * SECTOR_BYTES, this.fileBytes)
    if (firstEnd > from && isOld(await this.view(from, firstEnd - from), from, from)) return true
    // The last of these sectors may hold the first bytes of what comes next: those of a small base offset are zeros, too.
    for (let sector = firstEnd; sector < to; sector += SECTOR_BYTES) {
      if (isOld(await this.view(sector, Math.min(SECTOR_BYTES, this.fileBytes - sector)), sector, from)) return true
    }
    return false
  }
}

/** The commit mark at `at` of `bytes`, which is `position` of the file, if one stands there. */
function markAt (bytes: Buffer, at: number, position: number): { begin: number, end: number } | undefined {
  if (crc32c(bytes.subarray(at, at + 24)) !== bytes.readUInt32BE(at + 24)) return undefined
  const begin = Number(bytes.readBigInt64BE(at + 8))
  const end = Number(bytes.readBigInt64BE(at + 16))
  return begin >= 0 && begin < end && Math.ceil(end / MARK_ALIGNMENT) * MARK_ALIGNMENT === position ? { begin, end } : undefined
}

const isZero = (bytes: Buffer): boolean => bytes.every((byte) => byte === 0)

/**
 * Bytes of a sector, at `at` in the file, as they were before a write that begins at `position`: zeros, but for the mark of the write
 * before, which stood there, and which the ends of sectors may cut in two.
 */
function isOld (bytes: Buffer, at: number, position: number): boolean {
  if (isZero(bytes)) return true
  const markAt = Math.ceil(position / MARK_ALIGNMENT) * MARK_ALIGNMENT
  const from = Math.max(at, markAt)
  const to = Math.min(at + bytes.length, markAt + MARK_BYTES)
  if (from >= to || !isZero(bytes.subarray(0, from - at)) || !isZero(bytes.subarray(to - at))) return false
  const seen = (first: number, end: number): Buffer =>
    bytes.subarray(Math.max(from, markAt + first) - at, Math.max(from, Math.min(to, markAt + end)) - at)
  const magic = seen(0, 8)
  if (!magic.equals(MARK_MAGIC.subarray(from - markAt, from - markAt + magic.length))) return false
  const end = seen(16, 24)
  return (end.length < 8 || end.readBigInt64BE(0) === BigInt(position)) && isZero(seen(28, 32))
}
