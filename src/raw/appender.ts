/**
 * Appends to one topic, in order: records that are appended in the same turn of the event loop share an entry, so that a record costs
 * neither a native call nor a checksum nor a promise of its own.
 *
 * Offsets are given at once, and hold when `committed` resolves. When it rejects, the record is not in the log: its offset, and
 * those of all that was appended behind it and not committed yet, are void and will be given again.
 *
 * A batch that fits an entry is in one entry. A larger one is written in parts with a bounded number of bytes on their way; what is
 * appended meanwhile waits behind it, and readers do not look beyond its beginning until it is committed as a whole.
 *
 * When the process exits in the turn in which something was appended, that goes to the store before (`process.on('exit')`), which writes it.
 *
 * Where threads share the store, offsets can be given at once only if nobody else appends: the first append claims the topic, which
 * `close` releases.
 */
import { LogError, type FlushPolicy, type Log as StoreLog } from '../log/log.js'
import { BATCH_ENTRY_BYTES_MAX, buildPart } from './batch-part.js'
import { BufferPool } from './buffer-pool.js'
import { deferred, type Deferred } from './deferred.js'
import { ENTRY_HEADER_BYTES, finishEntry } from './entry.js'
import { checkRecord, payloadBytes, PLAIN_BYTES, prepareRecord, RECORD_OVERHEAD_MAX, writePlainRecord, writeRecord, type Bytes, type PreparedRecord, type RecordInput } from './record.js'
import type { SegmentLimits } from './segment-limits.js'

/** What an append returns at once. */
export interface Appended {
  readonly offset: number
  /**
   * Resolves when the record is committed as the flush policy says; rejects with a `LogError` when it never will be. Shared by the
   * records of an entry. A rejection that nobody handles is not reported as unhandled.
   */
  readonly committed: Promise<void>
}

export interface BatchAppended {
  /** Of the first record; the others follow without a gap. */
  readonly baseOffset: number
  readonly count: number
  readonly committed: Promise<void>
}

/** What the appender asks of the other threads; absent where there are none. */
export interface WriterSharing {
  /** False when another thread writes. */
  claim (): boolean
  release (): void
  /** Of a batch in parts: other threads do not see it until it is whole. */
  hide (offset: number): void
  reveal (offset: number): void
}

export interface AppenderOptions {
  readonly flushPolicy: FlushPolicy
  readonly recordBytesMax: number
  readonly pendingBytesMax: number
  readonly segmentBytesMax: number
  readonly limits: SegmentLimits
  readonly sharing?: WriterSharing | undefined
  readonly now: () => number
  /** Something may be visible that was not. */
  readonly onVisible: () => void
}

export const BATCH_RECORDS_MAX = 2_000
export const BATCH_BYTES_MAX = 10 * 1024 ** 3
const ENTRY_BYTES = 256 * 1024
/** Bytes handed to the store and not written yet, from which on `committed` waits under the policies that do not wait for the disk. */
const WINDOW_BYTES = 64 * 1024 * 1024

/** Work that waits behind a batch in parts, or is one. */
type Job = { readonly entry: Buffer, readonly count: number, readonly done: Deferred } | { readonly batch: ReadonlyArray<Bytes | RecordInput>, readonly bytes: number, readonly done: Deferred }

/**
 * Memory that entries are gathered in, shared by all topics: an idle one has none. An entry begins in a small buffer and moves when it
 * outgrows it, so that a thousand topics that gather in one turn take about as much memory as was appended to them.
 */
const pool = new BufferPool([4 * 1024, 16 * 1024, 64 * 1024, ENTRY_BYTES], 4 * 1024 * 1024)

/** Those of this thread that are not closed. */
const open = new Set<Appender>()
const handOverAll = (): void => { for (const appender of open) appender.handOverAtExit() }

export class Appender {
  private next: number
  /** No other thread appends. */
  private claimed: boolean
  private buffer: Buffer | undefined
  private at = 0
  /** Of the last entry, up to `entryBytesMax`: the next one will often be as large, and begins in a buffer for it. */
  private lastEntryBytes = 0
  private count = 0
  private countMax = Infinity
  private timestampMs = 0
  private timestampMaxMs = 0
  private gathered: Deferred | undefined
  private readonly payloadBytesMax: number
  /** Where an entry that is being gathered ends, unless one record or batch needs more. */
  private readonly entryBytesMax: number
  private readonly handOverSoon = (): void => this.handOver()

