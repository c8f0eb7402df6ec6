/**
 * What a log and a topic can be told, under the names that programs written for Walrus and nori know, too; checked, with defaults. Pure:
 * a program that wants the environment's names passes its environment.
 */
import { checkFlushPolicy, checkSegmentCompression, checkWhole, malformed, printed } from '../log/check-options.js'
import type { BackendChoice, FlushPolicy, SegmentCompression } from '../log/log.js'
import type { SegmentLimitOptions } from './segment-limits.js'

/** When an append counts as committed, under Walrus's names. */
export const FsyncSchedule = {
  /** Every append is on stable storage before it is committed. */
  SyncEach: { kind: 'each' } as FlushPolicy,
  /** Committed at once; on stable storage after so many milliseconds. */
  Milliseconds: (intervalMs: number): FlushPolicy => ({ kind: 'interval', intervalMs }),
  /** Committed at once; the operating system decides. */
  NoFsync: { kind: 'none' } as FlushPolicy
} as const

/** The same under nori's names. */
export const FsyncPolicy = {
  Always: FsyncSchedule.SyncEach,
  Batch: FsyncSchedule.Milliseconds,
  Os: FsyncSchedule.NoFsync
} as const

/** When a cursor's position is stored. */
export type Consistency =
  /** Before a record is handed out: none is handed out twice, and one that a crash caught in between not at all. */
  | 'strictly-at-once'
  /** After so many records: after a crash up to as many are handed out again. */
  | { readonly atLeastOnce: { readonly persistEvery: number } }

export const ReadConsistency = {
  StrictlyAtOnce: 'strictly-at-once' as Consistency,
  AtLeastOnce: (atLeastOnce: { readonly persistEvery: number }): Consistency => {
    const consistency: Consistency = { atLeastOnce }
    persistEvery(consistency)
    return consistency
  }
} as const

export interface TopicOptions extends SegmentLimitOptions {
  /** A segment is rolled before an entry that would make it larger. Default 1 GiB. */
  readonly segmentBytesMax?: number
  /** A segment takes nothing any more when so many milliseconds passed since its first record was appended, by the system's clock. Default: no limit. */
  readonly segmentAgeMsMax?: number
  /** Default: the log's. */
  readonly flushPolicy?: FlushPolicy
  /** What sealed segments are compressed with in the background: 'zstd' or 'lz4'. Default 'none'. */
  readonly segmentCompression?: SegmentCompression
  /** Bytes of a record, also of one that is opened. Default 512 MiB. */
  readonly recordBytesMax?: number
  /** Bytes that may wait to be written before an append is refused as 'full'. Default 1 GiB. One batch may be larger. */
  readonly pendingBytesMax?: number
}

export interface SharedOptions extends TopicOptions {
  /** Of cursors that are opened without one. Default 'strictly-at-once'. */
  readonly consistency?: Consistency
  /** Time, for timestamps and times to live. Default: the system's. */
  readonly clock?: { readonly now: () => number }
}

export interface OpenLogOptions extends SharedOptions {
  readonly dataDir: string
  /** False: a folder that has no data yet is refused ('denied'), because its disk may not be mounted. Default true. */
  readonly createIfMissing?: boolean
  /**
   * Other threads of the process open the folder, too, each with `shared: true`. Topics can be open in several threads, with the same options;
   * one thread at a time appends to a topic, and one uses a cursor. Only the native engine can. Default false.
   */
  readonly shared?: boolean
  /** Default 'auto': the native engine where its binary fits. */
  readonly backend?: BackendChoice
  /** Memory for the youngest entries of all topics together, which readers are served from; node:fs has none. Default 64 MiB. */
  readonly tailBytesMax?: number
  /** Told, once, in a sentence, when the backend that was asked for, or without one the fastest, cannot be had. */
  readonly onNotice?: (message: string) => void
}

const RECORD_BYTES_MAX_DEFAULT = 512 * 1024 * 1024
/** The size of an entry is an int32. */
const RECORD_BYTES_LIMIT = 2 ** 31 - 1024
const PENDING_BYTES_MAX_DEFAULT = 1024 ** 3
const SEGMENT_BYTES_MAX_DEFAULT = 1024 ** 3
const SEGMENT_BYTES_MIN = 1024
const ASYNC_FLUSH_MS = 1_000

