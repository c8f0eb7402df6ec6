/**
 * State that survives: a log of keyed records that is replayed at start and compacted by writing the live state again.
 * Topics, ids and settings (`__cluster_metadata`) and group state (`__consumer_offsets`) both live in such logs, as Kafka
 * record batches.
 *
 * Compaction appends the live records, waits until they are on stable storage, then moves the log's start up to them: a crash
 * at any point leaves either the old records or both, and replaying both gives the same state.
 */
export interface StateRecord {
  readonly key: Buffer
  /** null deletes the key. */
  readonly value: Buffer | null
}
