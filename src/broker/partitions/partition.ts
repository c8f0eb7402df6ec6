/**
 * One partition: a log of record batches and what Kafka promises about it (checks, sequences, high watermark).
 */
import type { LogRead, ReadOptions, SegmentInfo } from '../../log/log.js'
import type { Refusal } from '../../protocol/error-codes.js'

export { openPartition, partitionLogName, partitionLogNames, type PartitionConfig, type PartitionOptions } from './log-partition.js'

/** What a produced batch got. */
export interface Appended {
  /** Offset of the first record; that of the first try for an exact duplicate of an idempotent producer's batch. */
  readonly baseOffset: number
  /** Wall time in ms given by the broker (message.timestamp.type=LogAppendTime), else -1. */
  readonly logAppendTimeMs: number
  readonly logStartOffset: number
  /** Resolves when the batch is committed; a refusal (KAFKA_STORAGE_ERROR) when it never will be. Never rejects. */
  readonly committed: Promise<Refusal | undefined>
}

/** A refusal of a batch, with the records that caused it where Kafka names them (KIP-467). */
export interface AppendRefusal extends Refusal {
  readonly recordErrors?: readonly { readonly batchIndex: number, readonly message: string | null }[]
}

export interface OffsetAndTimestamp {
  readonly offset: number
  readonly timestampMs: number
}

/** What was done with a partition since the broker started. */
export interface Traffic {
  /** Accepted. */
  recordsIn: number
  bytesIn: number
  /** Read for consumers. */
  bytesOut: number
  /** Batches that were refused, at once or because they could not be written. */
  refusedCount: number
}

export interface Partition {
  readonly topicName: string
  readonly index: number
  /** One broker, one leader, for ever: 0. */
  readonly leaderEpoch: number
  readonly logStartOffset: number
  /** First offset that consumers do not see yet; everything below is committed. */
  readonly highWatermark: number
  /** First offset after the last batch accepted, committed or not. */
  readonly logEndOffset: number
  /** First offset of the oldest open transaction, else the high watermark: where read_committed ends. */
  readonly lastStableOffset: number
  readonly bytes: number
  readonly traffic: Readonly<Traffic>
  /** Why it takes no records until its log is open again; undefined while all is well, and once it is closed. */
  readonly failure: Refusal | undefined
  /** When the oldest batch was appended that is not committed yet, on the monotonic clock; undefined when there is none. */
  readonly waitingSinceMs: number | undefined

  /**
   * Checks one batch from a client and appends it. Synchronous up to the offset, so the order of calls is the order of
   * offsets; the caller may reuse `batch` when this returns (leader epoch and, where the topic says so, timestamps are
   * written into it).
   */
  append (batch: Buffer, origin: 'client' | 'broker'): Appended | AppendRefusal
  /** Whole batches from the one that contains `offset`, below the high watermark. Storage errors are refusals. */
  read (offset: number, options: ReadOptions): Promise<LogRead | Refusal>
  /** As `Log.borrow`, for consumers: at once where nothing has to be waited for, and to be released. */
  borrow (offset: number, options: ReadOptions): LogRead | Refusal | Promise<LogRead | Refusal>
  /** Exact to the record; null when no record is that young. */
  offsetForTimestamp (timestampMs: number): Promise<OffsetAndTimestamp | null | Refusal>
  /** The first record with the largest timestamp; null for an empty partition. */
  offsetOfTimestampMax (): Promise<OffsetAndTimestamp | null | Refusal>
  /** Moves the log start offset (DeleteRecords, retention). */
  truncateFront (offset: number): Promise<Refusal | undefined>
  /** Seals the last segment: the next batch begins a new one. */
  roll (): Promise<Refusal | undefined>
  segments (): readonly SegmentInfo[]
  /**
   * Calls `listener` whenever the high watermark moved or the partition was closed. Returns the unsubscribe function. A
   * listener must not throw.
   */
  onAdvance (listener: () => void): () => void
  close (): Promise<void>
}
