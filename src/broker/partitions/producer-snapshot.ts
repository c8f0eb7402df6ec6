/**
 * The stored form of a partition's producers at an offset: everything that the batches below it said. A restart reads the
 * newest snapshot and replays only the headers of the batches from its offset on.
 */
import type { ProducerEntry, RememberedBatch } from './producer-state.js'

export interface ProducerSnapshot {
  /** The state covers every batch below it. */
  readonly offset: number
  readonly producers: Map<number, ProducerEntry>
}

const FORMAT = 1
const HEADER_BYTES = 2 + 8 + 4
const PRODUCER_BYTES = 8 + 2 + 8 + 1
const BATCH_BYTES = 4 + 4 + 8 + 4 + 8

export function encodeSnapshot ({ offset, producers }: ProducerSnapshot): Buffer {
  let size = HEADER_BYTES
  for (const entry of producers.values()) size += PRODUCER_BYTES + BATCH_BYTES * entry.batches.length
  const out = Buffer.allocUnsafe(size)
  out.writeInt16BE(FORMAT, 0)
  writeInt64(out, offset, 2)
  out.writeInt32BE(producers.size, 10)
  let at = HEADER_BYTES
  for (const [producerId, entry] of producers) {
    writeInt64(out, producerId, at)
    out.writeInt16BE(entry.epoch, at + 8)
    writeInt64(out, entry.lastAppendMs, at + 10)
    out.writeInt8(entry.batches.length, at + 18)
    at += PRODUCER_BYTES
    for (const batch of entry.batches) {
      out.writeInt32BE(batch.firstSequence, at)
      out.writeInt32BE(batch.lastSequence, at + 4)
      writeInt64(out, batch.baseOffset, at + 8)
      out.writeInt32BE(batch.recordCount, at + 16)
      writeInt64(out, batch.logAppendTimeMs, at + 20)
      at += BATCH_BYTES
    }
  }
  return out
}

/** null for a format that this version does not know: the state is then rebuilt from the log. */
export function decodeSnapshot (bytes: Buffer): ProducerSnapshot | null {
  if (bytes.length < HEADER_BYTES || bytes.readInt16BE(0) !== FORMAT) return null
  const producers = new Map<number, ProducerEntry>()
  let at = HEADER_BYTES
  for (let left = bytes.readInt32BE(10); left > 0; left--) {
    if (at + PRODUCER_BYTES > bytes.length) return null
    const producerId = readInt64(bytes, at)
    const epoch = bytes.readInt16BE(at + 8)
    const lastAppendMs = readInt64(bytes, at + 10)
    const batchCount = bytes.readInt8(at + 18)
    at += PRODUCER_BYTES
    if (batchCount < 1 || at + batchCount * BATCH_BYTES > bytes.length) return null
    const batches: RememberedBatch[] = []
    for (let i = 0; i < batchCount; i++, at += BATCH_BYTES) {
      batches.push({
        firstSequence: bytes.readInt32BE(at),
        lastSequence: bytes.readInt32BE(at + 4),
        baseOffset: readInt64(bytes, at + 8),
        recordCount: bytes.readInt32BE(at + 16),
        logAppendTimeMs: readInt64(bytes, at + 20)
      })
    }
    producers.set(producerId, { epoch, lastAppendMs, batches })
  }
  return { offset: readInt64(bytes, 2), producers }
}

function writeInt64 (out: Buffer, value: number, at: number): void {
  out.writeBigInt64BE(BigInt(value), at)
}

function readInt64 (bytes: Buffer, at: number): number {
  return Number(bytes.readBigInt64BE(at))
}
