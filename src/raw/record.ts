/**
 * A record: what goes into a log and what comes out, and its bytes inside an entry (see entry.ts):
 *
 *     uint8  flags: 1 key, 2 tombstone, 4 time to live, 8 timestamp of its own, the upper four bits the codec
 *     uint32 bytes of the value as it is stored
 *     [uint32 bytes of the key] [int64 timestamp] [int64 time to live in ms] [uint32 bytes of the value when opened]
 *     key, value
 *
 * So a plain value costs five bytes more than itself. Every integer is big-endian.
 */
import { LogError } from '../log/log.js'
import { compressValue, isCompression, openValue, type Compression } from './record-compression.js'

export type Bytes = Uint8Array | string

/** What an append takes, beside a value alone. */
export interface RecordInput {
  readonly key?: Bytes | null
  /** null: a tombstone, which says that its key is no more. */
  readonly value: Bytes | null
  /** Readers skip the record from `timestampMs + ttlMs` on. Default: it stays. */
  readonly ttlMs?: number
  /** Default: the log's clock. */
  readonly timestampMs?: number
  /** Of the value, kept only where it makes it smaller. Default 'none'. */
  readonly compression?: Compression
}

/**
 * What a read hands out. Key and value are views of what was read, a megabyte or so: copy what is kept for long. They are made when they
 * are asked for, so what is not asked for costs nothing.
 */
export interface LogRecord {
  readonly offset: number
  readonly timestampMs: number
  readonly key: Buffer | null
  /** null: a tombstone. */
  readonly value: Buffer | null
  /** The value's length, without making a view of it; 0 for a tombstone. */
  readonly valueBytes: number
  /** Readers skip the record from this time on; null: never. */
  readonly expiresAtMs: number | null
}

export type PutOptions = Pick<RecordInput, 'ttlMs' | 'timestampMs' | 'compression'>

export const put = (key: Bytes, value: Bytes, options: PutOptions = {}): RecordInput => ({ key, value, ...options })
export const tombstone = (key: Bytes): RecordInput => ({ key, value: null })

/** A record ready to be written, and its size. */
export interface PreparedRecord {
  readonly flags: number
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  readonly ttlMs: number
  readonly timestampMs: number
  /** Bytes of the value before compression. */
  readonly valueBytes: number
  readonly bytes: number
}

const KEY = 1
const TOMBSTONE = 2
const TTL = 4
const TIMESTAMP = 8
const CODEC_SHIFT = 4
export const PLAIN_BYTES = 5
const TWO_POW_32 = 2 ** 32

const malformed = (message: string): LogError => new LogError('malformed', message)

const isBytes = (value: unknown): value is Bytes => typeof value === 'string' || value instanceof Uint8Array
const nameOf = (value: unknown): string => value === null ? 'null' : typeof value

/** Throws LogError 'malformed' for what is not a record. */
export function checkRecord (input: Bytes | RecordInput): void {
  if (isBytes(input)) return
  if (typeof input !== 'object' || input === null) throw malformed(`a record is a value or an object with one, not ${String(input)}`)
  const { key = null, value, ttlMs, timestampMs, compression = 'none' } = input
  if (key !== null && !isBytes(key)) throw malformed(`a record's key is a Uint8Array or a string, not ${nameOf(key)}`)
  if (value !== null && !isBytes(value)) throw malformed(`a record's value is a Uint8Array or a string, not ${nameOf(value)}`)
  if (value === null && key === null) throw malformed('a tombstone needs a key')
  if (ttlMs !== undefined && !(Number.isSafeInteger(ttlMs) && ttlMs >= 0)) throw malformed(`ttlMs is a whole number of milliseconds, not ${ttlMs}`)
  if (timestampMs !== undefined && !(Number.isSafeInteger(timestampMs) && timestampMs >= 0)) throw malformed(`timestampMs is a whole number of milliseconds since 1970, not ${timestampMs}`)
  if (!isCompression(compression)) throw malformed(`compression is 'none', 'lz4' or 'zstd', not '${String(compression)}'`)
}

const bytesOf = (value: Bytes): Uint8Array => typeof value === 'string' ? Buffer.from(value) : value

