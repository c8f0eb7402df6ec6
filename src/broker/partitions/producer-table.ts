/**
 * The idempotent producers of one partition: who they are and what they sent last. Rebuilt at a start from the newest snapshot and
 * the headers of the batches after it; replaying starts exactly where the snapshot ends, because a batch counts once.
 */
import * as header from '../../protocol/batch-header.js'
import type { Log } from '../../log/log.js'
import { decodeSnapshot, encodeSnapshot } from './producer-snapshot.js'
import { afterAppend, isExpired, type ProducerBatch, type ProducerEntry } from './producer-state.js'

const READ_BYTES = 4 * 1024 * 1024
/** How often expired producers are looked for, to be free of them (Kafka: producer.id.expiration.check.interval.ms). */
const SWEEP_INTERVAL_MS = 600_000

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

export class ProducerTable {
  #entries = new Map<number, ProducerEntry>()
  readonly #expirationMs: number
  #sweptMs: number

  constructor (expirationMs: number, nowMs: number) {
    this.#expirationMs = expirationMs
    this.#sweptMs = nowMs
  }

  get size (): number { return this.#entries.size }

  /** undefined for a producer that is unknown or has been quiet for too long. */
  get (producerId: number, nowMs: number): ProducerEntry | undefined {
    const entry = this.#entries.get(producerId)
    return entry === undefined || isExpired(entry, nowMs, this.#expirationMs) ? undefined : entry
  }

  appended (entry: ProducerEntry | undefined, batch: ProducerBatch, baseOffset: number, logAppendTimeMs: number, nowMs: number): void {
    this.#entries.set(batch.producerId, afterAppend(entry, batch, baseOffset, logAppendTimeMs, nowMs))
    if (nowMs - this.#sweptMs >= SWEEP_INTERVAL_MS) this.#sweep(nowMs)
  }

  /** What is known up to `offset`, which is the end of the log now. */
  snapshot (offset: number, nowMs: number): Buffer {
    this.#sweep(nowMs)
    return encodeSnapshot({ offset, producers: this.#entries })
  }

  /**
   * Brings an empty table up to date with a log. Returns the bytes of the log that no snapshot covers. The log does not tell
   * when a batch was appended, so the expiry of its producer counts from `nowMs`.
   */
  async recover (log: Log, snapshotBytes: Buffer | undefined, nowMs: number): Promise<number> {
    const snapshot = snapshotBytes === undefined ? null : decodeSnapshot(snapshotBytes)
    let offset = log.startOffset
    // A snapshot is stored after its records are; one that is ahead belongs to a log that lost its end to something else.
    if (snapshot !== null && snapshot.offset <= log.endOffset) {
      this.#entries = snapshot.producers
      offset = Math.max(offset, snapshot.offset)
    }
    let bytesRead = 0
    while (offset < log.committedEndOffset) {
      const read = await log.read(offset, { bytesMax: READ_BYTES, atLeastOneEntry: true })
      if (read.bytes === 0) break
      this.#replay(read.parts.length === 1 ? read.parts[0]! : Buffer.concat(read.parts), nowMs)
      bytesRead += read.bytes
      offset = read.nextOffset
    }
    return bytesRead
  }

  #replay (bytes: Buffer, nowMs: number): void {
    for (let at = 0; at < bytes.length; at += header.batchBytes(bytes, at)) {
      const batch = readProducerBatch(bytes, at)
      if (batch === undefined) continue
      const logAppendTimeMs = header.hasLogAppendTime(bytes, at) ? header.timestampMaxMs(bytes, at) : -1
      this.appended(this.#entries.get(batch.producerId), batch, header.baseOffset(bytes, at), logAppendTimeMs, nowMs)
    }
  }

  #sweep (nowMs: number): void {
    this.#sweptMs = nowMs
    for (const [producerId, entry] of this.#entries) {
      if (isExpired(entry, nowMs, this.#expirationMs)) this.#entries.delete(producerId)
    }
  }
}
