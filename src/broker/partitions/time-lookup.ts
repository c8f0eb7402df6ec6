/** Finds records by time in a log of record batches. */
import type { Log } from '../../log/log.js'
import type { OffsetAndTimestamp } from './partition.js'

export async function findTimestamp (log: Log, timestampMs: number): Promise<OffsetAndTimestamp | null> {
  const entry = await log.entryAtTimestamp(timestampMs)
  return entry === null ? null : { offset: Math.max(entry.baseOffset, log.startOffset), timestampMs: entry.timestampMaxMs }
}

export async function findTimestampMax (log: Log): Promise<OffsetAndTimestamp | null> {
  const entry = await log.entryWithTimestampMax()
  return entry === null ? null : { offset: Math.max(entry.baseOffset, log.startOffset), timestampMs: entry.timestampMaxMs }
}
