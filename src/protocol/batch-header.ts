/** The header of a record batch, format v2 (KIP-98), by field: reads and writes in place, nothing is copied or allocated. */
export const BATCH_HEADER_BYTES = 61
export const MAGIC_AT = 16
export const CODEC_MASK = 0x07
export const LENGTH_AT = 8
export const LENGTH_EXTRA_BYTES = 12
const LEADER_EPOCH_AT = 12
export const CHECKSUM_AT = 17
export const CHECKSUM_FROM = 21
const ATTRIBUTES_AT = 21
export const LAST_OFFSET_DELTA_AT = 23
const TIMESTAMP_MAX_AT = 35
const PRODUCER_ID_AT = 43
const PRODUCER_EPOCH_AT = 51
const FIRST_SEQUENCE_AT = 53
const RECORD_COUNT_AT = 57
const LOG_APPEND_TIME_BIT = 0x08
const TRANSACTIONAL_BIT = 0x10
const CONTROL_BIT = 0x20
const BASE_TIMESTAMP_AT = 27

export const baseOffset = (batch: Buffer, at = 0): number => readInt64(batch, at)
/** What the header says about the batch's whole size. */
export const batchBytes = (batch: Buffer, at = 0): number => batch.readInt32BE(at + LENGTH_AT) + LENGTH_EXTRA_BYTES
export const lastOffsetDelta = (batch: Buffer, at = 0): number => batch.readInt32BE(at + LAST_OFFSET_DELTA_AT)
export const baseTimestampMs = (batch: Buffer, at = 0): number => readInt64(batch, at + BASE_TIMESTAMP_AT)
export const timestampMaxMs = (batch: Buffer, at = 0): number => readInt64(batch, at + TIMESTAMP_MAX_AT)
export const producerId = (batch: Buffer, at = 0): number => readInt64(batch, at + PRODUCER_ID_AT)
export const producerEpoch = (batch: Buffer, at = 0): number => batch.readInt16BE(at + PRODUCER_EPOCH_AT)
export const firstSequence = (batch: Buffer, at = 0): number => batch.readInt32BE(at + FIRST_SEQUENCE_AT)
export const recordCount = (batch: Buffer, at = 0): number => batch.readInt32BE(at + RECORD_COUNT_AT)
export const codec = (batch: Buffer, at = 0): number => batch.readInt16BE(at + ATTRIBUTES_AT) & CODEC_MASK
export const isControl = (batch: Buffer, at = 0): boolean => (batch.readInt16BE(at + ATTRIBUTES_AT) & CONTROL_BIT) !== 0
export const isTransactional = (batch: Buffer, at = 0): boolean => (batch.readInt16BE(at + ATTRIBUTES_AT) & TRANSACTIONAL_BIT) !== 0
export const hasLogAppendTime = (batch: Buffer, at = 0): boolean => (batch.readInt16BE(at + ATTRIBUTES_AT) & LOG_APPEND_TIME_BIT) !== 0
export const checksum = (batch: Buffer): number => batch.readUInt32BE(CHECKSUM_AT)
export const checksummed = (batch: Buffer): Buffer => batch.subarray(CHECKSUM_FROM)

/** One of the two fields that the broker owns and the checksum does not cover; the log writes the other, the base offset. */
export function writeLeaderEpoch (batch: Buffer, leaderEpoch: number): void {
  batch.writeInt32BE(leaderEpoch, LEADER_EPOCH_AT)
}

/** Makes every record read as `nowMs` (message.timestamp.type=LogAppendTime); the caller's `crc32c` makes the checksum right. */
export function writeLogAppendTime (batch: Buffer, nowMs: number, crc32c: (bytes: Uint8Array) => number): void {
  batch.writeInt16BE(batch.readInt16BE(ATTRIBUTES_AT) | LOG_APPEND_TIME_BIT, ATTRIBUTES_AT)
  batch.writeBigInt64BE(BigInt(nowMs), TIMESTAMP_MAX_AT)
  batch.writeUInt32BE(crc32c(checksummed(batch)), CHECKSUM_AT)
}

/** After the records were replaced by the same ones in another codec: size, codec and checksum. */
export function writeCodec (batch: Buffer, codec: number, crc32c: (bytes: Uint8Array) => number): void {
  batch.writeInt32BE(batch.length - LENGTH_EXTRA_BYTES, LENGTH_AT)
  batch.writeInt16BE((batch.readInt16BE(ATTRIBUTES_AT) & ~CODEC_MASK) | codec, ATTRIBUTES_AT)
  batch.writeUInt32BE(crc32c(checksummed(batch)), CHECKSUM_AT)
}

/** Without a bigint: this runs several times per batch. Inexact beyond 2^53, where the callers' range checks catch it. */
function readInt64 (bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at) * 0x1_0000_0000 + bytes.readUInt32BE(at + 4)
}