  private jobs: Job[] = []
  private working: Promise<void> | undefined
  /** A batch in parts waits for space in the window. */
  private waitsForSpace = false
  /** First offsets of batches in parts that are not committed. */
  private openBatches: number[] = []

  /** Handed to the store since it was opened, and of those known to be written. */
  private handedBytes = 0
  private writtenBytes = 0
  private readonly windowBytes: number
  /** Of entries that wait behind a batch in parts, and of such batches, which are their callers' memory. */
  private queuedBytes = 0
  private batchBytes = 0
  private flushing = false
  private space: Deferred | undefined
  private closed = false

  constructor (private readonly name: string, private readonly log: StoreLog, private readonly options: AppenderOptions) {
    this.next = log.endOffset
    this.claimed = options.sharing === undefined
    this.entryBytesMax = Math.min(ENTRY_BYTES, options.segmentBytesMax)
    this.windowBytes = Math.min(WINDOW_BYTES, options.pendingBytesMax)
    this.payloadBytesMax = Math.min(options.recordBytesMax, options.segmentBytesMax - ENTRY_HEADER_BYTES - RECORD_OVERHEAD_MAX)
    if (open.size === 0) process.on('exit', handOverAll)
    open.add(this)
  }

  /** Offset that the next record gets. */
  get nextOffset (): number {
    return this.claimed ? this.next : this.log.endOffset
  }

  /** Readers see what lies below. */
  get visibleEndOffset (): number {
    return Math.min(this.log.committedEndOffset, this.openBatches[0] ?? Infinity)
  }

  private get unwrittenBytes (): number { return this.handedBytes - this.writtenBytes }

  /** Bytes that were appended and are not written yet. */
  get pendingBytes (): number {
    return this.unwrittenBytes + this.queuedBytes + this.batchBytes + this.at
  }

  append (input: Bytes | RecordInput): Appended {
    if (input instanceof Uint8Array) {
      this.checkPayload(input.length)
      this.room(PLAIN_BYTES + input.length, 1)
      this.at = writePlainRecord(this.buffer!, this.at, input)
    } else {
      this.checkOpen()
      checkRecord(input)
      const record = prepareRecord(input)
      this.checkPayload(record.valueBytes + (record.key?.length ?? 0))
      this.room(record.bytes, 1)
      this.write(record)
    }
    this.count++
    return { offset: this.next++, committed: this.gathered!.promise }
  }

  appendBatch (records: ReadonlyArray<Bytes | RecordInput>): BatchAppended {
    this.checkOpen()
    const bytes = this.checkBatch(records)
    const count = records.length
    if (bytes + ENTRY_HEADER_BYTES > Math.min(BATCH_ENTRY_BYTES_MAX, this.options.segmentBytesMax) && count > 1) return this.appendInParts(records, bytes)
    if (areValues(records)) {
      this.room(bytes - count * (RECORD_OVERHEAD_MAX - PLAIN_BYTES), count)
      for (const value of records) this.at = writePlainRecord(this.buffer!, this.at, value)
    } else {
      const prepared = records.map((record) => prepareRecord(record))
      this.room(prepared.reduce((sum, { bytes }) => sum + bytes, 0), count)
      for (const record of prepared) this.write(record)
    }
    this.count += count
    this.next += count
    return { baseOffset: this.next - count, count, committed: this.gathered!.promise }
  }

  /** Resolves when all that was appended so far is on stable storage. */
  async sync (): Promise<void> {
    this.handOver()
    await this.working
    await this.flushAll()
  }

  /** Hands over what was appended; nothing is taken any more. */
  async close (): Promise<void> {
    this.handOver()
    this.closed = true
    open.delete(this)
    if (open.size === 0) process.off('exit', handOverAll)
    await this.working
  }

  /** The event loop does not turn any more. What stands behind a batch that waits for space is lost with the rest of that. */
  handOverAtExit (): void {
    this.handOver()
    for (let job = this.jobs.shift(); job !== undefined && !this.waitsForSpace; job = this.jobs.shift()) void this.do(job)
  }

  /** Lets other threads append. Behind close(). */
  release (): void {
    if (this.claimed) this.options.sharing?.release()
  }

  private claim (): void {
    if (this.claimed) return
    if (this.options.sharing?.claim() === false) {
      throw new LogError('locked', `another thread appends to the topic '${this.name}': one thread at a time does, until it closes the topic or ends`)
    }
    this.claimed = true
    this.next = this.log.endOffset
  }

