/**
 * A handle of a topic: append, read, replay. Handles of the same topic share it; each is closed by whoever opened it, and the topic
 * closes with the last one.
 */
import { checkWhole } from '../log/check-options.js'
import { LogError, type SegmentInfo, type SegmentVerification } from '../log/log.js'
import type { Appended, BatchAppended } from './appender.js'
import { batchLimits, type BatchReadOptions, type CheckpointOptions, type Cursor } from './cursor.js'
import type { OpenTopic } from './open-topic.js'
import type { Consistency } from './options.js'
import type { Bytes, LogRecord, RecordInput } from './record.js'
import type { RecordBatch } from './record-batch.js'
import { RecordReader } from './reader.js'

export interface Segment extends SegmentInfo {
  /** Names it: its base offset. */
  readonly id: number
}

export interface CursorName {
  /** Default 'default'. */
  readonly cursor?: string
}

export interface ReplayOptions {
  /** Default: the topic's start. An offset below it means the start, too. */
  readonly from?: number
  /** First offset that is not read. Default: the end as it is when the replay begins, or none with `follow`. */
  readonly to?: number
  /** Go on with what is appended later, until the topic is closed or `signal` aborts. Default false. */
  readonly follow?: boolean
  readonly signal?: AbortSignal
}

export interface ParallelReplayOptions {
  /** Segments that are read at the same time. Default 4. */
  readonly concurrency?: number
}

/** What `retain` keeps. Default: everything. */
export interface RetentionOptions {
  readonly bytesMax?: number
  readonly ageMsMax?: number
}

/** Called with records in order within a segment; segments are in no order. What it returns is awaited before it gets more of its segment. */
export type SegmentHandler = (records: RecordBatch, segment: Segment) => void | Promise<void>

const REPLAY_LIMITS = { bytesMax: 1024 * 1024, recordsMax: Infinity }
const CURSOR_DEFAULT = 'default'
const CONCURRENCY_DEFAULT = 4

export class Topic {
  private closed = false
  private reader: RecordReader | undefined

  /** Use `log.topic(name)`. */
  constructor (private readonly topic: OpenTopic, private readonly onClose: () => Promise<void>) {}

  get name (): string { return this.topic.name }
  /** Offset of the first record that can be read. */
  get startOffset (): number { return this.topic.log.startOffset }
  /** Offset that the next record gets. */
  get endOffset (): number { return this.topic.appender.nextOffset }
  /** First offset that readers do not see: everything below is committed as the flush policy says. */
  get committedEndOffset (): number { return this.topic.appender.visibleEndOffset }
  /** Bytes on disk between start and end. */
  get bytes (): number { return this.topic.log.bytes }
  /** Bytes that were appended and are not written yet. */
  get pendingBytes (): number { return this.topic.appender.pendingBytes }

  /**
   * Appends one record and returns at once; its bytes may be reused then. Throws `LogError` without any effect: 'malformed',
   * 'too-large', 'closed', 'full' when too much waits to be written. Errors of the store come with `committed`.
   */
  append (record: Bytes | RecordInput): Appended {
    if (this.closed) this.checkOpen()
    return this.topic.appender.append(record)
  }

  /**
   * Appends up to 2,000 records and 10 GiB, all or none of them, also across a crash. The records' bytes may be reused when this returns
   * if they are less than 4 MiB together, else when `committed` settles.
   */
  appendBatch (records: ReadonlyArray<Bytes | RecordInput>): BatchAppended {
    this.checkOpen()
    return this.topic.appender.appendBatch(records)
  }

  /** The next record of a cursor, null when there is none yet. */
  async next ({ cursor = CURSOR_DEFAULT, ...options }: CursorName & CheckpointOptions = {}): Promise<LogRecord | null> {
    return await this.cursor(cursor).next(options)
  }

  /** The next records of a cursor: at least one where there is one, at most 2,000. */
  async readBatch ({ cursor = CURSOR_DEFAULT, ...options }: CursorName & BatchReadOptions = {}): Promise<RecordBatch> {
    return await this.cursor(cursor).readBatch(options)
  }

  /** Records from an offset on, without a cursor, and where reading goes on. An offset below the start reads from the start. */
  async read (offset: number, options: Omit<BatchReadOptions, 'checkpoint'> = {}): Promise<RecordBatch> {
    this.checkOpen()
    const limits = batchLimits(options)
    const from = Math.max(checkWhole('offset', offset, 0), this.startOffset)
    this.topic.checkOffset(from)
    this.reader ??= this.topic.newReader()
    return await this.reader.read(from, limits)
  }

  /** The cursor of that name, made at the topic's start when it is new. Handles of the same cursor are the same object. */
  cursor (name: string, options: { readonly consistency?: Consistency } = {}): Cursor {
    this.checkOpen()
    return this.topic.cursor(name, options.consistency)
  }

  cursorNames (): string[] {
    this.checkOpen()
    return this.topic.cursorNames()
  }

  /** Forgets a cursor, durably. Missing is fine. */
  async removeCursor (name: string): Promise<void> {
    this.checkOpen()
    await this.topic.removeCursor(name)
  }

