/** Atomic batches that are larger than an entry: the parts that they are written in (entry.ts). */
import { ENTRY_HEADER_BYTES, finishEntry } from './entry.js'
import { prepareRecord, writeRecord, type Bytes, type PreparedRecord, type RecordInput } from './record.js'

/** A batch up to this size is one entry. */
export const BATCH_ENTRY_BYTES_MAX = 4 * 1024 * 1024

/** The next part of a batch: as many records as go into an entry, and always one. */
export function buildPart (batch: ReadonlyArray<Bytes | RecordInput>, from: number, nowMs: number, segmentBytesMax: number): { readonly entry: Buffer, readonly count: number } {
  const bytesMax = Math.min(BATCH_ENTRY_BYTES_MAX, segmentBytesMax)
  const prepared: PreparedRecord[] = []
  let bytes = ENTRY_HEADER_BYTES
  let timestampMaxMs = nowMs
  for (let index = from; index < batch.length; index++) {
    const record = prepareRecord(batch[index]!)
    if (prepared.length > 0 && bytes + record.bytes > bytesMax) break
    prepared.push(record)
    bytes += record.bytes
    timestampMaxMs = Math.max(timestampMaxMs, record.timestampMs)
  }
  const entry = Buffer.allocUnsafeSlow(bytes)
  let at = ENTRY_HEADER_BYTES
  for (const record of prepared) at = writeRecord(entry, at, record)
  finishEntry(entry, { recordCount: prepared.length, timestampMaxMs, timestampMs: nowMs, batchIndex: from, batchCount: batch.length })
  return { entry, count: prepared.length }
}
