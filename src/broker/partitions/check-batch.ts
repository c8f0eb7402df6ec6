/**
 * The checks that a produced batch must pass, as Kafka's LogValidator makes them, from its 61 header bytes and its checksum.
 * Pure: the partition's settings and the time are parameters.
 *
 * Records are looked at only where a setting asks for it (a compacted topic needs keys, a lower bound of timestamps needs each
 * timestamp) or where the header already shows that some record is wrong and Kafka names which (KIP-467).
 *
 * The header's largest timestamp is believed, where Kafka computes it again from the records: that would cost a walk over every
 * record of every topic and a second checksum, and what depends on it (time look-up, retention) concerns only the topic of the
 * client that lied. A bound keeps the worst lie out: no batch claims to be from later than `message.timestamp.after.max.ms`,
 * which would keep its segment for ever. Look-ups by time read the records, so they never answer with a timestamp of no record.
 */
import { ErrorCode } from '../../protocol/error-codes.js'
import * as header from '../../protocol/batch-header.js'
import { crc32c } from '../../crc32c.js'
import { checkRecords } from './check-records.js'
import type { AppendRefusal } from './partition.js'

const CODEC_MAX = 4
/** Length, attributes, two deltas, two lengths, header count: a record has no fewer bytes. */
const RECORD_BYTES_MIN = 7

export const OPENED_BYTES_MAX = 128 * 1024 * 1024

/** The topic settings that decide about a batch, under Kafka's names. */
export interface BatchRules {
  readonly 'max.message.bytes': number
  readonly 'max.decompressed.message.bytes': number
  readonly 'segment.bytes': number
  readonly 'compression.type': string
  readonly 'cleanup.policy': readonly string[]
  readonly 'message.timestamp.type': string
  readonly 'message.timestamp.before.max.ms': number
  readonly 'message.timestamp.after.max.ms': number
}

export function checkBatch (batch: Buffer, rules: BatchRules, nowMs: number): AppendRefusal | undefined {
  const size = batch.length
  if (size < header.BATCH_HEADER_BYTES) {
    return refuse(ErrorCode.CORRUPT_MESSAGE, `A record batch has at least ${header.BATCH_HEADER_BYTES} bytes, this one has ${size}`)
  }
  const magic = batch[header.MAGIC_AT]!
  if (magic !== 2) return refuse(ErrorCode.INVALID_RECORD, `Only record batches of magic version 2 are accepted, this one has ${magic}`)
  const claimedBytes = header.batchBytes(batch)
  if (claimedBytes > size || claimedBytes < header.BATCH_HEADER_BYTES) {
    return refuse(ErrorCode.CORRUPT_MESSAGE, `The record batch says it has ${claimedBytes} bytes, it has ${size}`)
  }
  if (claimedBytes < size) return refuse(ErrorCode.INVALID_RECORD, 'A produce request must contain exactly one record batch per partition')
  const tooLarge = checkSize(size, rules)
  if (tooLarge !== undefined) return tooLarge
  if (crc32c(header.checksummed(batch)) !== header.checksum(batch)) {
    return refuse(ErrorCode.CORRUPT_MESSAGE, 'The record batch does not match its CRC-32C: it was damaged on its way')
  }
  return checkHeader(batch) ?? checkContents(batch, rules, nowMs)
}

/** The limits on the stored batch. Where the broker compresses, the size that counts is known only after that. */
export function checkSize (size: number, rules: BatchRules): AppendRefusal | undefined {
  if (size > rules['max.message.bytes']) {
    return refuse(ErrorCode.MESSAGE_TOO_LARGE, `The record batch has ${size} bytes, the topic allows ${rules['max.message.bytes']} (max.message.bytes)`)
  }
  if (size > rules['segment.bytes']) {
    return refuse(ErrorCode.RECORD_LIST_TOO_LARGE, `The record batch has ${size} bytes, a segment ${rules['segment.bytes']} (segment.bytes)`)
  }
  return undefined
}

