/** A record batch without records. Kafka's compaction leaves such batches, so every client passes over the offsets that one covers. */
import { BATCH_HEADER_BYTES, CHECKSUM_AT, CHECKSUM_FROM, LAST_OFFSET_DELTA_AT, LENGTH_AT, LENGTH_EXTRA_BYTES, MAGIC_AT } from './batch-header.js'
import { crc32c } from '../crc32c.js'

const BASE_TIMESTAMP_AT = 27
const RECORD_COUNT_AT = 57

export function emptyBatch (offsetCount: number): Buffer {
  // -1 is none: timestamps, producer id and epoch, first sequence.
  const batch = Buffer.alloc(BATCH_HEADER_BYTES, 0xff)
  batch.fill(0, 0, BASE_TIMESTAMP_AT)
  batch.writeInt32BE(BATCH_HEADER_BYTES - LENGTH_EXTRA_BYTES, LENGTH_AT)
  batch.writeInt8(2, MAGIC_AT)
  batch.writeInt32BE(offsetCount - 1, LAST_OFFSET_DELTA_AT)
  batch.writeInt32BE(0, RECORD_COUNT_AT)
  batch.writeUInt32BE(crc32c(batch.subarray(CHECKSUM_FROM)), CHECKSUM_AT)
  return batch
}
