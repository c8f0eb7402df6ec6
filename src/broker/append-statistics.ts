/**
 * How appends fare, of all logs of a broker together: plain numbers that cost next to nothing to keep, for whoever asks (health.ts,
 * metrics.ts). Logs of one broker share a disk, so that it is slow is said once, not by each of them.
 */
import type { Logger } from 'pino'
import type { LogErrorCode } from '../log/log.js'
import { SILENT_LOGGER } from './silent-logger.js'

/** Upper bounds of the buckets that batches are counted in, in ms: from a write to a fast disk to one that hardly answers. */
export const WAIT_MS_BOUNDS: readonly number[] = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000]
/** A batch that waits longer says that the disk is too slow; etcd warns of an fsync that takes as long. */
export const SLOW_MS = 1_000
const LINE_INTERVAL_MS = 60_000

/** Whose batch it was. */
export interface LogOfBatch {
  readonly topicName: string
  readonly index: number
}

export interface Wait {
  /** Of the log. */
  readonly name: string
  readonly waitedMs: number
}

export class AppendStatistics {
  /** Committed batches by the bucket of `WAIT_MS_BOUNDS` in which their wait lies; the last one has those beyond. */
  readonly bucketCounts = new Array<number>(WAIT_MS_BOUNDS.length + 1).fill(0)
  waitedMsSum = 0
  /** Batches that were not committed because of the storage, by the code of its error. */
  readonly failureCounts = new Map<LogErrorCode, number>([['failed', 0], ['full', 0]])
  /** The last batch that waited longer than `SLOW_MS`; times are monotonic. */
  lastSlow: (Wait & { readonly atMs: number }) | undefined
  /** The last refusal for lack of space. */
  lastFull: { readonly message: string, readonly atMs: number } | undefined
  #toldMs = -Infinity

  constructor (private readonly logger: Logger = SILENT_LOGGER) {}

  /** A batch was committed after so long. */
  committed (log: LogOfBatch, waitedMs: number, nowMs: number): void {
    let bucket = 0
    while (bucket < WAIT_MS_BOUNDS.length && waitedMs > WAIT_MS_BOUNDS[bucket]!) bucket++
    this.bucketCounts[bucket]!++
    this.waitedMsSum += waitedMs
    if (waitedMs > SLOW_MS) this.waits(log, waitedMs, nowMs)
  }

  /** The oldest batch of a log has waited for so long and still does, or did until now. */
  waits (log: LogOfBatch, waitedMs: number, nowMs: number): void {
    if (waitedMs <= SLOW_MS) return
    const name = `${log.topicName}-${log.index}`
    this.lastSlow = { name, waitedMs, atMs: nowMs }
    if (nowMs - this.#toldMs < LINE_INTERVAL_MS) return
    this.#toldMs = nowMs
    this.logger.warn({ topic: log.topicName, partition: log.index, waitedMs: Math.round(waitedMs) }, `the disk is slow: a batch for ${name} has waited ${(waitedMs / 1000).toFixed(1)} s to be written`)
  }

  failed (code: LogErrorCode, message: string, nowMs: number): void {
    this.failureCounts.set(code, (this.failureCounts.get(code) ?? 0) + 1)
    if (code === 'full') this.lastFull = { message, atMs: nowMs }
  }
}
