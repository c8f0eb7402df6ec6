/**
 * Finds records by time in a log of record batches, exact to the record: the log finds the batch, and the batch is opened. A
 * batch whose records cannot be read (they are never opened when they are produced) answers as a whole.
 */
import type { Log } from '../../log/log.js'
import { baseOffset, batchBytes, timestampMaxMs } from '../../protocol/batch-header.js'
import { CodecUnavailableError, decompress } from '../../protocol/compression.js'
import { ProtocolError } from '../../protocol/protocol-error.js'
import { decodeBatch } from '../../protocol/records.js'
import { OPENED_BYTES_MAX } from './check-batch.js'
import type { OffsetAndTimestamp } from './partition.js'

const READ_BYTES = 1024 * 1024

/** The first committed record that is at least as young as `timestampMs`; null when there is none. */
export async function findTimestamp (log: Log, timestampMs: number): Promise<OffsetAndTimestamp | null> {
  const entry = await log.entryAtTimestamp(timestampMs)
  return entry === null ? null : await findFrom(log, entry.baseOffset, timestampMs)
}

/** The first committed record with the largest timestamp; null for an empty log. */
export async function findTimestampMax (log: Log): Promise<OffsetAndTimestamp | null> {
  const entry = await log.entryWithTimestampMax()
  return entry === null ? null : await findFrom(log, entry.baseOffset, entry.timestampMaxMs)
}

/**
 * Goes on to later batches where one promised more than it has: its young records lie below the log's start, or its header told
 * another time than its records.
 */
async function findFrom (log: Log, fromOffset: number, timestampMs: number): Promise<OffsetAndTimestamp | null> {
  let offset = Math.max(fromOffset, log.startOffset)
  while (offset < log.committedEndOffset) {
    const read = await log.read(offset, { bytesMax: READ_BYTES, atLeastOneEntry: true })
    if (read.bytes === 0) return null
    const bytes = read.parts.length === 1 ? read.parts[0]! : Buffer.concat(read.parts)
    for (let at = 0; at < bytes.length; at += batchBytes(bytes, at)) {
      if (timestampMaxMs(bytes, at) < timestampMs) continue
      const found = findInBatch(bytes.subarray(at, at + batchBytes(bytes, at)), timestampMs, log.startOffset)
      if (found !== null) return found
    }
    offset = read.nextOffset
  }
  return null
}

function findInBatch (batch: Buffer, timestampMs: number, startOffset: number): OffsetAndTimestamp | null {
  try {
    for (const record of decodeBatch(batch, decompress, OPENED_BYTES_MAX)) {
      if (record.timestampMs >= timestampMs && record.offset >= startOffset) return { offset: record.offset, timestampMs: sendable(record.timestampMs) }
    }
    return null
  } catch (error) {
    if (!(error instanceof ProtocolError || error instanceof CodecUnavailableError)) throw error
    return { offset: Math.max(baseOffset(batch), startOffset), timestampMs: sendable(timestampMaxMs(batch)) }
  }
}

/** Records may claim times that no calendar has; what is answered has to fit a response. */
function sendable (timestampMs: number): number {
  return Math.min(timestampMs, Number.MAX_SAFE_INTEGER)
}
