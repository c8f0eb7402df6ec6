/**
 * What is known of a segment without reading it: its ends, its largest timestamp, and samples that say where in the file to look.
 * Grows with the segment and is its `.index` file when it is sealed (docs/storage.md, "Index").
 */
import { combineCrc32c, crc32c } from '../crc32c.js'
import { entryBytes, entryOffsetCount, entryTimestampMaxMs } from './entry.js'
import type { EntryLayout, SegmentCompression, SegmentInfo } from './log.js'

const MAGIC = 'HAULINDX'
const VERSION = 2
/** Without count, time and checksum of the segment. */
const VERSION_BEFORE = 1
const HEADER_BYTES: Readonly<Record<number, number>> = { [VERSION_BEFORE]: 72, [VERSION]: 88 }
const SAMPLE_BYTES = 24
const SAMPLE_EVERY_BYTES = 16 * 1024
const CLEAN_FLAG = 1
const PARTIAL_FLAG = 2

/**
 * Of a segment that is full, of one that was sealed by a clean close and may go on, and a recovery point: of the first bytes of one
 * that is not sealed.
 */
export type IndexKind = 'full' | 'clean' | 'partial'

export interface Sample {
  readonly offset: number
  readonly position: number
}

const FLAGS: Record<IndexKind, number> = { full: 0, clean: CLEAN_FLAG, partial: PARTIAL_FLAG }

export class SegmentIndex {
  endOffset: number
  /** Size of the entries: where the next one goes. */
  bytes = 0
  timestampMaxMs = -1
  /** Base offset of the first entry with the largest timestamp; -1 for none. */
  timestampMaxOffset = -1
  sealed = false
  /** Sealed by a clean close only: the log may go on in this segment. */
  clean = false
  /** -1 where it is not known. */
  entryCount = 0
  /** When the first entry was appended, by the wall clock; -1 where it is not known. */
  firstAppendMs = -1
  /** CRC-32C of the entries; undefined where their beginning was indexed without one. */
  checksum: number | undefined = 0
  /** How its file is stored; the bytes of the entries where it is plain. */
  compression: SegmentCompression = 'none'
  compressedBytes = 0
  /** Bytes that an index on disk covers: after a crash only what follows them is scanned. */
  coveredBytes = 0
  readonly offsets: number[] = []
  readonly positions: number[] = []
  /** The largest timestamp of the entries from a sample to the next. */
  readonly timestamps: number[] = []

  constructor (readonly baseOffset: number) {
    this.endOffset = baseOffset
  }

  /** Takes in the entry whose header stands at `at`: the next one of the segment. */
  add (layout: EntryLayout, bytes: Buffer, at: number): void {
    const timestampMaxMs = entryTimestampMaxMs(layout, bytes, at)
    const last = this.positions.length - 1
    if (last < 0 || this.bytes - this.positions[last]! >= SAMPLE_EVERY_BYTES) {
      this.offsets.push(this.endOffset)
      this.positions.push(this.bytes)
      this.timestamps.push(timestampMaxMs)
    } else if (timestampMaxMs > this.timestamps[last]!) {
      this.timestamps[last] = timestampMaxMs
    }
    if (timestampMaxMs > this.timestampMaxMs) {
      this.timestampMaxMs = timestampMaxMs
      this.timestampMaxOffset = this.endOffset
    }
    const size = entryBytes(layout, bytes, at)
    if (this.entryCount >= 0) this.entryCount++
    if (this.checksum !== undefined) {
      // The entry's own checksum is right, or the entry is damaged and found so; only what it does not cover is read.
      const prefix = crc32c(bytes.subarray(at, at + layout.checksumFrom))
      const entry = combineCrc32c(prefix, bytes.readUInt32BE(at + layout.checksumAt), size - layout.checksumFrom)
      this.checksum = combineCrc32c(this.checksum, entry, size)
    }
    this.bytes += size
    this.endOffset += entryOffsetCount(layout, bytes, at)
  }

