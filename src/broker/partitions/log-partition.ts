/**
 * The partition that stands on a `Log`: every batch is checked, sequenced and appended in one synchronous step, and readers see
 * it once the log calls it committed.
 *
 * A write that fails after its batch was accepted ends the log: what clients and the producer table were told no longer holds.
 * The partition then refuses appends, opens the log again from the disk as a start would, and goes on with what is there.
 */
import type { Logger } from 'pino'
import { LogError, RECORD_BATCH_LAYOUT, type Log, type LogRead, type LogStore, type PendingAppend, type ReadOptions, type SegmentInfo } from '../../log/log.js'
import * as header from '../../protocol/batch-header.js'
import { crc32c } from '../../crc32c.js'
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'
import { AppendStatistics } from '../append-statistics.js'
import type { Clock, Timer } from '../clock.js'
import type { FreeSpace } from '../free-space.js'
import { checkBatch, checkSize, openedBytesMax, type BatchRules } from './check-batch.js'
import { unreadable } from './check-records.js'
import type { Appended, AppendRefusal, OffsetAndTimestamp, Partition, Traffic } from './partition.js'
import type { PartitionSnapshots, SnapshotTracker } from './producer-snapshots.js'
import { checkSequence, type ProducerBatch, type ProducerEntry, type RememberedBatch } from './producer-state.js'
import { ProducerTable, readProducerBatch } from './producer-table.js'
import { recompress, targetCodec } from './recompress.js'
import { isRefusal, storageRefusal } from './storage-refusal.js'
import { findTimestamp, findTimestampMax } from './time-lookup.js'

export interface PartitionOptions {
  readonly store: LogStore
  readonly topicName: string
  readonly index: number
  /** The topic's settings, asked for on every append: they may change at any time. */
  readonly config: () => PartitionConfig
  readonly clock: Clock
  readonly logger: Logger
  /** Broker's `producer.id.expiration.ms`; Kafka's default of a day where it is not given. */
  readonly producerIdExpirationMs?: number
  /** Room that clients must leave on the disk; without it they may fill it. */
  readonly freeSpace?: FreeSpace
  /** Where to keep what is known of producers; without it every start reads the whole log. */
  readonly snapshots?: PartitionSnapshots
  /** Where appends are counted, for all logs of the broker. */
  readonly statistics?: AppendStatistics
}

/** The topic settings that a partition reads, under Kafka's names. */
export type PartitionConfig = BatchRules

/** Opens or makes the log of a partition and rebuilds what it knew of its producers. Rejects with `LogError`. */
export async function openPartition (options: PartitionOptions): Promise<Partition> {
  return new LogPartition(options, await openLog(options))
}

/** As Kafka names a partition's folder; topic names are at most 249 characters, so it is a log's name. */
export function partitionLogName (topicName: string, index: number): string {
  return `${topicName}-${index}`
}

/** Every log that belongs to a partition: they are removed together. */
export function partitionLogNames (topicName: string, index: number): readonly string[] {
  return [partitionLogName(topicName, index)]
}

interface Opened {
  readonly log: Log
  readonly producers: ProducerTable
  readonly bytesUncovered: number
}

async function openLog ({ store, topicName, index, config, clock, snapshots, producerIdExpirationMs }: PartitionOptions): Promise<Opened> {
  const log = await store.open(partitionLogName(topicName, index), {
    layout: RECORD_BATCH_LAYOUT,
    segmentBytesMax: config()['segment.bytes']
  })
  try {
    const producers = new ProducerTable(producerIdExpirationMs ?? PRODUCER_ID_EXPIRATION_MS, clock.now())
    return { log, producers, bytesUncovered: await producers.recover(log, snapshots?.load(), clock.now()) }
  } catch (error) {
    await log.close()
    throw error
  }
}

const PRODUCER_ID_EXPIRATION_MS = 86_400_000
const LEADER_EPOCH = 0
const WARNING_INTERVAL_MS = 60_000
const REOPEN_DELAY_MS_MIN = 1000
const REOPEN_DELAY_MS_MAX = 60_000

