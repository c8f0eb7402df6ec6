/**
 * The partition that stands on a `Log`: every batch is checked, sequenced and appended in one synchronous step, and readers see
 * it once the log calls it committed. A write that fails after the batch was accepted closes the partition for appends, because
 * what clients and the producer state were told no longer holds; reading goes on.
 */
import type { Logger } from 'pino'
import { RECORD_BATCH_LAYOUT, type Log, type LogRead, type LogStore, type PendingAppend, type ReadOptions, type SegmentInfo } from '../../log/log.js'
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'
import type { Clock } from '../clock.js'
import * as header from '../../protocol/batch-header.js'
import { ProtocolError } from '../../protocol/protocol-error.js'
import type { Decompress } from '../../protocol/records.js'
import { checkBatch, type BatchRules } from './check-batch.js'
import type { Opening } from './check-records.js'
import { crc32c } from '../../protocol/crc32c.js'
import { afterAppend, checkSequence, isExpired, type ProducerBatch, type ProducerEntry, type RememberedBatch } from './producer-state.js'
import { readProducerBatch, replayProducers } from './recover-producers.js'
import { storageRefusal } from './storage-refusal.js'
import { findTimestamp, findTimestampMax, OPENED_BYTES_MAX } from './time-lookup.js'
import type { Appended, AppendRefusal, OffsetAndTimestamp, Partition } from './partition.js'

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
  /** Opens compressed records, where the broker must look inside. */
  readonly decompress?: Decompress
}

/** The topic settings that a partition reads, under Kafka's names. */
export type PartitionConfig = BatchRules

/** Opens or makes the log of a partition and rebuilds what it knew of its producers. Rejects with `LogError`. */
export async function openPartition (options: PartitionOptions): Promise<Partition> {
  const { store, topicName, index, config } = options
  const log = await store.open(partitionLogName(topicName, index), {
    layout: RECORD_BATCH_LAYOUT,
    segmentBytesMax: config()['segment.bytes']
  })
  try {
    const producers = await replayProducers(log, new Map(), log.startOffset, options.clock.now())
    return new LogPartition(options, log, producers)
  } catch (error) {
    await log.close()
    throw error
  }
}

/** As Kafka names a partition's folder; topic names are at most 249 characters, so it is a log's name. */
export function partitionLogName (topicName: string, index: number): string {
  return `${topicName}-${index}`
}

/** Every log that belongs to a partition: they are removed together. No topic's own log ends like the second. */
export function partitionLogNames (topicName: string, index: number): readonly string[] {
  const name = partitionLogName(topicName, index)
  return [name, `${name}.producers`]
}

const PRODUCER_ID_EXPIRATION_MS = 86_400_000
const LEADER_EPOCH = 0

class LogPartition implements Partition {
  readonly topicName: string
  readonly index: number
  readonly leaderEpoch = LEADER_EPOCH
  readonly #config: () => PartitionConfig
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #log: Log
  readonly #producers: Map<number, ProducerEntry>
  readonly #producerIdExpirationMs: number
  readonly #opening: Opening
  readonly #listeners = new Set<() => void>()
  #highWatermarkTold: number
  #failure: Refusal | undefined

  constructor (options: PartitionOptions, log: Log, producers: Map<number, ProducerEntry>) {
    this.topicName = options.topicName
    this.index = options.index
    this.#config = options.config
    this.#clock = options.clock
    this.#logger = options.logger
    this.#producerIdExpirationMs = options.producerIdExpirationMs ?? PRODUCER_ID_EXPIRATION_MS
    this.#opening = { decompress: options.decompress ?? cannotDecompress, bytesMax: OPENED_BYTES_MAX }
    this.#log = log
    this.#producers = producers
    this.#highWatermarkTold = log.committedEndOffset
  }