  private checkOpen (): void {
    if (this.closed) throw new LogError('closed', `the topic '${this.name}' is closed`)
  }

  /** Bytes of the batch, uncompressed, at most. Throws for a batch that could never be written. */
  private checkBatch (records: ReadonlyArray<Bytes | RecordInput>): number {
    if (!Array.isArray(records) || records.length === 0) throw new LogError('malformed', 'a batch is an array of at least one record')
    if (records.length > BATCH_RECORDS_MAX) throw new LogError('too-large', `a batch has at most ${BATCH_RECORDS_MAX} records, this one has ${records.length}`)
    let bytes = 0
    for (const record of records) {
      checkRecord(record)
      const payload = payloadBytes(record)
      this.checkPayload(payload)
      bytes += payload
    }
    if (bytes > BATCH_BYTES_MAX) throw new LogError('too-large', `a batch has at most ${BATCH_BYTES_MAX} bytes of keys and values, this one has ${bytes}`)
    return bytes + records.length * RECORD_OVERHEAD_MAX
  }

  private checkPayload (bytes: number): void {
    if (bytes > this.payloadBytesMax) throw new LogError('too-large', `a record has at most ${this.payloadBytesMax} bytes of key and value in this topic, this one has ${bytes}`)
  }

  /** Makes room for records of so many bytes in the entry that is being gathered, or in a new one. Throws without any effect. */
  private room (bytes: number, count: number): void {
    const end = this.at + bytes
    if (this.buffer === undefined || end > this.entryBytesMax || this.count + count > this.countMax) this.begin(bytes)
    else if (end > this.buffer.length) this.move(end)
  }

  /** Begins an entry whose first records have so many bytes. */
  private begin (bytes: number): void {
    this.checkOpen()
    this.claim()
    this.checkPending(this.pendingBytes - this.batchBytes, bytes)
    this.handOver()
    this.countMax = this.options.limits.countLeft(this.next)
    this.buffer = pool.take(Math.max(ENTRY_HEADER_BYTES + bytes, this.lastEntryBytes))
    this.at = ENTRY_HEADER_BYTES
    this.timestampMs = this.timestampMaxMs = this.options.now()
    this.gathered = deferred()
    queueMicrotask(this.handOverSoon)
  }

  /** The entry that is being gathered needs a larger buffer. */
  private move (end: number): void {
    const from = this.buffer!
    this.buffer = pool.take(end)
    this.buffer.set(from.subarray(0, this.at))
    pool.give(from)
  }

  private checkPending (pendingBytes: number, bytes: number): void {
    if (pendingBytes > 0 && pendingBytes + bytes > this.options.pendingBytesMax) {
      throw new LogError('full', `${pendingBytes} bytes wait to be written to the topic '${this.name}', at most ${this.options.pendingBytesMax} may: await 'committed' before more is appended`)
    }
  }

  private write (record: PreparedRecord): void {
    this.at = writeRecord(this.buffer!, this.at, record)
    if (record.timestampMs > this.timestampMaxMs) this.timestampMaxMs = record.timestampMs
  }

  /** Ends the entry that is being gathered. */
  private handOver (): void {
    const { buffer, count, at } = this
    if (buffer === undefined) return
    const done = this.gathered!
    const entry = buffer.subarray(0, at)
    finishEntry(entry, { recordCount: count, timestampMaxMs: this.timestampMaxMs, timestampMs: this.timestampMs, batchIndex: 0, batchCount: 0 })
    this.lastEntryBytes = Math.min(at, this.entryBytesMax)
    this.buffer = this.gathered = undefined
    this.at = this.count = 0
    if (this.working !== undefined) {
      this.queuedBytes += entry.length
      this.jobs.push({ entry, count, done })
      return
    }
    this.give(entry, count, done)
    pool.give(buffer)
  }

  /** Hands a gathered entry to the store, which copies it. */
  private give (entry: Buffer, count: number, done: Deferred): void {
    try {
      done.resolve(this.commitment(this.toStore(entry, count)))
    } catch (error) {
      this.refuse(error, done)
    }
  }

  private toStore (entry: Buffer, count: number): Promise<void> {
    this.options.limits.beforeAppend(count)
    const { committed } = this.log.append(entry)
    this.handedBytes += entry.length
    if (this.options.flushPolicy.kind === 'each') {
      const { length } = entry
      const written = (): void => { this.onWritten(this.writtenBytes + length) }
      committed.then(written, written)
    } else {
      this.options.onVisible()
      if (this.unwrittenBytes >= this.windowBytes / 2 && !this.flushing) this.flush()
    }
    return committed
  }

