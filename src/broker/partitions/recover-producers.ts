/**
 * Rebuilds what a partition knew of its producers from the headers of its batches. Replaying a batch twice is harmless only at
 * the same state, so it starts exactly where the snapshot ends.
 */
import type { Log } from '../../log/log.js'
import * as header from '../../protocol/batch-header.js'
import { afterAppend, type ProducerBatch, type ProducerEntry } from './producer-state.js'

const READ_BYTES = 4 * 1024 * 1024

/** The producer's part of the batch that begins at byte `at`; undefined for a batch without one, and for control batches. */
export function readProducerBatch (bytes: Buffer, at: number): ProducerBatch | undefined {
  const producerId = header.producerId(bytes, at)
  if (producerId < 0 || header.isControl(bytes, at)) return undefined
  return {
    producerId,
    producerEpoch: header.producerEpoch(bytes, at),
    firstSequence: header.firstSequence(bytes, at),
    recordCount: header.lastOffsetDelta(bytes, at) + 1
  }
}

/**
 * Adds to `producers` what the log's batches from `fromOffset` on say, and returns it. The log does not tell when a batch was
 * appended, so its producer's expiry counts from `nowMs`.
 */
export async function replayProducers (log: Log, producers: Map<number, ProducerEntry>, fromOffset: number, nowMs: number): Promise<Map<number, ProducerEntry>> {
  let offset = Math.max(fromOffset, log.startOffset)
  while (offset < log.committedEndOffset) {
    const read = await log.read(offset, { bytesMax: READ_BYTES, atLeastOneEntry: true })
    if (read.bytes === 0) break
    const bytes = read.parts.length === 1 ? read.parts[0]! : Buffer.concat(read.parts)
    for (let at = 0; at < bytes.length; at += header.batchBytes(bytes, at)) {
      const batch = readProducerBatch(bytes, at)
      if (batch === undefined) continue
      const logAppendTimeMs = header.hasLogAppendTime(bytes, at) ? header.timestampMaxMs(bytes, at) : -1
      producers.set(batch.producerId, afterAppend(producers.get(batch.producerId), batch, header.baseOffset(bytes, at), logAppendTimeMs, nowMs))
    }
    offset = read.nextOffset
  }
  return producers
}
