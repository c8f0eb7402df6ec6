/**
 * The entry of a raw topic: a 48-byte header, then records (record.ts). Every integer is big-endian.
 *
 *     0  int64  offset of its first record        24  int64  largest timestamp of its records
 *     8  int32  bytes that follow                 32  int64  timestamp of records that have none of their own
 *    12  int8   format: 72                        40  int32  of a batch in parts: index of this part's first record; else 0
 *    13         zeros                             44  int32  of a batch in parts: count of all its records; else 0
 *    16  uint32 CRC-32C of all that follows       48  records
 *    20  int32  count of its records, less one
 *
 * **A batch larger than an entry is written in parts**, one behind the other with nothing between. It is there when its last
 * part is: a log keeps a prefix of what was appended, so after a crash either all of them are there or the last one is not, and
 * never will be. A reader that meets a part looks at the entry where the batch's last record would be.
 */
import { crc32c } from '../crc32c.js'
import type { EntryLayout } from '../log/log.js'
import { BufferPool } from './buffer-pool.js'

export const ENTRY_HEADER_BYTES = 48
const LENGTH_EXTRA_BYTES = 12
const MAGIC = 72
const TWO_POW_32 = 2 ** 32

export const RAW_ENTRY_LAYOUT: EntryLayout = {
  headerBytes: ENTRY_HEADER_BYTES,
  baseOffsetAt: 0,
  lengthAt: 8,
  lengthExtraBytes: LENGTH_EXTRA_BYTES,
  magicAt: 12,
  magic: MAGIC,
  checksumAt: 16,
  checksumFrom: 20,
  lastOffsetDeltaAt: 20,
  timestampMaxAt: 24
}

export interface EntryHeader {
  readonly recordCount: number
  readonly timestampMaxMs: number
  readonly timestampMs: number
  readonly batchIndex: number
  readonly batchCount: number
}

/** Writes the header in front of records that are in place, and the checksum over all of it. */
export function finishEntry (entry: Buffer, header: EntryHeader): void {
  writeInt32(entry, 0, 0)
  writeInt32(entry, 4, 0)
  writeInt32(entry, 8, entry.length - LENGTH_EXTRA_BYTES)
  writeInt32(entry, 12, MAGIC << 24)
  writeInt32(entry, 20, header.recordCount - 1)
  writeInt64(entry, 24, header.timestampMaxMs)
  writeInt64(entry, 32, header.timestampMs)
  writeInt32(entry, 40, header.batchIndex)
  writeInt32(entry, 44, header.batchCount)
  writeInt32(entry, 16, crc32c(entry.subarray(20)))
}

/**
 * Covers offsets whose entries are lost: the first part of a batch whose last one never comes, so readers pass over it.
 */
export function emptyEntry (offsetCount: number): Buffer {
  const entry = Buffer.alloc(ENTRY_HEADER_BYTES)
  finishEntry(entry, { recordCount: offsetCount, timestampMaxMs: 0, timestampMs: 0, batchIndex: 0, batchCount: 2 ** 31 - 1 })
  // -1: no timestamp.
  entry.fill(0xff, 24, 32)
  entry.writeUInt32BE(crc32c(entry.subarray(20)), 16)
  return entry
}

/** An entry as it was read: bytes `from` to `to` of a buffer that may hold others, too. */
export interface RawEntry {
  readonly bytes: Buffer
  readonly from: number
  readonly to: number
  readonly baseOffset: number
  readonly endOffset: number
  readonly timestampMs: number
  readonly batchIndex: number
  readonly batchCount: number
}

function parseEntry (bytes: Buffer, from: number, to: number): RawEntry {
  const baseOffset = readInt64(bytes, from)
  return {
    bytes,
    from,
    to,
    baseOffset,
    endOffset: baseOffset + readInt32(bytes, from + 20) + 1,
    timestampMs: readInt64(bytes, from + 32),
    batchIndex: readInt32(bytes, from + 40),
    batchCount: readInt32(bytes, from + 44)
  }
}

/** For entries that lie in pieces. */
const pool = new BufferPool([64 * 1024], 4 * 1024 * 1024)
const POOLED_FROM_BYTES = 4096

/** So many bytes or more. */
export function takeMemory (bytes: number): Buffer {
  return bytes < POOLED_FROM_BYTES ? Buffer.allocUnsafe(bytes) : pool.take(bytes)
}

/** Nobody looks at it any more: the next one who takes memory writes to it. Never needed. */
export function releaseMemory (memory: Buffer): void {
  pool.give(memory)
}

/** The whole entries in buffers whose concatenation is a run of them. Copies only an entry that lies in more than one, to memory that it takes. */
export function entriesIn (parts: readonly Buffer[], take: (bytes: number) => Buffer = takeMemory): RawEntry[] {
  const entries: RawEntry[] = []
  let [index, at] = [0, 0]
  while (index < parts.length) {
    const part = parts[index]!
    if (at === part.length) {
      [index, at] = [index + 1, 0]
      continue
    }
    const [header, headerAt] = at + ENTRY_HEADER_BYTES <= part.length ? [part, at] : [joined(parts, index, at, ENTRY_HEADER_BYTES, Buffer.allocUnsafe), 0]
    if (header === undefined) break
    const entryBytes = readInt32(header, headerAt + 8) + LENGTH_EXTRA_BYTES
    if (at + entryBytes <= part.length) entries.push(parseEntry(part, at, at + entryBytes))
    else {
      const entry = joined(parts, index, at, entryBytes, take)
      if (entry === undefined) break
      entries.push(parseEntry(entry, 0, entryBytes))
    }
    for (at += entryBytes; index < parts.length && at > parts[index]!.length; index++) at -= parts[index]!.length
  }
  return entries
}

/** So many bytes from a place on; undefined where there are fewer. */
function joined (parts: readonly Buffer[], index: number, at: number, bytes: number, take: (bytes: number) => Buffer): Buffer | undefined {
  const pieces: Buffer[] = []
  let missing = bytes
  for (let next = index; missing > 0 && next < parts.length; next++) {
    const from = next === index ? at : 0
    const piece = parts[next]!.subarray(from, from + missing)
    pieces.push(piece)
    missing -= piece.length
  }
  if (missing > 0) return undefined
  const memory = take(bytes)
  let end = 0
  for (const piece of pieces) {
    memory.set(piece, end)
    end += piece.length
  }
  return memory
}

/** Every entry has a header: plain loads and stores are several times faster than a Buffer's methods. */
function writeInt32 (buffer: Buffer, at: number, value: number): void {
  buffer[at] = value >>> 24
  buffer[at + 1] = value >>> 16
  buffer[at + 2] = value >>> 8
  buffer[at + 3] = value
}

function writeInt64 (buffer: Buffer, at: number, value: number): void {
  writeInt32(buffer, at, Math.floor(value / TWO_POW_32))
  writeInt32(buffer, at + 4, value)
}

function readInt32 (buffer: Buffer, at: number): number {
  return buffer[at]! << 24 | buffer[at + 1]! << 16 | buffer[at + 2]! << 8 | buffer[at + 3]!
}

const readInt64 = (buffer: Buffer, at: number): number => readInt32(buffer, at) * TWO_POW_32 + (readInt32(buffer, at + 4) >>> 0)