  /** All records in order. What is next is read while one is handed out. */
  async * replay ({ from = 0, to, follow = false, signal }: ReplayOptions = {}): AsyncGenerator<LogRecord, void, undefined> {
    this.checkOpen()
    const endOffset = to ?? (follow ? Infinity : this.committedEndOffset)
    let offset = checkWhole('from', from, 0)
    const reader = this.topic.newReader()
    try {
      for (;;) {
        for await (const records of this.batches(reader, offset, Math.min(endOffset, this.committedEndOffset), signal)) {
          yield * records
          offset = records.nextOffset
        }
        if (!follow || offset >= endOffset || signal?.aborted === true || this.topic.isClosed || this.closed) return
        if (offset >= this.committedEndOffset) await this.topic.changed(signal)
      }
    } finally {
      this.topic.closeReader(reader)
    }
  }

  /** Calls `handler` with all records, several segments at a time: for programs that fill a table and do not care for the order. */
  async replaySegments (handler: SegmentHandler, { concurrency = CONCURRENCY_DEFAULT }: ParallelReplayOptions = {}): Promise<void> {
    checkWhole('concurrency', concurrency, 1)
    const segments = this.listSegments()
    let next = 0
    const worker = async (): Promise<void> => {
      for (let segment = segments[next++]; segment !== undefined; segment = segments[next++]) {
        for await (const records of this.segmentBatches(segment)) if (records.length > 0) await handler(records, segment)
      }
    }
    await Promise.all(Array.from({ length: Math.min(concurrency, segments.length) }, worker))
  }

  listSegments (): readonly Segment[] {
    this.checkOpen()
    return this.topic.log.segments().map((segment) => ({ ...segment, id: segment.baseOffset }))
  }

  /** The records of one segment, in order. `id` is one that `listSegments` gives. */
  async * readSegment (id: number): AsyncGenerator<LogRecord, void, undefined> {
    for await (const records of this.segmentBatches(this.segment(id))) yield * records
  }

  /**
   * Reads one segment from its file, whatever is in memory: every entry by its checksum, and of a sealed segment the checksum of all of it.
   * Damage is a result, with file and position, and not an error. `id` is one that `listSegments` gives.
   */
  async verifySegment (id: number): Promise<SegmentVerification> {
    return await this.topic.log.verifySegment(this.segment(id).baseOffset)
  }

  /** Resolves when all that was appended so far is on stable storage, whatever the flush policy. */
  async sync (): Promise<void> {
    this.checkOpen()
    await this.topic.appender.sync()
  }

  /** Begins a new segment with the next append. */
  async roll (): Promise<void> {
    this.checkOpen()
    await this.topic.appender.sync()
    await this.topic.log.roll()
  }

  /** Removes the records below `offset`, durably; segments that lie wholly below it are freed. */
  async truncateFront (offset: number): Promise<void> {
    this.checkOpen()
    if (offset > this.committedEndOffset) this.topic.checkOffset(offset)
    await this.topic.truncateFront(checkWhole('offset', offset, 0))
  }

  /**
   * Removes the oldest full segments, durably, while the topic has more bytes than `bytesMax`, and those whose youngest record is older than
   * `ageMsMax`. Returns the new start.
   */
  async retain ({ bytesMax = Infinity, ageMsMax = Infinity }: RetentionOptions = {}): Promise<number> {
    if (bytesMax !== Infinity) checkWhole('bytesMax', bytesMax, 0)
    if (ageMsMax !== Infinity) checkWhole('ageMsMax', ageMsMax, 0)
    const nowMs = this.topic.now()
    let { bytes: bytesLeft, startOffset } = this
    for (const { sealed, bytes, timestampMaxMs, endOffset } of this.listSegments()) {
      if (!sealed || endOffset > this.committedEndOffset || (bytesLeft <= bytesMax && nowMs - timestampMaxMs <= ageMsMax)) break
      bytesLeft -= bytes
      startOffset = endOffset
    }
    await this.truncateFront(startOffset)
    return this.startOffset
  }

  /** Gives the handle back. With the last one of a topic, what was appended is committed and the cursors' positions are stored. Idempotent. */
  async close (): Promise<void> {
    if (this.closed) return
    this.closed = true
    if (this.reader !== undefined) this.topic.closeReader(this.reader)
    await this.onClose()
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.close()
  }

  private segment (id: number): Segment {
    const segment = this.listSegments().find((segment) => segment.id === id)
    if (segment === undefined) throw new LogError('out-of-range', `the topic '${this.name}' has no segment ${String(id)}`)
    return segment
  }

  private async * segmentBatches (segment: Segment): AsyncGenerator<RecordBatch, void, undefined> {
    const reader = this.topic.newReader()
    try {
      yield * this.batches(reader, segment.baseOffset, Math.min(segment.endOffset, this.committedEndOffset))
    } finally {
      this.topic.closeReader(reader)
    }
  }

  private async * batches (reader: RecordReader, from: number, endOffset: number, signal?: AbortSignal): AsyncGenerator<RecordBatch, void, undefined> {
    const readFrom = (offset: number): Promise<RecordBatch> | undefined => {
      const start = Math.max(offset, this.startOffset)
      if (start >= endOffset || signal?.aborted === true) return undefined
      this.checkOpen()
      const read = reader.read(start, { ...REPLAY_LIMITS, endOffset })
      // It is awaited in the next round, if there is one.
      read.catch(ignore)
      return read
    }
    for (let ahead = readFrom(from); ahead !== undefined;) {
      const records = await ahead
      ahead = records.nextOffset > from ? readFrom(records.nextOffset) : undefined
      yield records
    }
  }

  private checkOpen (): void {
    this.topic.checkOpen()
    if (this.closed) throw new LogError('closed', `this handle of the topic '${this.name}' is closed`)
  }
}

function ignore (): void {}