  get logStartOffset (): number { return this.#log.startOffset }
  get highWatermark (): number { return this.#log.committedEndOffset }
  get logEndOffset (): number { return this.#log.endOffset }
  get lastStableOffset (): number { return this.#log.committedEndOffset }
  get bytes (): number { return this.#log.bytes }

  append (batch: Buffer, origin: 'client' | 'broker'): Appended | AppendRefusal {
    if (this.#failure !== undefined) return this.#failure
    const config = this.#config()
    const nowMs = this.#clock.now()
    let entry: ProducerEntry | undefined
    let producerBatch: ProducerBatch | undefined
    let logAppendTimeMs = -1
    if (origin === 'client') {
      const refusal = checkBatch(batch, config, nowMs, this.#opening)
      if (refusal !== undefined) return refusal
      producerBatch = readProducerBatch(batch, 0)
      if (producerBatch !== undefined) {
        entry = this.#producer(producerBatch.producerId, nowMs)
        const verdict = checkSequence(entry, producerBatch)
        if (verdict.kind === 'refused') return verdict.refusal
        if (verdict.kind === 'duplicate') return this.#repeat(verdict.of)
      }
      if (config['message.timestamp.type'] === 'LogAppendTime') {
        logAppendTimeMs = nowMs
        header.writeLogAppendTime(batch, nowMs, crc32c)
      }
    }
    header.writeLeaderEpoch(batch, LEADER_EPOCH)
    let pending: PendingAppend
    try {
      pending = this.#log.append(batch)
    } catch (error) {
      return storageRefusal(error)
    }
    if (producerBatch !== undefined) {
      this.#producers.set(producerBatch.producerId, afterAppend(entry, producerBatch, pending.baseOffset, logAppendTimeMs, nowMs))
    }
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
      return storageRefusal(error)
    }
  }

  async offsetForTimestamp (timestampMs: number): Promise<OffsetAndTimestamp | null | Refusal> {
    try {
      return await findTimestamp(this.#log, timestampMs, this.#opening.decompress)
    } catch (error) {
      return storageRefusal(error)
    }
  }

  async offsetOfTimestampMax (): Promise<OffsetAndTimestamp | null | Refusal> {
    try {
      return await findTimestampMax(this.#log, this.#opening.decompress)
    } catch (error) {
      return storageRefusal(error)
    }
  }

  async truncateFront (offset: number): Promise<Refusal | undefined> {
    try {
      await this.#log.truncateFront(offset)
      return undefined
    } catch (error) {
      return storageRefusal(error)
    }
  }

  segments (): readonly SegmentInfo[] {
    return this.#log.segments()
  }

  onAdvance (listener: () => void): () => void {
    // A wrapper, so that one function can be registered twice and each registration ends alone.
    const registration = () => listener()
    this.#listeners.add(registration)
    return () => { this.#listeners.delete(registration) }
  }

  async close (): Promise<void> {
    this.#failure = { errorCode: ErrorCode.NOT_LEADER_OR_FOLLOWER, errorMessage: `${this.topicName}-${this.index} is closed` }
    await this.#log.close()
    this.#tell()
  }

  readonly #onCommitted = (): undefined => {
    // One flush commits many appends: the first of their callbacks tells the listeners, the others find nothing new.
    if (this.#log.committedEndOffset !== this.#highWatermarkTold) {
      this.#highWatermarkTold = this.#log.committedEndOffset
      this.#tell()
    }
  }

  /**
   * An append that was accepted is lost. What the producer state says of it is wrong from now on, so the partition accepts
   * nothing until it is opened again.
   */
  readonly #onFailed = (error: unknown): Refusal => {
    const refusal = storageRefusal(error)
    if (this.#failure === undefined) {
      this.#failure = refusal
      this.#logger.error({ err: error, topic: this.topicName, partition: this.index }, 'a write failed; the partition refuses to append until the broker starts again')
      this.#tell()
    }
    return refusal
  }

  #tell (): void {
    for (const listener of this.#listeners) listener()
  }

  #producer (producerId: number, nowMs: number): ProducerEntry | undefined {
    const entry = this.#producers.get(producerId)
    if (entry === undefined || !isExpired(entry, nowMs, this.#producerIdExpirationMs)) return entry
    this.#producers.delete(producerId)
    return undefined
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
        if (this.#log.committedEndOffset < endOffset && this.#failure === undefined) return
        unsubscribe()
        resolve(this.#log.committedEndOffset < endOffset ? this.#failure : undefined)
      }
      const unsubscribe = this.onAdvance(look)
      look()
    })
  }
}

function cannotDecompress (codec: string): never {
  throw new ProtocolError(`this broker was set up without the codec ${codec}`)
}