  /** An entry at or before the one that contains `offset`. */
  sampleBefore (offset: number): Sample {
    let low = 0
    let high = this.offsets.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.offsets[middle]! <= offset) low = middle + 1
      else high = middle
    }
    return this.sampleAt(Math.max(0, low - 1))
  }

  sampleAt (sample: number): Sample {
    return { offset: this.offsets[sample] ?? this.baseOffset, position: this.positions[sample] ?? 0 }
  }

  info (): SegmentInfo {
    const { baseOffset, endOffset, bytes, compression, compressedBytes, timestampMaxMs } = this
    const storedBytes = compression === 'none' ? bytes : compressedBytes
    return { baseOffset, endOffset, bytes, compression, storedBytes, timestampMaxMs, sealed: this.sealed && !this.clean }
  }

  encode (kind: IndexKind): Buffer {
    const version = this.checksum === undefined ? VERSION_BEFORE : VERSION
    const headerBytes = HEADER_BYTES[version]!
    const bytes = Buffer.alloc(headerBytes + SAMPLE_BYTES * this.offsets.length)
    bytes.write(MAGIC, 'latin1')
    bytes.writeUInt32BE(version, 8)
    bytes.writeUInt32BE(FLAGS[kind], 12)
    const numbers = [this.baseOffset, this.endOffset, this.bytes, this.timestampMaxMs, this.timestampMaxOffset]
    numbers.forEach((value, index) => bytes.writeBigInt64BE(BigInt(value), 16 + 8 * index))
    bytes.writeUInt32BE(this.offsets.length, 56)
    for (let index = 0; index < this.offsets.length; index++) {
      const at = headerBytes + SAMPLE_BYTES * index
      bytes.writeBigInt64BE(BigInt(this.offsets[index]!), at)
      bytes.writeBigInt64BE(BigInt(this.positions[index]!), at + 8)
      bytes.writeBigInt64BE(BigInt(this.timestamps[index]!), at + 16)
    }
    bytes.writeUInt32BE(crc32c(bytes.subarray(headerBytes)), 60)
    if (this.checksum !== undefined) {
      bytes.writeBigInt64BE(BigInt(this.entryCount), 64)
      bytes.writeBigInt64BE(BigInt(this.firstAppendMs), 72)
      bytes.writeUInt32BE(this.checksum, 80)
    }
    bytes.writeUInt32BE(crc32c(bytes.subarray(0, checksumAtOf(version))), checksumAtOf(version))
    return bytes
  }

  /**
   * Undefined for bytes that do not count as the index of this segment: then it is made again from the entries. That of a sealed
   * segment covers all its bytes, a partial one not more than there are.
   */
  static decode (bytes: Buffer, baseOffset: number, segmentBytes: number, partial = false): SegmentIndex | undefined {
    const headerBytes = checkedHeaderBytes(bytes)
    if (headerBytes === undefined) return undefined
    const count = bytes.readUInt32BE(56)
    const number = (at: number): number => Number(bytes.readBigInt64BE(at))
    if (count === 0 || number(16) !== baseOffset || number(24) <= baseOffset) return undefined
    const flags = bytes.readUInt32BE(12)
    const fits = partial ? flags === PARTIAL_FLAG && number(32) <= segmentBytes : flags <= CLEAN_FLAG && number(32) === segmentBytes
    if (!fits || number(32) <= 0) return undefined
    const index = new SegmentIndex(baseOffset)
    index.endOffset = number(24)
    index.bytes = index.coveredBytes = number(32)
    index.timestampMaxMs = number(40)
    index.timestampMaxOffset = number(48)
    index.sealed = !partial
    index.clean = flags === CLEAN_FLAG
    const isBefore = headerBytes === HEADER_BYTES[VERSION_BEFORE]
    index.entryCount = isBefore ? -1 : number(64)
    index.firstAppendMs = isBefore ? -1 : number(72)
    index.checksum = isBefore ? undefined : bytes.readUInt32BE(80)
    for (let at = headerBytes; at < bytes.length; at += SAMPLE_BYTES) {
      index.offsets.push(number(at))
      index.positions.push(number(at + 8))
      index.timestamps.push(number(at + 16))
    }
    return index
  }
}

/** How long the header is, where version, length and both checksums are right. */
function checkedHeaderBytes (bytes: Buffer): number | undefined {
  if (bytes.length < HEADER_BYTES[VERSION_BEFORE]! || bytes.toString('latin1', 0, 8) !== MAGIC) return undefined
  const version = bytes.readUInt32BE(8)
  const headerBytes = HEADER_BYTES[version]
  if (headerBytes === undefined || bytes.length !== headerBytes + SAMPLE_BYTES * bytes.readUInt32BE(56)) return undefined
  const checksumAt = checksumAtOf(version)
  const intact = bytes.readUInt32BE(checksumAt) === crc32c(bytes.subarray(0, checksumAt)) && bytes.readUInt32BE(60) === crc32c(bytes.subarray(headerBytes))
  return intact ? headerBytes : undefined
}

/** Where the checksum of the header stands, and what it covers ends. */
const checksumAtOf = (version: number): number => version === VERSION ? 84 : 64