export interface ResolvedTopicOptions extends Required<Pick<TopicOptions, 'flushPolicy' | 'segmentCompression' | 'segmentBytesMax' | 'recordBytesMax' | 'pendingBytesMax'>>, SegmentLimitOptions, Pick<TopicOptions, 'segmentAgeMsMax'> {}

/** What was said of the topic, else of the log, else the default. Throws LogError 'malformed' that names the option. */
export function resolveTopicOptions (topic: TopicOptions, log: TopicOptions, policy: FlushPolicy): ResolvedTopicOptions {
  const given = { ...withoutUndefined(log), ...withoutUndefined(topic) }
  const { segmentEntriesMax, segmentAgeMsMax } = given
  if (segmentEntriesMax !== undefined) checkWhole('segmentEntriesMax', segmentEntriesMax, 1)
  if (segmentAgeMsMax !== undefined) checkWhole('segmentAgeMsMax', segmentAgeMsMax, 1)
  return {
    flushPolicy: checkFlushPolicy(given.flushPolicy ?? policy),
    segmentCompression: checkSegmentCompression(given.segmentCompression ?? 'none'),
    segmentBytesMax: checkWhole('segmentBytesMax', given.segmentBytesMax ?? SEGMENT_BYTES_MAX_DEFAULT, SEGMENT_BYTES_MIN),
    recordBytesMax: Math.min(RECORD_BYTES_LIMIT, checkWhole('recordBytesMax', given.recordBytesMax ?? RECORD_BYTES_MAX_DEFAULT, 1)),
    pendingBytesMax: checkWhole('pendingBytesMax', given.pendingBytesMax ?? PENDING_BYTES_MAX_DEFAULT, 1),
    ...(segmentEntriesMax !== undefined && { segmentEntriesMax }),
    ...(segmentAgeMsMax !== undefined && { segmentAgeMsMax })
  }
}

/** How many records may be handed out before the position is stored: 1 for 'strictly-at-once'. */
export function persistEvery (consistency: Consistency): number {
  if (consistency === 'strictly-at-once') return 1
  if (consistency?.atLeastOnce == null) throw malformed(`a consistency is ReadConsistency.StrictlyAtOnce or ReadConsistency.AtLeastOnce({ persistEvery }), not ${printed(consistency)}`)
  return checkWhole('persistEvery', consistency.atLeastOnce.persistEvery, 1)
}

/** What the environment says, under the names that Walrus's documents use; only what is set. Throws LogError 'malformed' that names the variable. */
export function optionsFromEnvironment (environment: Readonly<Record<string, string | undefined>>): Partial<OpenLogOptions> & { readonly quiet: boolean } {
  const { WALRUS_DATA_DIR: dataDir, WALRUS_MAX_SEGMENT_ENTRIES: entries, WALRUS_FSYNC, FSYNC } = environment
  // An empty one is not set.
  const fsync = WALRUS_FSYNC || FSYNC
  return {
    quiet: isOn(environment.WALRUS_QUIET),
    ...(dataDir && { dataDir }),
    ...(isOn(environment.WALRUS_DISABLE_IO_URING) && { backend: 'threads' as const }),
    ...(entries && { segmentEntriesMax: checkWhole('WALRUS_MAX_SEGMENT_ENTRIES', Number(entries), 1) }),
    ...(fsync && { flushPolicy: flushPolicyFrom(fsync) })
  }
}

/** 'sync-each', 'no-fsync', 'async', '500ms', and nori's 'always' and 'os'. */
function flushPolicyFrom (text: string): FlushPolicy {
  const milliseconds = /^(\d+) ?ms$/i.exec(text)
  if (milliseconds !== null) return checkFlushPolicy(FsyncSchedule.Milliseconds(Number(milliseconds[1])))
  switch (text.toLowerCase()) {
    case 'sync-each': case 'always': case 'each': return FsyncSchedule.SyncEach
    case 'no-fsync': case 'none': case 'os': return FsyncSchedule.NoFsync
    case 'async': return FsyncSchedule.Milliseconds(ASYNC_FLUSH_MS)
    default: throw malformed(`FSYNC is 'sync-each', 'no-fsync', 'async' or a time like '500ms', not '${text}'`)
  }
}

/** Whether a variable says yes, wherever it is read. Empty is not set. */
export const isOn = (text: string | undefined): boolean => text !== undefined && !['', '0', 'false', 'no', 'off'].includes(text.toLowerCase())

function withoutUndefined<T extends object> (options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T
}
