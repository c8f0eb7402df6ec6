/**
 * The contract that every log keeps: ordered, durable entries. Knows nothing of Kafka.
 *
 * A `LogStore` owns one folder (or none, in memory) and hands out logs by name. A `Log` is a sequence of opaque entries; an
 * entry covers one offset or a run of offsets, and `EntryLayout` says where in its header the numbers stand. One contract
 * suite (test/contract/) runs against every implementation.
 */

/**
 * Where the numbers stand in an entry's header: plain byte positions, all integers big-endian. An entry is
 * `int32(lengthAt) + lengthExtraBytes` bytes long and covers the offsets `base .. base + int32(lastOffsetDeltaAt)`.
 */
export interface EntryLayout {
  /** Bytes of the fixed header; no entry is shorter. */
  readonly headerBytes: number
  /** int64: the offset of the entry's first record. Written by the log, so it must lie outside the checksum. */
  readonly baseOffsetAt: number
  /** int32: bytes that follow; the entry's size is this plus `lengthExtraBytes`. */
  readonly lengthAt: number
  readonly lengthExtraBytes: number
  /** int8: format number that every entry of this layout carries; anything else is not an entry. */
  readonly magicAt: number
  readonly magic: number
  /** uint32: CRC-32C (Castagnoli, RFC 3720) of the bytes from `checksumFrom` to the entry's end. */
  readonly checksumAt: number
  readonly checksumFrom: number
  /** int32: offset of the entry's last record minus that of its first. */
  readonly lastOffsetDeltaAt: number
  /** int64: largest timestamp of the entry's records, in ms since the epoch; negative means none. */
  readonly timestampMaxAt: number
}

/** Kafka's record batch, format v2 (KIP-98): a segment file is a plain run of batches. */
export const RECORD_BATCH_LAYOUT: EntryLayout = {
  headerBytes: 61,
  baseOffsetAt: 0,
  lengthAt: 8,
  lengthExtraBytes: 12,
  magicAt: 16,
  magic: 2,
  checksumAt: 17,
  checksumFrom: 21,
  lastOffsetDeltaAt: 23,
  timestampMaxAt: 35
}

/**
 * When an append counts as committed.
 * `each`: when it is on stable storage. `interval`, `bytes`: as soon as it is accepted; the log flushes at the latest after so
 * many milliseconds or bytes. `none`: as soon as it is accepted; the operating system decides.
 * What is accepted is written, and with the first two flushed, when the process exits by itself; not when it is killed.
 */
export type FlushPolicy =
  | { readonly kind: 'each' }
  | { readonly kind: 'interval', readonly intervalMs: number }
  | { readonly kind: 'bytes', readonly bytes: number }
  | { readonly kind: 'none' }

/**
 * What sealed segments are compressed with, in the background: zstd makes them smaller, lz4 is opened and made faster. Positions, offsets
 * and sizes in plain bytes stay as they are; a segment that would not get smaller by a tenth stays plain.
 */
export const SEGMENT_COMPRESSIONS = ['none', 'zstd', 'lz4'] as const
export type SegmentCompression = typeof SEGMENT_COMPRESSIONS[number]

export interface LogOptions {
  readonly layout: EntryLayout
  /** A segment is rolled before an entry that would make it larger than this. Default 1 GiB. */
  readonly segmentBytesMax?: number
  /** A segment with so many entries is rolled before the next one. Default: no limit. */
  readonly segmentEntriesMax?: number
  /**
   * A segment is rolled before an entry that comes so many milliseconds or more after its first one was appended, by the wall clock. An
   * idle log keeps its segment: `roll()` seals it. Default: no limit.
   */
  readonly segmentAgeMsMax?: number
  /** Default: the store's policy, which is `each` unless said. */
  readonly flushPolicy?: FlushPolicy
  /** Default: the store's, which is `none` unless said. What is compressed already stays so, and can always be read. */
  readonly segmentCompression?: SegmentCompression
}

/** What `Log.append` returns at once. */
export interface PendingAppend {
  /** Offset given to the entry's first record. */
  readonly baseOffset: number
  /**
   * Resolves when the entry is committed as the flush policy says (and, with it, every entry before it); rejects with a
   * `LogError` when it never will be. A rejection that nobody handles is not reported as unhandled.
   */
  readonly committed: Promise<void>
}

