/**
 * Records inside a batch, format v2 (KIP-98; https://kafka.apache.org/documentation/#recordbatch): made for what the broker
 * itself stores, opened only where the broker must look inside. Ordinary batches pass through unopened.
 */
import { BATCH_HEADER_BYTES, baseOffset, baseTimestampMs, batchBytes, codec, hasLogAppendTime, recordCount, timestampMaxMs } from './batch-header.js'
import { crc32c } from '../crc32c.js'
import { ProtocolError } from './protocol-error.js'

export interface RecordHeader {
  readonly key: string
  readonly value: Buffer | null
}

export interface NewRecord {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers?: readonly RecordHeader[]
  /** Wall time in ms since the epoch. */
  readonly timestampMs: number
}

export interface DecodedRecord {
  readonly offset: number
  readonly timestampMs: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly RecordHeader[]
}

const MAGIC = 2

/** One uncompressed batch of at least one record, base offset 0, written by no producer in particular. */
export function encodeBatch (records: readonly NewRecord[]): Buffer {
  const baseTimestamp = records[0]!.timestampMs
  const bodies = records.map((record, index) => encodeRecord(record, index, record.timestampMs - baseTimestamp))
  const timestampMax = records.reduce((max, record) => Math.max(max, record.timestampMs), -1)
  const batch = Buffer.concat([Buffer.alloc(BATCH_HEADER_BYTES), ...bodies])
  batch.writeInt32BE(batch.length - 12, 8)
  batch.writeInt32BE(-1, 12) // partition leader epoch: the partition writes it
  batch.writeInt8(MAGIC, 16)
  batch.writeInt16BE(0, 21) // attributes: not compressed, CreateTime
  batch.writeInt32BE(records.length - 1, 23)
  batch.writeBigInt64BE(BigInt(baseTimestamp), 27)
  batch.writeBigInt64BE(BigInt(timestampMax), 35)
  batch.writeBigInt64BE(-1n, 43) // producer id
  batch.writeInt16BE(-1, 51) // producer epoch
  batch.writeInt32BE(-1, 53) // first sequence
  batch.writeInt32BE(records.length, 57)
  batch.writeUInt32BE(crc32c(batch.subarray(21)), 17)
  return batch
}

function encodeRecord (record: NewRecord, offsetDelta: number, timestampDelta: number): Buffer {
  const parts: Buffer[] = [Buffer.from([0]), varint(timestampDelta), varint(offsetDelta), ...sized(record.key), ...sized(record.value)]
  const headers = record.headers ?? []
  parts.push(varint(headers.length))
  for (const { key, value } of headers) parts.push(...sized(Buffer.from(key)), ...sized(value))
  const body = Buffer.concat(parts)
  return Buffer.concat([varint(body.length), body])
}

function sized (bytes: Buffer | null): Buffer[] {
  return bytes === null ? [varint(-1)] : [varint(bytes.length), bytes]
}

/** A zigzag varint of any safe integer. */
function varint (value: number): Buffer {
  const bytes: number[] = []
  let rest = value >= 0 ? value * 2 : -value * 2 - 1
  while (rest > 0x7f) {
    bytes.push(rest % 128 + 128)
    rest = Math.floor(rest / 128)
  }
  bytes.push(rest)
  return Buffer.from(bytes)
}

/** The codec that a batch's attributes name. */
export const CODEC_NAMES = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const
export type CodecName = (typeof CODEC_NAMES)[number]

/** Opens compressed bytes; at most `bytesMax` may come out. */
export type Decompress = (codec: CodecName, bytes: Buffer, bytesMax: number) => Buffer

/**
 * The records of one batch that stands at the start of `batch`. A batch with LogAppendTime gives every record that time.
 * Throws ProtocolError for anything that does not fit together; the checksum is not looked at.
 */
export function decodeBatch (batch: Buffer, decompress: Decompress, bytesMax: number): DecodedRecord[] {
  if (batch.length < BATCH_HEADER_BYTES || batchBytes(batch) > batch.length || batchBytes(batch) < BATCH_HEADER_BYTES) {
    throw new ProtocolError(`a record batch of ${batch.length} bytes is cut short`)
  }
  const name = CODEC_NAMES[codec(batch)]
  if (name === undefined) throw new ProtocolError(`compression type ${codec(batch)} is unknown`)
  const stored = batch.subarray(BATCH_HEADER_BYTES, batchBytes(batch))
  const body = new VarintReader(name === 'none' ? stored : decompress(name, stored, bytesMax))
  const count = recordCount(batch)
  if (count < 0 || count > body.left) throw new ProtocolError(`${count} records announced in ${body.left} bytes`)
  const firstOffset = baseOffset(batch)
  const firstTimestamp = baseTimestampMs(batch)
  const appendTime = hasLogAppendTime(batch) ? timestampMaxMs(batch) : undefined
  const records: DecodedRecord[] = []
  for (let index = 0; index < count; index++) {
    records.push(decodeRecord(body.slice(body.varint()), firstOffset, firstTimestamp, appendTime))
  }
  if (body.left > 0) throw new ProtocolError(`${body.left} bytes follow the last record of a batch`)
  return records
}

function decodeRecord (body: VarintReader, firstOffset: number, firstTimestamp: number, appendTime: number | undefined): DecodedRecord {
  body.slice(1) // attributes: none defined
  const timestampDelta = body.varint()
  const timestampMs = clampToSafe(appendTime ?? firstTimestamp + timestampDelta)
  const offset = firstOffset + body.varint()
  const key = body.sized()
  const value = body.sized()
  const headers: RecordHeader[] = []
  const headerCount = body.varint()
  if (headerCount < 0) throw new ProtocolError(`a record with ${headerCount} headers`)
  for (let left = headerCount; left > 0; left--) {
    const name = body.sized()
    if (name === null) throw new ProtocolError('a record header without a key')
    headers.push({ key: name.toString('utf8'), value: body.sized() })
  }
  if (body.left > 0) throw new ProtocolError(`${body.left} bytes follow the fields of a record`)
  return { offset, timestampMs, key, value, headers }
}

/** Clients may send any int64 for a timestamp; beyond the safe range it compares the same when it is clamped. */
function clampToSafe (value: number): number {
  return Math.max(Number.MIN_SAFE_INTEGER, Math.min(value, Number.MAX_SAFE_INTEGER))
}

/** Zigzag varints and byte runs with bounds. */
class VarintReader {
  private position = 0
  constructor (private readonly bytes: Buffer) {}

  get left (): number { return this.bytes.length - this.position }

  /** Up to ten bytes (a varlong); values outside the safe range come out inexact, which no caller takes for a length. */
  varint (): number {
    let value = 0
    let scale = 1
    for (let count = 0; count < 10; count++) {
      const byte = this.bytes[this.position++]
      if (byte === undefined) throw new ProtocolError('a varint runs over the end of its record')
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2
      scale *= 128
    }
    throw new ProtocolError('a varint is longer than 10 bytes')
  }

  /** The next `length` bytes as a reader of their own. */
  slice (length: number): VarintReader {
    return new VarintReader(this.view(length))
  }

  /** Bytes behind their length; null for the length -1. */
  sized (): Buffer | null {
    const length = this.varint()
    return length === -1 ? null : this.view(length)
  }

  private view (length: number): Buffer {
    if (!(length >= 0 && length <= this.left)) throw new ProtocolError(`a run of ${length} bytes where ${this.left} are left`)
    this.position += length
    return this.bytes.subarray(this.position - length, this.position)
  }
}
