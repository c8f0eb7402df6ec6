/**
 * State that survives: a partition of keyed records that is replayed at start and compacted by writing the live state again.
 * Topics, ids and settings (`__cluster_metadata`) and group state (`__consumer_offsets`) both live in such partitions.
 *
 * Records appended together are one batch: after a crash all of them are there or none. Compaction appends the live records,
 * waits until they are committed, then moves the start up to them: a crash at any point leaves the old records, or the old ones and
 * then the new, and replaying either gives the same state.
 */
import type { Refusal } from '../protocol/error-codes.js'
import { batchBytes } from '../protocol/batch-header.js'
import { decodeBatch, encodeBatch, type NewRecord } from '../protocol/records.js'
import type { Clock } from './clock.js'
import type { Partition } from './partitions/partition.js'

export interface StateRecord {
  readonly key: Buffer
  /** null deletes the key. */
  readonly value: Buffer | null
}

const READ_BYTES = 1024 * 1024
const BATCH_BYTES_MAX = 512 * 1024
/** A log is compacted when it is this many times as long as its live state, and not shorter than COMPACT_BYTES_MIN. */
const COMPACT_RATIO = 4
const COMPACT_BYTES_MIN = 1024 * 1024

export class StateLog {
  private liveBytes = 0
  /** Bytes from the start on. The partition's own count has those before it, too, for as long as they share a segment. */
  private lengthBytes = 0
  /** Appended, but not committed and applied: not part of the live state yet, so no compaction may drop them. */
  private appendsInFlight = 0
  private compacting = false

  constructor (private readonly partition: Pick<Partition, 'append' | 'read' | 'truncateFront' | 'logStartOffset' | 'logEndOffset' | 'highWatermark'>, private readonly clock: Clock) {}

  /** Calls `apply` with every record, oldest first. Throws when the log cannot be read. */
  async replay (apply: (record: StateRecord, timestampMs: number) => void): Promise<void> {
    let offset = this.partition.logStartOffset
    while (offset < this.partition.highWatermark) {
      const read = await this.partition.read(offset, { bytesMax: READ_BYTES, atLeastOneEntry: true })
      if ('errorCode' in read) throw new Error(`the broker's state cannot be read: ${read.errorMessage}`)
      if (read.bytes === 0) return
      const bytes = read.parts.length === 1 ? read.parts[0]! : Buffer.concat(read.parts)
      for (let at = 0; at < bytes.length; at += batchBytes(bytes, at)) this.replayBatch(bytes.subarray(at), offset, apply)
      this.lengthBytes += bytes.length
      offset = read.nextOffset
    }
  }

  /**
   * Appends records in one batch. When it is committed, `apply` is called, which must put the records into the live state; resolves
   * then, or with the refusal when the batch never will be committed.
   */
  async append (records: readonly StateRecord[], apply: () => void): Promise<Refusal | undefined> {
    this.appendsInFlight++
    try {
      const refusal = await this.write(records)
      if (refusal === undefined) apply()
      return refusal
    } finally {
      this.appendsInFlight--
    }
  }

  /** Compacts if it is worth it and nothing is in flight. `live` is walked at once. */
  async compactIfLong (live: () => Iterable<StateRecord>): Promise<void> {
    if (this.appendsInFlight > 0) return
    if (this.compacting || this.lengthBytes < Math.max(COMPACT_BYTES_MIN, this.liveBytes * COMPACT_RATIO)) return
    await this.compact(live)
  }

  private async compact (live: () => Iterable<StateRecord>): Promise<void> {
    this.compacting = true
    try {
      const newStart = this.partition.logEndOffset
      const bytesBefore = this.lengthBytes
      const commits = [...batches(live())].map((batch) => this.write(batch))
      this.liveBytes = this.lengthBytes - bytesBefore
      const refusals = await Promise.all(commits)
      if (refusals.some((refusal) => refusal !== undefined)) return
      if (await this.partition.truncateFront(newStart) === undefined) this.lengthBytes -= bytesBefore
    } finally {
      this.compacting = false
    }
  }

  private async write (records: readonly StateRecord[]): Promise<Refusal | undefined> {
    const batch = encodeBatch(this.stamped(records))
    const appended = this.partition.append(batch, 'broker')
    if (!('committed' in appended)) return appended
    this.lengthBytes += batch.length
    return await appended.committed
  }

  private replayBatch (batch: Buffer, fromOffset: number, apply: (record: StateRecord, timestampMs: number) => void): void {
    const refuse = (): never => { throw new Error('a batch of state is compressed, which this broker never writes') }
    for (const { offset, key, value, timestampMs } of decodeBatch(batch, refuse, 0)) {
      if (key !== null && offset >= fromOffset) apply({ key, value }, timestampMs)
    }
  }

  private stamped (records: readonly StateRecord[]): NewRecord[] {
    const timestampMs = this.clock.now()
    return records.map(({ key, value }) => ({ key, value, timestampMs }))
  }
}

/** Groups records into batches of a size that any log takes. */
function * batches (records: Iterable<StateRecord>): Generator<StateRecord[]> {
  let batch: StateRecord[] = []
  let bytes = 0
  for (const record of records) {
    batch.push(record)
    bytes += record.key.length + (record.value?.length ?? 0)
    if (bytes >= BATCH_BYTES_MAX) {
      yield batch
      batch = []
      bytes = 0
    }
  }
  if (batch.length > 0) yield batch
}
