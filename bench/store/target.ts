/**
 * What the load writes to and reads from, whichever interface of ours is measured. Contents are random and made before the clock starts.
 */
import type { FlushPolicy } from '../../src/log/log.js'
import type { BackendChoice } from '../../src/log/open-store.js'
import type { LatencyHistogram } from './latency.js'
import { openStoreTarget } from './store-target.js'
import { openTopicsTarget } from './topics-target.js'

export interface TargetOptions {
  /** The raw topics of `haulout/log`, or the store below them. */
  readonly api: 'topics' | 'store'
  readonly dataDir: string
  readonly logs: number
  readonly flushPolicy: FlushPolicy
  readonly bytesMin: number
  readonly bytesMax: number
  readonly backend?: BackendChoice
  /** The topics are `firstLog`, `firstLog + logStep`, ... Default 0, 1. */
  readonly firstLog?: number
  readonly logStep?: number
  /** Other threads use the store, too; for topics only. */
  readonly shared?: boolean
  /** Old segments go while new ones come: each log keeps so many, of this size. For topics only. */
  readonly retain?: { readonly segments: number, readonly segmentBytes: number }
  /** For the store only. */
  readonly uncoveredBytesMax?: number
}

export interface ReadSum {
  readonly bytes: number
  readonly entries: number
  /** Calls. */
  readonly operations: number
}

/** Through a cursor whose position is stored after so many records; 1: strictly at once, before they are handed out. */
export interface Reading {
  readonly records: 'batches' | 'single'
  readonly persistEvery: number
}

export interface Target {
  /** `bytes` counts what the user wrote, not headers. */
  append (log: number, count: number): { readonly bytes: number, readonly committed: Promise<void> }
  /** From the start to the end, or until the clock says `endMs`. */
  readAll (log: number, batchBytes: number, endMs: number): Promise<ReadSum>
  /** The same through a cursor; topics only. */
  readThrough? (log: number, reading: Reading, batchBytes: number, endMs: number, latency: LatencyHistogram): Promise<ReadSum>
  bytes (): number
  flush (): Promise<void>
  close (): Promise<void>
}

/** Of prepared contents: enough that no processor's cache holds the loads of ten writers. */
export const POOL_BYTES = 16 * 2 ** 20

export async function openTarget (options: TargetOptions): Promise<Target> {
  return options.api === 'topics' ? await openTopicsTarget(options) : await openStoreTarget(options)
}
