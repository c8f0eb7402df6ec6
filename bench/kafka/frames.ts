/** Requests encoded ahead, as the wire load replays them: Produce version 7 and Fetch version 4, in the classic encoding. Pure. */
import { crc32c } from '../../src/crc32c.js'
import { Words } from './words.js'

const PRODUCE = { api: 0, version: 7 }
const FETCH = { api: 1, version: 4 }
const API_VERSIONS = { api: 18, version: 0 }
/** Length, correlation id, two array lengths, a name's length, a partition index. */
const BEFORE_ERROR_BYTES = 4 + 4 + 4 + 2 + 4 + 4

export interface BatchShape {
  readonly recordBytes: number
  readonly recordCount: number
}

/** A record batch (KIP-98) without a producer's id, so that the same bytes may come again and again. */
export function recordBatch ({ recordBytes, recordCount }: BatchShape): Buffer {
  const value = Buffer.alloc(recordBytes)
  for (let at = 0; at < recordBytes; at++) value[at] = 97 + (at * 7919 + (at >> 3)) % 26
  const records = Buffer.concat(Array.from({ length: recordCount }, (_, index) => record(index, value)))
  const checked = new Words().int16(0).int32(recordCount - 1).int64(1_700_000_000_000n).int64(1_700_000_000_000n)
    .int64(-1n).int16(-1).int32(-1).int32(recordCount).raw(records).bytes()
  const behindLength = new Words().int32(-1).int8(2).int32(crc32c(checked) | 0).raw(checked).bytes()
  return new Words().int64(0n).int32(behindLength.length).raw(behindLength).bytes()
}

function record (index: number, value: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from([0]), varint(0), varint(index), varint(-1), varint(value.length), value, varint(0)])
  return Buffer.concat([varint(body.length), body])
}

/** Zigzag, seven bits to a byte. For numbers of 31 bits. */
export function varint (value: number): Buffer {
  let left = ((value << 1) ^ (value >> 31)) >>> 0
  const bytes: number[] = []
  for (; left > 127; left >>>= 7) bytes.push(left & 127 | 128)
  return Buffer.from([...bytes, left])
}

function request ({ api, version }: { readonly api: number, readonly version: number }): Words {
  return new Words().int16(api).int16(version).int32(1).string('bench')
}

export function produceFrame (topic: string, partition: number, acks: number, batch: Buffer): Buffer {
  const words = request(PRODUCE).string(null).int16(acks).int32(30_000)
  return words.array([topic], (name) => words.string(name).array([partition], (index) => words.int32(index).int32(batch.length).raw(batch))).frame()
}

export function produceErrorAt (topic: string): number {
  return BEFORE_ERROR_BYTES + Buffer.byteLength(topic)
}

export function fetchFrame (topic: string, partition: number, offset: number, bytesMax: number): Buffer {
  const words = request(FETCH).int32(-1).int32(100).int32(1).int32(bytesMax).int8(0)
  return words.array([topic], (name) => words.string(name).array([partition], (index) => words.int32(index).int64(BigInt(offset)).int32(bytesMax))).frame()
}

export function fetchErrorAt (topic: string): number {
  const throttleTimeBytes = 4
  return BEFORE_ERROR_BYTES + throttleTimeBytes + Buffer.byteLength(topic)
}

export function apiVersionsFrame (): Buffer {
  return request(API_VERSIONS).frame()
}