/** Of a record that was checked. */
export function prepareRecord (input: Bytes | RecordInput): PreparedRecord {
  if (isBytes(input)) return preparePlain(bytesOf(input))
  const { ttlMs = -1, timestampMs = -1, compression = 'none' } = input
  const key = input.key == null ? null : bytesOf(input.key)
  const plain = input.value === null ? null : bytesOf(input.value)
  const stored = plain === null ? undefined : compressValue(compression, plain)
  const codec = stored?.codec ?? 0
  const flags = (key === null ? 0 : KEY) | (plain === null ? TOMBSTONE : 0) | (ttlMs < 0 ? 0 : TTL) | (timestampMs < 0 ? 0 : TIMESTAMP) | codec << CODEC_SHIFT
  const value = stored?.bytes ?? null
  const bytes = PLAIN_BYTES + (key === null ? 0 : 4 + key.length) + (ttlMs < 0 ? 0 : 8) + (timestampMs < 0 ? 0 : 8) + (codec === 0 ? 0 : 4) + (value?.length ?? 0)
  return { flags, key, value, ttlMs, timestampMs, valueBytes: plain?.length ?? 0, bytes }
}

function preparePlain (value: Uint8Array): PreparedRecord {
  return { flags: 0, key: null, value, ttlMs: -1, timestampMs: -1, valueBytes: value.length, bytes: PLAIN_BYTES + value.length }
}

/** What a record takes beside its key and value, at most. */
export const RECORD_OVERHEAD_MAX = PLAIN_BYTES + 24

/** Bytes of key and value as they were given. */
export function payloadBytes (input: Bytes | RecordInput): number {
  if (typeof input === 'string') return Buffer.byteLength(input)
  if (input instanceof Uint8Array) return input.length
  return sizeOf(input?.key) + sizeOf(input?.value)
}

const sizeOf = (part: Bytes | null | undefined): number => part == null ? 0 : typeof part === 'string' ? Buffer.byteLength(part) : part.length

/** The way of the many: a value and nothing else. Returns where the next record goes. */
export function writePlainRecord (buffer: Buffer, at: number, value: Uint8Array): number {
  const { length } = value
  buffer[at] = 0
  buffer[at + 1] = length >>> 24
  buffer[at + 2] = length >>> 16
  buffer[at + 3] = length >>> 8
  buffer[at + 4] = length
  buffer.set(value, at + PLAIN_BYTES)
  return at + PLAIN_BYTES + length
}

export function writeRecord (buffer: Buffer, start: number, record: PreparedRecord): number {
  const { flags, key, value } = record
  if (flags === 0) return writePlainRecord(buffer, start, value!)
  let at = buffer.writeUInt8(flags, start)
  at = buffer.writeUInt32BE(value?.length ?? 0, at)
  if (key !== null) at = buffer.writeUInt32BE(key.length, at)
  if (flags & TIMESTAMP) at = writeInt64(buffer, at, record.timestampMs)
  if (flags & TTL) at = writeInt64(buffer, at, record.ttlMs)
  if (flags >> CODEC_SHIFT) at = buffer.writeUInt32BE(record.valueBytes, at)
  if (key !== null) {
    buffer.set(key, at)
    at += key.length
  }
  if (value !== null) buffer.set(value, at)
  return at + (value?.length ?? 0)
}

/** Bytes in front of key and value, by a record's flags. */
const HEAD_BYTES = Uint8Array.from({ length: 256 }, (_, flags) =>
  PLAIN_BYTES + (flags & KEY ? 4 : 0) + (flags & TIMESTAMP ? 8 : 0) + (flags & TTL ? 8 : 0) + (flags >> CODEC_SHIFT ? 4 : 0))

/** Where the record at `at` ends; behind `to` when that does not lie between them. */
export function recordEndAt (bytes: Buffer, at: number, to: number): number {
  const flags = at < to ? bytes[at]! : 0
  const keyAt = at + HEAD_BYTES[flags]!
  if (keyAt > to) return keyAt
  return keyAt + (flags & KEY ? readUint32(bytes, at + PLAIN_BYTES) : 0) + readUint32(bytes, at + 1)
}

export interface RecordContext {
  readonly nowMs: number
  /** Of an opened value. */
  readonly recordBytesMax: number
}

/**
 * One record in the bytes of an entry. Nothing is looked at before it is asked for, and nothing is kept, but a compressed value, which whoever
 * makes the record has opened.
 */
