/** Finds and reads entries of one segment file. Headers must follow each other, and what is handed out has the right checksum. */
import { crc32c } from '../crc32c.js'
import { entryBaseOffset, entryBytes, entryOffsetCount, entryTimestampMaxMs } from './entry.js'
import { fileError } from './folder.js'
import type { EntryLayout } from './log.js'
import type { PlainBytes } from './segment-file.js'
import type { Sample } from './segment-index.js'
import { corrupt } from './segment-names.js'

const WINDOW_BYTES = 64 * 1024
/** What a device gives or does not give as a whole. */
const READ_BYTES_MIN = 4096

const isReadError = (error: unknown): boolean => (error as { code?: unknown }).code === 'EIO'

export interface EntryPlace {
  readonly position: number
  readonly bytes: number
  readonly baseOffset: number
  readonly endOffset: number
  readonly timestampMaxMs: number
}

export interface SegmentRead {
  /** Undefined when not one entry fits. */
  readonly part: Buffer | undefined
  readonly nextOffset: number
}

export class SegmentReader {
  private readonly end: number
  private readonly endOffset: number

  /** `segment`: where its entries end. */
  constructor (private readonly file: PlainBytes, private readonly name: string, private readonly layout: EntryLayout, segment: { readonly bytes: number, readonly endOffset: number }) {
    this.end = segment.bytes
    this.endOffset = segment.endOffset
  }

  /** The first entry from the one of a sample on for which `wanted` holds, before position `to`. */
  async find (from: Sample, to: number, wanted: (entry: EntryPlace) => boolean): Promise<EntryPlace | undefined> {
    let window: Buffer = Buffer.alloc(0)
    let windowAt = from.position
    let { offset } = from
    for (let { position } = from; position < to;) {
      if (position + this.layout.headerBytes > windowAt + window.length) {
        const { bytes, damage } = await this.bytes(position, Math.min(WINDOW_BYTES, this.end - position))
        if (damage !== undefined && bytes.length < this.layout.headerBytes) throw damage
        window = bytes
        windowAt = position
      }
      const entry = this.entryAt(window, position - windowAt, position, offset)
      if (wanted(entry)) return entry
      position += entry.bytes
      offset = entry.endOffset
    }
    return undefined
  }

  /** Whole entries from `first` on: as many as fit `bytesMax` and end at or before the offset `limit`. */
  async read (first: EntryPlace, bytesMax: number, limit: number): Promise<SegmentRead> {
    const { bytes, damage } = await this.bytes(first.position, Math.min(bytesMax, this.end - first.position))
    let at = 0
    let nextOffset = first.baseOffset
    try {
      while (bytes.length - at >= this.layout.headerBytes) {
        const entry = this.entryAt(bytes, at, first.position + at, nextOffset)
        if (entry.endOffset > limit || at + entry.bytes > bytes.length) break
        this.checkIntact(bytes.subarray(at, at + entry.bytes), entry.position)
        at += entry.bytes
        nextOffset = entry.endOffset
      }
    } catch (found) {
      // Damage may have come after recovery looked, or where it did not have to look. What lies before it can still be read.
      if (at === 0) throw found
    }
    if (at === 0 && damage !== undefined) throw damage
    return { part: at === 0 ? undefined : bytes.subarray(0, at), nextOffset }
  }

  /**
   * Entries follow each other: one that is whole and stands in another's place is damage, which no checksum tells; so is one that says it
   * reaches beyond the segment, and would have a reader wait for it.
   */
  private entryAt (bytes: Buffer, at: number, position: number, baseOffset: number): EntryPlace {
    const { layout } = this
    const left = this.end - position
    const size = left < layout.headerBytes ? 0 : entryBytes(layout, bytes, at)
    if (size < layout.headerBytes || size > left || bytes[at + layout.magicAt] !== layout.magic) throw corrupt(this.name, position, 'there is no entry')
    const found = entryBaseOffset(layout, bytes, at)
    if (found !== baseOffset) throw corrupt(this.name, position, `there is an entry with offset ${found}, which should have ${baseOffset}`)
    const endOffset = baseOffset + entryOffsetCount(layout, bytes, at)
    if (endOffset <= baseOffset || endOffset > this.endOffset) throw corrupt(this.name, position, `there is an entry that ends at offset ${endOffset}`)
    return { position, bytes: size, baseOffset, endOffset, timestampMaxMs: entryTimestampMaxMs(layout, bytes, at) }
  }

  private checkIntact (entry: Buffer, position: number): void {
    if (crc32c(entry.subarray(this.layout.checksumFrom)) !== entry.readUInt32BE(this.layout.checksumAt)) throw corrupt(this.name, position, 'the entry there is not valid')
  }

  /** So many bytes, or those before the first one that the file does not give: what cannot be read is asked for again, in smaller and smaller parts. */
  private async bytes (position: number, count: number): Promise<{ readonly bytes: Buffer, readonly damage?: unknown }> {
    const bytes = Buffer.allocUnsafeSlow(count)
    let step = count
    let refusedAt = -1
    for (let at = 0; at < count;) {
      try {
        const { bytesRead } = await this.file.read(bytes, at, Math.min(step, count - at), position + at)
        if (bytesRead === 0) throw corrupt(this.name, position + at, `the file ends here and should have ${this.end} bytes`)
        at += bytesRead
      } catch (error) {
        if (!isReadError(error)) return { bytes: bytes.subarray(0, at), damage: error }
        if (step <= READ_BYTES_MIN && refusedAt === at) return { bytes: bytes.subarray(0, at), damage: fileError(`read ${this.name} at position ${position + at}`, error) }
        refusedAt = at
        step = Math.max(READ_BYTES_MIN, Math.ceil(Math.min(step, count - at) / 2))
      }
    }
    return { bytes }
  }
}