  /** What `committed` waits for: under a policy that does not wait for the disk, for space in the window, so that a writer is not faster than it for long. */
  private commitment (committed: Promise<void>): Promise<void> {
    if (this.options.flushPolicy.kind === 'each' || this.unwrittenBytes < this.windowBytes) return committed
    return this.untilSpace()
  }

  private untilSpace (): Promise<void> {
    this.space ??= deferred()
    return this.space.promise
  }

  private flush (): void {
    this.flushing = true
    const flushed = (): void => {
      this.flushing = false
      if (this.unwrittenBytes >= this.windowBytes / 2) this.flush()
    }
    // A failure shows at the next append, and whoever waits need not wait for what will never be written.
    this.flushAll().catch(() => { this.onWritten(this.handedBytes) }).then(flushed, flushed)
  }

  private async flushAll (): Promise<void> {
    const bytes = this.handedBytes
    await this.log.flush()
    if (this.options.flushPolicy.kind !== 'each') this.onWritten(bytes)
  }

  private onWritten (bytes: number): void {
    this.writtenBytes = Math.max(this.writtenBytes, bytes)
    this.options.onVisible()
    if (this.space === undefined || this.unwrittenBytes >= this.windowBytes) return
    this.space.resolve()
    this.space = undefined
  }

  /** The store takes no more: nothing that stands behind can have the offset that it was given. */
  private refuse (error: unknown, ...refused: Deferred[]): void {
    for (const job of this.jobs) refused.push(job.done)
    if (this.gathered !== undefined) refused.push(this.gathered)
    this.jobs = []
    this.queuedBytes = this.batchBytes = 0
    this.buffer = this.gathered = undefined
    this.at = this.count = 0
    this.openBatches = this.openBatches.filter((offset) => offset < this.log.endOffset)
    this.next = this.log.endOffset
    for (const { reject } of refused) reject(error)
  }

  private appendInParts (records: ReadonlyArray<Bytes | RecordInput>, bytes: number): BatchAppended {
    this.claim()
    this.checkPending(this.batchBytes, bytes)
    this.handOver()
    const done = deferred()
    const baseOffset = this.next
    this.next += records.length
    this.batchBytes += bytes
    this.openBatches.push(baseOffset)
    this.jobs.push({ batch: [...records], bytes, done })
    this.working ??= this.work()
    return { baseOffset, count: records.length, committed: done.promise }
  }

  private async work (): Promise<void> {
    for (let job = this.jobs.shift(); job !== undefined; job = this.jobs.shift()) await this.do(job)
    this.working = undefined
  }

  private async do (job: Job): Promise<void> {
    if (!('entry' in job)) return await this.writeBatch(job)
    this.queuedBytes -= job.entry.length
    this.give(job.entry, job.count, job.done)
  }

  private async writeBatch ({ batch, bytes, done }: Job & { readonly bytes: number, readonly batch: ReadonlyArray<Bytes | RecordInput> }): Promise<void> {
    const baseOffset = this.log.endOffset
    const { sharing } = this.options
    sharing?.hide(baseOffset)
    const closeBatch = (): void => {
      this.openBatches = this.openBatches.filter((offset) => offset !== baseOffset)
      this.options.onVisible()
    }
    try {
      let committed: Promise<void> | undefined
      for (let index = 0; index < batch.length;) {
        const part = buildPart(batch, index, this.options.now(), this.options.segmentBytesMax)
        committed = this.toStore(part.entry, part.count)
        index += part.count
        this.waitsForSpace = index < batch.length && this.unwrittenBytes >= this.windowBytes
        if (this.waitsForSpace) await this.untilSpace()
        this.waitsForSpace = false
      }
      this.batchBytes -= bytes
      sharing?.reveal(baseOffset)
      // A log that failed may have the whole batch or not, which shows when it is opened again: readers stay in front of it.
      committed!.then(closeBatch, ignore)
      done.resolve(this.commitment(committed!))
    } catch (error) {
      sharing?.reveal(baseOffset)
      closeBatch()
      this.refuse(error, done)
    }
  }
}

function areValues (records: ReadonlyArray<Bytes | RecordInput>): records is readonly Uint8Array[] {
  return records.every((record) => record instanceof Uint8Array)
}

function ignore (): void {}