class LogPartition implements Partition {
  readonly topicName: string
  readonly index: number
  readonly leaderEpoch = LEADER_EPOCH
  readonly traffic: Traffic = { recordsIn: 0, bytesIn: 0, bytesOut: 0, refusedCount: 0 }
  readonly #options: PartitionOptions
  readonly #statistics: AppendStatistics
  readonly #listeners = new Set<() => void>()
  #log: Log
  #producers: ProducerTable
  #tracker: SnapshotTracker | undefined
  #highWatermarkTold: number
  /** Why appends are refused; undefined while all is well. */
  #failure: Refusal | undefined
  #reopenTimer: Timer | undefined
  #reopening: Promise<void> | undefined
  #closed = false
  /** When a warning of each kind was given last. */
  #warnedMs: Map<string, number> | undefined
  /** Monotonic times at which the batches were appended that are not committed yet: they are settled in this order. */
  readonly #waitingSinceMs: number[] = []
  /** Monotonic time at which the high watermark moved last. */
  #committedMs = 0

  constructor (options: PartitionOptions, opened: Opened) {
    this.topicName = options.topicName
    this.index = options.index
    this.#options = options
    this.#statistics = options.statistics ?? new AppendStatistics()
    this.#log = opened.log
    this.#producers = opened.producers
    this.#tracker = this.#track(opened.bytesUncovered)
    this.#highWatermarkTold = opened.log.committedEndOffset
  }