/** Bytes of records that one batch may open to: what the topic says, and bearable. */
export function openedBytesMax (rules: BatchRules): number {
  return Math.min(rules['max.decompressed.message.bytes'], OPENED_BYTES_MAX)
}

function checkHeader (batch: Buffer): AppendRefusal | undefined {
  if (header.baseOffset(batch) !== 0) {
    return refuse(ErrorCode.INVALID_RECORD, 'The base offset of a produced record batch must be 0')
  }
  const recordCount = header.recordCount(batch)
  if (recordCount <= 0) return refuse(ErrorCode.INVALID_RECORD, `The record batch says it has ${recordCount} records`)
  if (header.lastOffsetDelta(batch) !== recordCount - 1) {
    return refuse(ErrorCode.INVALID_RECORD, `The record batch has ${recordCount} records but spans ${header.lastOffsetDelta(batch) + 1} offsets`)
  }
  if (header.codec(batch) === 0 && recordCount > (batch.length - header.BATCH_HEADER_BYTES) / RECORD_BYTES_MIN) {
    return refuse(ErrorCode.INVALID_RECORD, `${recordCount} records do not fit into a batch of ${batch.length} bytes`)
  }
  if (header.isControl(batch)) return refuse(ErrorCode.INVALID_RECORD, 'Clients must not write control records')
  if (header.codec(batch) > CODEC_MAX) {
    return refuse(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, `Compression type ${header.codec(batch)} is unknown`)
  }
  const producerId = header.producerId(batch)
  if (producerId === -1) {
    return !header.isTransactional(batch) ? undefined : refuse(ErrorCode.INVALID_RECORD, 'A transactional record batch needs a producer id')
  }
  if (header.isTransactional(batch)) {
    // What Kafka answers when the coordinator does not know the batch's transaction (KIP-890).
    return refuse(ErrorCode.INVALID_PRODUCER_ID_MAPPING, 'The record batch belongs to no transaction that this broker knows')
  }
  if (producerId < 0 || !Number.isSafeInteger(producerId)) return refuse(ErrorCode.INVALID_PRODUCER_ID_MAPPING, `This broker never gave the producer id ${producerId}`)
  if (header.firstSequence(batch) < 0 || header.producerEpoch(batch) < 0) {
    return refuse(ErrorCode.INVALID_RECORD, `Sequence ${header.firstSequence(batch)} of producer ${producerId}, epoch ${header.producerEpoch(batch)}, is not valid`)
  }
  return undefined
}

/** Timestamps, and with them all that only the records can tell. */
function checkContents (batch: Buffer, rules: BatchRules, nowMs: number): AppendRefusal | undefined {
  const keyNeeded = rules['cleanup.policy'].includes('compact')
  const timestampsAreOurs = rules['message.timestamp.type'] === 'LogAppendTime'
  if (!timestampsAreOurs && header.hasLogAppendTime(batch)) {
    return refuse(ErrorCode.INVALID_TIMESTAMP, 'Producers must not set the timestamp type LogAppendTime')
  }
  const timestampMinMs = timestampsAreOurs ? -Infinity : nowMs - rules['message.timestamp.before.max.ms']
  const timestampMaxMs = timestampsAreOurs ? Infinity : nowMs + rules['message.timestamp.after.max.ms']
  const isTooYoung = header.timestampMaxMs(batch) > timestampMaxMs
  if (!keyNeeded && !isTooYoung && timestampMinMs <= 0) return undefined
  const refusal = checkRecords(batch, { keyNeeded, timestampMinMs, timestampMaxMs }, openedBytesMax(rules))
  if (refusal !== undefined || !isTooYoung) return refusal
  return refuse(ErrorCode.INVALID_TIMESTAMP, `The batch's largest timestamp is said to be ${header.timestampMaxMs(batch)}, which no record has`)
}

function refuse (errorCode: ErrorCode, errorMessage: string): AppendRefusal {
  return { errorCode, errorMessage }
}
