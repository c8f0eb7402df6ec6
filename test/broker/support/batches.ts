/** Record batches as a producer builds them, and with anything wrong in them that a test wants. */
import { crc32c } from '../../../src/crc32c.js'

export interface BatchFields {
  readonly baseOffset?: number
  readonly magic?: number
  readonly attributes?: number
  readonly lastOffsetDelta?: number
  readonly baseTimestampMs?: number
  readonly timestampMaxMs?: number
  readonly producerId?: number
  readonly producerEpoch?: number
  readonly firstSequence?: number
  readonly recordCount?: number
  /** Compresses the records, for a codec in `attributes`. */
  readonly compress?: (records: Buffer) => Buffer
}

export interface TestRecord {
  readonly key?: string | null
  readonly value?: string | null
  readonly timestampMs?: number
}

export function batchOf (records: readonly TestRecord[], fields: BatchFields = {}): Buffer {
  const baseTimestampMs = fields.baseTimestampMs ?? records[0]?.timestampMs ?? 1000
  let body: Buffer = Buffer.concat(records.map((record, index) => encodeRecord(record, index, baseTimestampMs)))
  if (fields.compress !== undefined) body = fields.compress(body)
  const out = Buffer.alloc(61 + body.length)
  out.writeBigInt64BE(BigInt(fields.baseOffset ?? 0), 0)
  out.writeInt32BE(out.length - 12, 8)
  out.writeInt32BE(-1, 12)
  out.writeInt8(fields.magic ?? 2, 16)
  out.writeInt16BE(fields.attributes ?? 0, 21)
  out.writeInt32BE(fields.lastOffsetDelta ?? records.length - 1, 23)
  out.writeBigInt64BE(BigInt(baseTimestampMs), 27)
  out.writeBigInt64BE(BigInt(fields.timestampMaxMs ?? Math.max(...records.map(({ timestampMs }) => timestampMs ?? baseTimestampMs))), 35)
  out.writeBigInt64BE(BigInt(fields.producerId ?? -1), 43)
  out.writeInt16BE(fields.producerEpoch ?? -1, 51)
  out.writeInt32BE(fields.firstSequence ?? -1, 53)
  out.writeInt32BE(fields.recordCount ?? records.length, 57)
  body.copy(out, 61)
  out.writeUInt32BE(crc32c(out.subarray(21)), 17)
  return out
}

/** `count` records, each of about `valueBytes`. */
export function plainBatch (count = 1, valueBytes = 10, fields: BatchFields = {}): Buffer {
  return batchOf(Array.from({ length: count }, (_, index) => ({ key: `k${index}`, value: 'v'.repeat(valueBytes), timestampMs: 1000 + index })), fields)
}

export function idempotentBatch (firstSequence: number, count: number, producerEpoch = 0, producerId = 9): Buffer {
  return plainBatch(count, 10, { producerId, producerEpoch, firstSequence })
}

function encodeRecord (record: TestRecord, offsetDelta: number, baseTimestampMs: number): Buffer {
  const body = Buffer.concat([
    Buffer.from([0]),
    varint((record.timestampMs ?? baseTimestampMs) - baseTimestampMs),
    varint(offsetDelta),
    bytes(record.key),
    bytes(record.value),
    varint(0)
  ])
  return Buffer.concat([varint(body.length), body])
}

function bytes (text: string | null | undefined): Buffer {
  if (text === null || text === undefined) return varint(-1)
  const encoded = Buffer.from(text)
  return Buffer.concat([varint(encoded.length), encoded])
}

function varint (value: number): Buffer {
  let zigzag = BigInt(value) >= 0n ? BigInt(value) * 2n : -BigInt(value) * 2n - 1n
  const out: number[] = []
  while (zigzag > 127n) {
    out.push(Number(zigzag & 127n) | 128)
    zigzag >>= 7n
  }
  out.push(Number(zigzag))
  return Buffer.from(out)
}