  get logStartOffset (): number { return this.#log.startOffset }
  get highWatermark (): number { return this.#log.committedEndOffset }
  get logEndOffset (): number { return this.#log.endOffset }
  get lastStableOffset (): number { return this.#log.committedEndOffset }
  get bytes (): number { return this.#log.bytes }
  get failure (): Refusal | undefined { return this.#closed ? undefined : this.#failure }
  get waitingSinceMs (): number | undefined { return this.#waitingSinceMs[0] }

  append (batch: Buffer, origin: 'client' | 'broker'): Appended | AppendRefusal {
    const outcome = this.#append(batch, origin)
    if ('errorCode' in outcome) this.traffic.refusedCount++
    return outcome
  }

  #append (batch: Buffer, origin: 'client' | 'broker'): Appended | AppendRefusal {
    if (this.#failure !== undefined) return this.#failure
    const config = this.#options.config()
    const nowMs = this.#options.clock.now()
    let entry: ProducerEntry | undefined
    let producerBatch: ProducerBatch | undefined
    let logAppendTimeMs = -1
    if (origin === 'client') {
      const refusal = checkBatch(batch, config, nowMs)
      if (refusal !== undefined) return refusal
      producerBatch = readProducerBatch(batch, 0)
      if (producerBatch !== undefined) {
        entry = this.#producers.get(producerBatch.producerId, nowMs)
        const verdict = checkSequence(entry, producerBatch)
        if (verdict.kind === 'refused') return verdict.refusal
        if (verdict.kind === 'duplicate') return this.#repeat(verdict.of)
      }
      const stored = inCodecOf(config, batch)
      if (isRefusal(stored)) return stored
      batch = stored
      if (config['message.timestamp.type'] === 'LogAppendTime') {
        logAppendTimeMs = nowMs
        header.writeLogAppendTime(batch, nowMs, crc32c)
      }
    }
    header.writeLeaderEpoch(batch, LEADER_EPOCH)
    let pending: PendingAppend
    try {
      const lack = origin === 'client' ? this.#options.freeSpace?.lack : undefined
      if (lack !== undefined) throw lack
      pending = this.#log.append(batch)
    } catch (error) {
      return this.#appendRefused(error, nowMs)
    }
    if (producerBatch !== undefined) this.#producers.appended(entry, producerBatch, pending.baseOffset, logAppendTimeMs, nowMs)
    this.#tracker?.grew(batch.length)
    this.#accepted(batch)
    return {
      baseOffset: pending.baseOffset,
      logAppendTimeMs,
      logStartOffset: this.#log.startOffset,
      committed: pending.committed.then(this.#onCommitted, this.#onFailed)
    }
  }

  async read (offset: number, options: ReadOptions): Promise<LogRead | Refusal> {
    try {
      return await this.#log.read(offset, options)
    } catch (error) {
      return this.#readRefused(error)
    }
  }

  borrow (offset: number, options: ReadOptions): LogRead | Refusal | Promise<LogRead | Refusal> {
    const read = this.#log.borrow?.(offset, options)
    if (read === undefined) return this.read(offset, options).then(this.#sent)
    return read instanceof Promise ? read.then(this.#sent, (error: unknown) => this.#readRefused(error)) : this.#sent(read)
  }

  async offsetForTimestamp (timestampMs: number): Promise<OffsetAndTimestamp | null | Refusal> {
    try {
      return await findTimestamp(this.#log, timestampMs)
    } catch (error) {
      return this.#readRefused(error)
    }
  }

  async offsetOfTimestampMax (): Promise<OffsetAndTimestamp | null | Refusal> {
    try {
      return await findTimestampMax(this.#log)
    } catch (error) {
      return this.#readRefused(error)
    }
  }

  async truncateFront (offset: number): Promise<Refusal | undefined> {
    try {
      await this.#log.truncateFront(offset)
      return undefined
    } catch (error) {
      return this.#refusal(error)
    }
  }

  async roll (): Promise<Refusal | undefined> {
    try {
      await this.#log.roll()
      return undefined
    } catch (error) {
      return this.#refusal(error)
    }
  }

  segments (): readonly SegmentInfo[] {
    return this.#log.segments()
  }

  onAdvance (listener: () => void): () => void {
    // A wrapper, so that one function can be registered twice and each registration ends alone.
    const registration = (): void => listener()
    this.#listeners.add(registration)
    return () => { this.#listeners.delete(registration) }
  }

  async close (): Promise<void> {
    this.#closed = true
    this.#failure = { errorCode: ErrorCode.NOT_LEADER_OR_FOLLOWER, errorMessage: `${this.topicName}-${this.index} is closed` }
    this.#reopenTimer?.cancel()
    this.#tracker?.close()
    await this.#reopening
    await this.#log.close()
    this.#tell()
  }

  #accepted (batch: Buffer): void {
    const nowMs = this.#options.clock.monotonic()
    // Also while a disk answers nothing at all.
    if (this.#waitingSinceMs.length > 0) this.#statistics.waits(this, nowMs - this.#waitingSinceMs[0]!, nowMs)
    this.#waitingSinceMs.push(nowMs)
    this.traffic.recordsIn += header.recordCount(batch)
    this.traffic.bytesIn += batch.length
  }

  readonly #sent = (read: LogRead | Refusal): LogRead | Refusal => {
    if ('bytes' in read) this.traffic.bytesOut += read.bytes
    return read
  }

  readonly #onCommitted = (): undefined => {
    // One flush commits many appends: the first of their callbacks tells the listeners, the others find nothing new.
    if (this.#log.committedEndOffset !== this.#highWatermarkTold) {
      this.#highWatermarkTold = this.#log.committedEndOffset
      this.#committedMs = this.#options.clock.monotonic()
      this.#tell()
    }
    this.#statistics.committed(this, this.#committedMs - this.#waitingSinceMs.shift()!, this.#committedMs)
  }

  readonly #onFailed = (error: unknown): Refusal => {
    const failure = error instanceof LogError ? error : new LogError('failed', String(error), { cause: error })
    const refusal = this.#refusal(failure)
    this.#waitingSinceMs.shift()
    this.traffic.refusedCount++
    this.#statistics.failed(failure.code, failure.message, this.#options.clock.monotonic())
    if (this.#failure === undefined) {
      this.#failure = refusal
      this.#options.logger.error({ err: error, topic: this.topicName, partition: this.index },
        `a write to ${this.topicName}-${this.index} failed; it takes no records until its log is open again`)
      this.#reopenIn(REOPEN_DELAY_MS_MIN)
      this.#tell()
    }
    return refusal
  }

  #reopenIn (delayMs: number): void {
    this.#reopenTimer = this.#options.clock.setTimer(delayMs, () => {
      this.#reopening = this.#reopen(delayMs).finally(() => { this.#reopening = undefined })
    })
  }

  async #reopen (delayMs: number): Promise<void> {
    const { logger } = this.#options
    try {
      await this.#log.close().catch(() => {})
      const opened = await openLog(this.#options)
      this.#log = opened.log
      if (this.#closed) return
      this.#producers = opened.producers
      this.#tracker?.close()
      this.#tracker = this.#track(opened.bytesUncovered)
      this.#failure = undefined
      logger.info({ topic: this.topicName, partition: this.index, endOffset: opened.log.endOffset }, `${this.topicName}-${this.index} takes records again`)
      this.#tell()
    } catch (error) {
      if (this.#closed) return
      // Once, however often it is tried.
      if (delayMs === REOPEN_DELAY_MS_MIN) {
        logger.error({ err: error, topic: this.topicName, partition: this.index }, `the log of ${this.topicName}-${this.index} could not be opened again; it is tried until it can`)
      }
      if (error instanceof LogError) this.#failure = { errorCode: ErrorCode.KAFKA_STORAGE_ERROR, errorMessage: withRemedy(error) }
      this.#reopenIn(Math.min(delayMs * 2, REOPEN_DELAY_MS_MAX))
    }
  }

  #appendRefused (error: unknown, nowMs: number): Refusal {
    const refusal = this.#refusal(error)
    if (error instanceof LogError) this.#statistics.failed(error.code, error.message, this.#options.clock.monotonic())
    this.#warn('refuses records', error, refusal, nowMs)
    return refusal
  }

  #readRefused (error: unknown): Refusal {
    const refusal = this.#refusal(error)
    const isOfTheDisk = this.#failure === undefined && (refusal.errorCode === ErrorCode.KAFKA_STORAGE_ERROR || refusal.errorCode === ErrorCode.CORRUPT_MESSAGE)
    if (isOfTheDisk) this.#warn('cannot be read', error, refusal, this.#options.clock.now())
    return refusal
  }

  /** Clients try again for minutes; whoever runs the broker learns of it too, but not once per try. */
  #warn (what: string, error: unknown, refusal: Refusal, nowMs: number): void {
    this.#warnedMs ??= new Map()
    if (nowMs - (this.#warnedMs.get(what) ?? -Infinity) < WARNING_INTERVAL_MS) return
    this.#warnedMs.set(what, nowMs)
    this.#options.logger.warn({ err: error, topic: this.topicName, partition: this.index }, `${this.topicName}-${this.index} ${what}: ${refusal.errorMessage}`)
  }

  /** While the partition's log is out of work, that is the reason for whatever it says. */
  #refusal (error: unknown): Refusal {
    if (this.#failure !== undefined && error instanceof LogError && error.code === 'closed') return this.#failure
    return storageRefusal(error)
  }

  #track (bytesUncovered: number): SnapshotTracker | undefined {
    return this.#options.snapshots?.track(bytesUncovered, async () => {
      const log = this.#log
      const snapshot = this.#producers.snapshot(log.endOffset, this.#options.clock.now())
      await log.flush()
      return snapshot
    })
  }

  #tell (): void {
    for (const listener of this.#listeners) listener()
  }

  /** The answer to a batch that was appended before: the same offset, and not before the original is as safe as it was promised. */
  #repeat (original: RememberedBatch): Appended {
    return {
      baseOffset: original.baseOffset,
      logAppendTimeMs: original.logAppendTimeMs,
      logStartOffset: this.#log.startOffset,
      committed: this.#committedUpTo(original.baseOffset + original.recordCount)
    }
  }

  #committedUpTo (endOffset: number): Promise<Refusal | undefined> {
    return new Promise((resolve) => {
      const look = (): void => {
        const failure = this.#failure
        if (failure === undefined && this.#log.committedEndOffset < endOffset) return
        unsubscribe()
        resolve(this.#log.committedEndOffset < endOffset ? failure : undefined)
      }
      const unsubscribe = this.onAdvance(look)
      look()
    })
  }
}

/** Damage is the one thing that no try mends. */
function withRemedy ({ code, message }: LogError): string {
  return code === 'corrupt' ? `${message}; stop the broker, and haulout log salvage saves all else` : message
}

/** The batch as the topic wants it compressed: as it came, for nearly every topic. */
function inCodecOf (config: PartitionConfig, batch: Buffer): Buffer | AppendRefusal {
  const codec = targetCodec(config['compression.type'])
  if (codec === undefined || codec === header.codec(batch)) return batch
  try {
    const rewritten = recompress(batch, codec, openedBytesMax(config))
    return checkSize(rewritten.length, config) ?? rewritten
  } catch (error) {
    return unreadable(error)
  }
}
