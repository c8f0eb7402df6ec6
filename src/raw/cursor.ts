/**
 * A named reader of a topic whose position survives. Reads of one cursor are served one after the other, so no two get the same
 * record, and none moves on before the position is stored that its consistency asks for: when that fails, the read fails and the
 * cursor stays.
 */
import { checkWhole } from '../log/check-options.js'
import type { LogRecord } from './record.js'
import type { RecordBatch } from './record-batch.js'
import { persistEvery, type Consistency } from './options.js'
import type { OpenTopic } from './open-topic.js'
import { RecordReader } from './reader.js'

export const READ_RECORDS_MAX = 2_000

export interface CheckpointOptions {
  /** false: look, and leave the cursor where it is. Default true. */
  readonly checkpoint?: boolean
}

export interface BatchReadOptions extends CheckpointOptions {
  /** Bytes of keys and values at most; one record is returned whatever its size. Default 1 MiB. */
  readonly bytesMax?: number
  /** The same under Walrus's name. */
  readonly maxBytes?: number
  /** Default, and at most, 2,000. */
  readonly recordsMax?: number
}

export interface BatchLimits { readonly bytesMax: number, readonly recordsMax: number }

const BATCH_BYTES_DEFAULT = 1024 * 1024
const ONE: BatchLimits = { bytesMax: 0, recordsMax: 1 }

export function batchLimits ({ maxBytes = BATCH_BYTES_DEFAULT, bytesMax = maxBytes, recordsMax = READ_RECORDS_MAX }: BatchReadOptions): BatchLimits {
  return { bytesMax: checkWhole('bytesMax', bytesMax, 0), recordsMax: Math.min(READ_RECORDS_MAX, checkWhole('recordsMax', recordsMax, 1)) }
}

export class Cursor {
  private persistEvery: number
  private offset: number
  /** Records handed out since the position was stored. */
  private unpersisted = 0
  private readonly reader: RecordReader
  /** Another thread may have moved it before this one claimed it. */
  private isKnown: boolean
  private last: Promise<unknown> = Promise.resolve()

  /** Use `topic.cursor(name)`. */
  constructor (readonly name: string, private readonly topic: OpenTopic, consistency: Consistency) {
    this.persistEvery = persistEvery(consistency)
    this.offset = topic.positions.get(topic.name, name) ?? topic.log.startOffset
    this.reader = topic.newReader()
    this.isKnown = !topic.isShared
  }

  /**
   * Offset of the record that is next, or of one behind which it is: those that expired or were truncated are passed over. Where threads share
   * the store, before the first call of this one: as of when the topic was opened.
   */
  get position (): number {
    return Math.max(this.offset, this.topic.log.startOffset)
  }

  setConsistency (consistency: Consistency): void {
    this.persistEvery = persistEvery(consistency)
  }

  /** The next record; null when there is none yet. */
  async next ({ checkpoint = true }: CheckpointOptions = {}): Promise<LogRecord | null> {
    const records = await this.inOrder(async () => await this.take(ONE, checkpoint))
    return records.at(0) ?? null
  }

  /** The next records, at least one where there is one, at most 2,000. */
  async readBatch (options: BatchReadOptions = {}): Promise<RecordBatch> {
    const limits = batchLimits(options)
    return await this.inOrder(async () => await this.take(limits, options.checkpoint ?? true))
  }

  /** Moves the cursor, durably, to any offset from the topic's start to its end. */
  async seek (offset: number): Promise<void> {
    this.topic.checkOffset(offset)
    await this.inOrder(async () => { await this.moveTo(offset, Infinity) })
  }

  /** Stores the position now. */
  async persist (): Promise<void> {
    await this.inOrder(async () => { if (this.unpersisted > 0) await this.moveTo(this.offset, Infinity) })
  }

  private async take (limits: BatchLimits, checkpoint: boolean): Promise<RecordBatch> {
    this.topic.checkOpen()
    const records = await this.reader.read(this.position, limits)
    if (checkpoint) await this.moveTo(records.nextOffset, records.length)
    return records
  }

  private async moveTo (offset: number, count: number): Promise<void> {
    const unpersisted = this.unpersisted + count
    if (unpersisted >= this.persistEvery) {
      await this.topic.positions.set(this.topic.name, this.name, offset)
      this.unpersisted = 0
    } else this.unpersisted = unpersisted
    this.offset = offset
  }

  private async learn (): Promise<void> {
    await this.topic.positions.refresh()
    this.offset = this.topic.positions.get(this.topic.name, this.name) ?? this.topic.log.startOffset
    this.isKnown = true
  }

  private inOrder<T> (work: () => Promise<T>): Promise<T> {
    const result = this.last.then(async () => {
      if (!this.isKnown) await this.learn()
      return await work()
    })
    this.last = result.catch(ignore)
    return result
  }
}

function ignore (): void {}