export class StoredRecord implements LogRecord {
  constructor (
    private readonly bytes: Buffer, private readonly at: number, readonly offset: number, private readonly entryTimestampMs: number, readonly opened: Buffer | undefined
  ) {}

  get timestampMs (): number {
    const flags = this.bytes[this.at]!
    return flags & TIMESTAMP ? readInt64(this.bytes, this.at + PLAIN_BYTES + (flags & KEY ? 4 : 0)) : this.entryTimestampMs
  }

  get key (): Buffer | null {
    const flags = this.bytes[this.at]!
    if (!(flags & KEY)) return null
    const keyAt = this.at + HEAD_BYTES[flags]!
    return this.bytes.subarray(keyAt, keyAt + this.keyBytes)
  }

  get value (): Buffer | null {
    if (this.isTombstone) return null
    if (this.opened !== undefined) return this.opened
    const { valueAt } = this
    return this.bytes.subarray(valueAt, valueAt + readUint32(this.bytes, this.at + 1))
  }

  get valueBytes (): number {
    return this.opened === undefined ? readUint32(this.bytes, this.at + 1) : this.opened.length
  }

  get expiresAtMs (): number | null {
    const flags = this.bytes[this.at]!
    if (!(flags & TTL)) return null
    return this.timestampMs + readInt64(this.bytes, this.at + PLAIN_BYTES + (flags & KEY ? 4 : 0) + (flags & TIMESTAMP ? 8 : 0))
  }

  get keyBytes (): number {
    return this.bytes[this.at]! & KEY ? readUint32(this.bytes, this.at + PLAIN_BYTES) : 0
  }

  get isTombstone (): boolean {
    return (this.bytes[this.at]! & TOMBSTONE) !== 0
  }

  /** Of the value as it is stored, in the entry's bytes. */
  get valueAt (): number {
    return this.at + HEAD_BYTES[this.bytes[this.at]!]! + this.keyBytes
  }

  toJSON (): Omit<LogRecord, 'valueBytes'> {
    const { offset, timestampMs, key, value, expiresAtMs } = this
    return { offset, timestampMs, key, value, expiresAtMs }
  }

  /** What a console shows. */
  [Symbol.for('nodejs.util.inspect.custom')] (): Omit<LogRecord, 'valueBytes'> {
    return this.toJSON()
  }
}

/** Bytes of the value as readers see it, without opening it. */
export function valueBytesAt (bytes: Buffer, at: number): number {
  const flags = bytes[at]!
  return readUint32(bytes, flags >> CODEC_SHIFT ? at + HEAD_BYTES[flags]! - 4 : at + 1)
}

export const isCompressed = (flags: number): boolean => flags >> CODEC_SHIFT !== 0

/** Opens the compressed value of the record at `at`. Throws LogError 'corrupt' where it cannot be opened. */
export function openValueAt (bytes: Buffer, at: number, offset: number, recordBytesMax: number): Buffer {
  const { valueAt } = new StoredRecord(bytes, at, offset, 0, undefined)
  return opened(bytes[at]! >> CODEC_SHIFT, bytes.subarray(valueAt, valueAt + readUint32(bytes, at + 1)), valueBytesAt(bytes, at), offset, recordBytesMax)
}

function opened (codec: number, bytes: Buffer, valueBytes: number, offset: number, bytesMax: number): Buffer {
  if (valueBytes > bytesMax) throw new LogError('corrupt', `the record at offset ${offset} cannot be read: its value would have ${valueBytes} bytes, at most ${bytesMax} are allowed`)
  try {
    return openValue(codec, bytes, valueBytes)
  } catch (error) {
    throw new LogError('corrupt', `the record at offset ${offset} cannot be read: ${(error as Error).message}`, { cause: error })
  }
}

function writeInt64 (buffer: Buffer, at: number, value: number): number {
  buffer.writeUInt32BE(Math.floor(value / TWO_POW_32), at)
  return buffer.writeUInt32BE(value % TWO_POW_32, at + 4)
}

/** Plain loads are several times faster than a Buffer's methods. */
export function readUint32 (buffer: Buffer, at: number): number {
  return (buffer[at]! << 24 | buffer[at + 1]! << 16 | buffer[at + 2]! << 8 | buffer[at + 3]!) >>> 0
}

const readInt64 = (buffer: Buffer, at: number): number => readUint32(buffer, at) * TWO_POW_32 + readUint32(buffer, at + 4)