/** Whole entries, in order, as views that stay valid for as long as they are referenced. */
export interface LogRead {
  /** One or more buffers whose concatenation is a run of whole entries. Empty at the end of the log. */
  readonly parts: readonly Buffer[]
  /** Sum of the lengths of `parts`. */
  readonly bytes: number
  /** First offset after the last entry returned; the offset asked for when nothing was. */
  readonly nextOffset: number
  /**
   * Nobody looks at the parts any more: their memory may be used again at once. Calling it is never needed, but saves the garbage collector the
   * work of finding that out. The parts are undefined from here on.
   */
  release? (): void
}

export interface ReadOptions {
  /** Bytes to return at most. */
  readonly bytesMax: number
  /** Return the first entry even when it alone is larger than `bytesMax` (KIP-74). Default false. */
  readonly atLeastOneEntry?: boolean
  /** Return no entry that reaches this offset or lies beyond it. Default: `committedEndOffset`. */
  readonly endOffset?: number
}

/** Where an entry stands and how young it is. */
export interface EntryTimestamp {
  readonly baseOffset: number
  readonly timestampMaxMs: number
}

export interface SegmentInfo {
  readonly baseOffset: number
  /** First offset after the segment's last entry. */
  readonly endOffset: number
  /** Bytes of entries in it (not the space reserved for more), however they are stored. */
  readonly bytes: number
  readonly compression: SegmentCompression
  /** Bytes of its file: fewer than `bytes` when it is compressed. Equal to `bytes` when it is not (reserved space is not counted). */
  readonly storedBytes: number
  /** Largest timestamp of its entries, in ms since the epoch; -1 for none. */
  readonly timestampMaxMs: number
  /** Full and immutable; only the last segment is not. */
  readonly sealed: boolean
}

/** What `verifySegment` found. */
export interface SegmentVerification {
  readonly baseOffset: number
  /** First offset after the last entry that is valid and in its place. */
  readonly endOffset: number
  /** Valid ones, up to the first damage. */
  readonly entryCount: number
  /** Bytes of them. */
  readonly bytes: number
  /** That of the whole segment; `none` where none was kept: it is not sealed, or was sealed on a full disk or by an older version. */
  readonly checksum: 'right' | 'wrong' | 'none'
  /** The first damage; null for none. */
  readonly damage: SegmentDamage | null
}

export interface SegmentDamage {
  /** Empty in memory. */
  readonly file: string
  /** Byte in the file. */
  readonly position: number
  readonly what: string
}

export interface Log {
  readonly name: string
  /** First offset that can be read. */
  readonly startOffset: number
  /** Offset that the next append gets. */
  readonly endOffset: number
  /** Every entry below it is committed as the flush policy says. This is what readers see. */
  readonly committedEndOffset: number
  /** Bytes of the entries between start and end, as they were appended. */
  readonly bytes: number

  /**
   * Appends one whole entry: reserves space, stamps the base offset into the log's copy and returns at once; the caller may
   * reuse `entry` when this returns. Order of calls is order of offsets. Throws `LogError` ('full', 'failed', 'closed',
   * 'too-large', 'malformed') without any effect. The layout's checksum is trusted, not computed.
   */
  append (entry: Uint8Array): PendingAppend

  /**
   * Reads whole entries from the one that contains `offset` on (it may begin before it). `offset` may be anything from
   * `startOffset` to `endOffset`. Rejects with `LogError` 'out-of-range', 'corrupt' (names file and position), 'failed', 'closed'.
   */
  read (offset: number, options: ReadOptions): Promise<LogRead>

  /**
   * The same at less cost, for who gives the memory back: its `release` has to be called, and the parts are views of memory that belongs to
   * somebody else from then on. At once where nothing has to be waited for. Left out where reading costs no less so.
   */
  borrow? (offset: number, options: ReadOptions): LogRead | Promise<LogRead>

  /** First committed entry whose largest timestamp is at least `timestampMs`; null when there is none. */
  entryAtTimestamp (timestampMs: number): Promise<EntryTimestamp | null>
  /** The first committed entry with the largest timestamp of all; null for an empty log. */
  entryWithTimestampMax (): Promise<EntryTimestamp | null>

  /** Resolves when everything appended so far is on stable storage, whatever the policy. */
  flush (): Promise<void>
  /** Seals the last segment, so that the next append starts a new one. No effect on an empty segment. */
  roll (): Promise<void>
  /**
   * Moves `startOffset` up to `offset` (at most `committedEndOffset`), durably, and frees the segments that lie wholly below it.
   * Entries that contain the new start stay readable as a whole.
   */
  truncateFront (offset: number): Promise<void>
  segments (): readonly SegmentInfo[]
  /**
   * The committed entries of one segment, in runs of whole entries of at most `bytesMax` bytes (default 1 MiB), or of one entry. Throws
   * `LogError` as `read` does, and 'out-of-range' when no segment begins at `baseOffset`.
   */
  readSegment (baseOffset: number, options?: { readonly bytesMax?: number }): AsyncIterable<LogRead>
  /**
   * Reads one segment from its file, whatever is in memory: every entry, and the checksum over all of a sealed one. Damage is a result,
   * not an error. What was appended before is flushed first.
   */
  verifySegment (baseOffset: number): Promise<SegmentVerification>
  /** Commits what was appended and releases every resource. Idempotent. */
  close (): Promise<void>
}

/**
 * Which I/O a store on disk is asked to use. `auto`: the first that works here of io_uring with direct I/O, io_uring-buffered, threads (direct
 * where the file system takes it), node:fs. What was asked for and cannot be had is replaced by the next best, and the reason says so.
 * `mmap` reads through mappings and writes on threads through the page cache; it is never chosen by itself.
 */
export const BACKEND_CHOICES = ['auto', 'io_uring', 'io_uring-buffered', 'threads', 'mmap', 'node:fs'] as const
export type BackendChoice = typeof BACKEND_CHOICES[number]

/** Which I/O serves the store, for the start-up message: `name` one of the known backends, `reason` a sentence. */
export interface StorageBackend {
  readonly name: Exclude<BackendChoice, 'auto'> | 'memory'
  /** O_DIRECT is in use. */
  readonly direct: boolean
  readonly reason: string
}

/** What threads that share a store tell each other. All of it ends with the store in this thread, also when the thread is ended. */
export interface StoreSharing {
  /** From here on this thread alone has the name, whatever it stands for, until it releases it. False when another one has it. */
  claim (name: string): boolean
  release (name: string): void
  /** The other threads do not see what the log has from `offset` on until that is revealed, and all that the log has by then is committed. */
  hide (log: Log, offset: number): void
  reveal (log: Log, offset: number): void
  /** The listener is called when the committed end of the log may have moved, whoever appended, and when it fails. One for each log. */
  onChange (log: Log, listener: () => void): void
}

export interface LogStore {
  /** There if other threads may use the store, too. */
  readonly sharing?: StoreSharing
  readonly backend: StorageBackend
  readonly flushPolicy: FlushPolicy
  /** Bytes free for appends on the device; Infinity in memory. */
  bytesFree (): number
  /** Names of the logs that exist, open or not. */
  names (): Promise<readonly string[]>
  /**
   * Opens a log, recovers it, or makes an empty one. An empty log costs no file until its first append. A name is 1 to 255
   * of [A-Za-z0-9._-]. Rejects with `LogError` 'corrupt', 'denied', 'failed'; a name can be open once only ('locked').
   */
  open (name: string, options: LogOptions): Promise<Log>
  /** Deletes a log, closing it first: durable when this resolves. Missing is fine. */
  remove (name: string): Promise<void>
  /** Renames a closed log, durably. */
  rename (from: string, to: string): Promise<void>
  /** Closes every log and releases the folder. Idempotent. */
  close (): Promise<void>
}

/**
 * `full`: no space for the append, nothing was written. `failed`: a write or flush failed; the log refuses appends until it is
 * opened again, and what was not committed may or may not be there. `corrupt`: damage before the tail; names file and position.
 */
export type LogErrorCode =
  'full' | 'failed' | 'corrupt' | 'closed' | 'too-large' | 'malformed' | 'out-of-range' | 'locked' | 'denied'

export class LogError extends Error {
  override readonly name = 'LogError'
  constructor (readonly code: LogErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
  }
}
