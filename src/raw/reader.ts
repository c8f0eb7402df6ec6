/**
 * Reads the records of one topic: in order, without those whose time to live is over and those of batches that were never finished.
 *
 * A reader remembers the entries that it read last and where in them it stood, so that reading on, also one record at a time, neither
 * asks the store again nor walks an entry from its beginning. Who reads on is read ahead for, with reads that grow, as far as the memory that all
 * readers of the log share allows. Any number of calls may overlap.
 */
import { LogError, type Log as StoreLog, type LogRead } from '../log/log.js'
import { entriesIn, releaseMemory, takeMemory, type RawEntry } from './entry.js'
import { findRecords, releaseStarts, type EntryRecords } from './entry-records.js'
import { HeldMemory, type Holder } from './held-memory.js'
import { RecordBatch, RecordCollector } from './record-batch.js'

export interface ReadLimits {
  /** Bytes of keys and values to return at most; the first record is returned whatever its size. */
  readonly bytesMax: number
  readonly recordsMax: number
  /** First offset that is not read. Default: all that is committed. */
  readonly endOffset?: number
}

export interface ReaderOptions {
  readonly log: StoreLog
  readonly topic: string
  readonly visibleEndOffset: () => number
  /** Nothing below it is read: the log's start, or where that is being moved to, whose files may be gone already. */
  readonly startOffset: () => number
  readonly now: () => number
  readonly recordBytesMax: number
  /** Of all readers of the log. Default: one of its own. */
  readonly held?: HeldMemory
}

const READ_BYTES_MIN = 128 * 1024
/** With what the engine reads around it a little less than 4 MiB: that much it has as one piece of memory, to be used again. */
const READ_BYTES_MAX = 4 * 1024 * 1024 - 64 * 1024
/** A look at one entry's header, whatever the entry's size. */
const LOOK_BYTES = 1

/** Entries that were read together. Their memory goes back when the last one who holds them lets go: the reader, and each batch that has records of them. */
class Chunk {
  readonly entries: readonly RawEntry[]
  /** By the index of their entry. Those of others are not known yet. */
  private readonly records: (EntryRecords | undefined)[] = []
  private readonly starts: Int32Array[] = []
  /** Entries that the read has in pieces. */
  private readonly joined: Buffer[] = []
  private holders = 1
  /** Index of the entry that was looked for last. */
  private place = 0

  constructor (private readonly read: LogRead) {
    this.entries = entriesIn(read.parts, (bytes) => {
      const memory = takeMemory(bytes)
      this.joined.push(memory)
      return memory
    })
  }

  get bytes (): number { return this.read.bytes }

  hold (): this {
    this.holders++
    return this
  }

  drop (): void {
    if (--this.holders !== 0) return
    this.read.release?.()
    for (const starts of this.starts) releaseStarts(starts)
    for (const memory of this.joined) releaseMemory(memory)
  }

  /** Index of the entry that has the record at `offset`: whoever reads on finds it where the last one was, or behind that. */
  find (offset: number): number | undefined {
    const { entries, place } = this
    for (let index = place; index < entries.length && index < place + 2; index++) {
      if (isIn(entries[index]!, offset)) return this.place = index
    }
    let low = 0
    for (let high = entries.length - 1; low < high;) {
      const middle = (low + high) >>> 1
      if (offset < entries[middle]!.endOffset) high = middle
      else low = middle + 1
    }
    const found = entries[low]
    return found !== undefined && isIn(found, offset) ? this.place = low : undefined
  }

  /** Also finds those of the entries behind it that so many bytes and records reach into. */
  recordsOf (index: number, bytesMax: number, recordsMax: number): EntryRecords {
    const known = this.records[index]
    if (known !== undefined) return known
    const { entries } = this
    let [bytes, count, end] = [0, 0, index]
    do {
      const { from, to, baseOffset, endOffset } = entries[end++]!
      bytes += to - from
      count += endOffset - baseOffset
    } while (end < entries.length && bytes < bytesMax && count < recordsMax && this.records[end] === undefined)
    const found = findRecords(entries.slice(index, end))
    for (const [at, records] of found.entries()) this.records[index + at] = records
    this.starts.push(found[0]!.starts)
    return found[0]!
  }
}

/** Whoever got a value may have given its memory to another thread: then the entry is not here any more. */
const isIn = ({ bytes, baseOffset, endOffset }: RawEntry, offset: number): boolean => baseOffset <= offset && offset < endOffset && bytes.length > 0

interface Held {
  readonly chunk: Chunk
  /** Of the entry in the chunk. */
  readonly index: number
}

interface Ahead {
  readonly offset: number
  readonly chunk: Promise<Chunk>
}

export class RecordReader implements Holder {
  private readonly held: HeldMemory
  private closed = false
  private chunk: Chunk | undefined
  private readBytes = READ_BYTES_MIN
  private ahead: Ahead | undefined
  /** Batches in parts, by their first offset: whether their last part is there. */
  private readonly batches = new Map<number, boolean>()

  constructor (private readonly options: ReaderOptions) {
    this.held = options.held ?? new HeldMemory()
  }

  /** Nobody reads on. */
  close (): void {
    this.closed = true
    this.held.release(this)
    this.letGo()
  }

  letGo (): void {
    this.chunk?.drop()
    this.chunk = undefined
    forget(this.ahead)
    this.ahead = undefined
  }

  /** An offset below the start reads from the start, also when that moves meanwhile. Rejects with LogError 'out-of-range', 'corrupt', 'failed', 'closed'. */
  async read (offset: number, limits: ReadLimits): Promise<RecordBatch> {
    const endOffset = Math.min(limits.endOffset ?? Infinity, this.options.visibleEndOffset())
    const collector = new RecordCollector(limits.bytesMax, limits.recordsMax, { nowMs: this.options.now(), recordBytesMax: this.options.recordBytesMax })
    const chunks: Chunk[] = []
    const drop = (): void => { for (const chunk of chunks) chunk.drop() }
    try {
      const nextOffset = await this.collect(offset, endOffset, collector, chunks)
      return new RecordBatch(collector.runs, collector.count, nextOffset, drop)
    } catch (error) {
      drop()
      throw error
    }
  }

  /** Returns where reading goes on. Holds every chunk that it adds to `chunks`. */
  private async collect (offset: number, endOffset: number, collector: RecordCollector, chunks: Chunk[]): Promise<number> {
    let nextOffset = offset
    do {
      nextOffset = Math.max(nextOffset, this.options.startOffset())
      const found = this.remembered(nextOffset, endOffset) ?? await this.entryAt(nextOffset, endOffset).catch((error: unknown) => this.truncated(nextOffset, error))
      if (found === 'truncated') continue
      if (found === undefined) return nextOffset
      const { chunk, index } = found
      const entry = chunk.entries[index]!
      if (chunks.at(-1) === chunk) chunk.drop()
      else chunks.push(chunk)
      const entryEnd = Math.min(endOffset, entry.endOffset)
      const isThere = entry.batchCount === 0 || await this.isWhole(entry)
      nextOffset = isThere ? this.take(collector, found, nextOffset, entryEnd) : entry.endOffset
      if (nextOffset < entryEnd) return nextOffset
    } while (!collector.isFull)
    return nextOffset
  }

  /** Takes records of the entry until it ends or a limit is reached; returns the offset of the next one. */
  private take (collector: RecordCollector, { chunk, index }: Held, from: number, endOffset: number): number {
    try {
      return collector.take(chunk.recordsOf(index, collector.bytesLeft, collector.recordsLeft), from, endOffset)
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      const entry = chunk.entries[index]!
      throw new LogError('corrupt', `the entry at offset ${entry.baseOffset} of the topic '${this.options.topic}' is not a run of ${entry.endOffset - entry.baseOffset} records`, { cause: error })
    }
  }

  private remembered (offset: number, endOffset: number): Held | undefined {
    const { chunk } = this
    if (chunk === undefined || offset >= endOffset || offset < this.options.log.startOffset) return undefined
    const index = chunk.find(offset)
    return index === undefined ? undefined : { chunk: chunk.hold(), index }
  }

  private async entryAt (offset: number, endOffset: number): Promise<Held | undefined> {
    const { log } = this.options
    if (offset >= endOffset && offset <= log.endOffset && offset >= log.startOffset) return undefined
    const inOrder = offset === this.chunk?.entries.at(-1)?.endOffset
    // As much again is read ahead.
    const readBytesMax = Math.max(READ_BYTES_MIN, Math.min(READ_BYTES_MAX, this.held.share / 2))
    this.readBytes = inOrder ? Math.min(readBytesMax, this.readBytes * 2) : READ_BYTES_MIN
    const { ahead } = this
    this.ahead = undefined
    if (ahead?.offset !== offset) forget(ahead)
    // What could not be read ahead is read again: it may have been truncated, or not have been there yet.
    const chunk = await (ahead?.offset === offset ? ahead.chunk.catch(() => this.chunkFrom(offset)) : this.chunkFrom(offset))
    const found = chunk.entries.length === 0 ? undefined : { chunk: chunk.hold(), index: 0 }
    this.chunk?.drop()
    this.chunk = chunk
    if (inOrder) this.readAhead()
    if (this.closed) this.letGo()
    else this.held.hold(this, chunk.bytes + (this.ahead === undefined ? 0 : this.readBytes))
    return found
  }

  private truncated (offset: number, error: unknown): 'truncated' {
    if (error instanceof LogError && offset < this.options.startOffset()) return 'truncated'
    throw error
  }

  private readAhead (): void {
    const offset = this.chunk?.entries.at(-1)?.endOffset
    if (offset === undefined || offset >= this.options.visibleEndOffset()) return
    const chunk = this.chunkFrom(offset)
    chunk.catch(ignore)
    forget(this.ahead)
    this.ahead = { offset, chunk }
  }

  private async chunkFrom (offset: number): Promise<Chunk> {
    const { log, visibleEndOffset } = this.options
    return new Chunk(await log.read(offset, { bytesMax: this.readBytes, atLeastOneEntry: true, endOffset: visibleEndOffset() }))
  }

  /** A batch in parts is there when the entry where its last record would be is its last part. */
  private async isWhole (part: RawEntry): Promise<boolean> {
    const { log, visibleEndOffset } = this.options
    const baseOffset = part.baseOffset - part.batchIndex
    const known = this.batches.get(baseOffset)
    if (known !== undefined) return known
    const lastOffset = baseOffset + part.batchCount - 1
    let whole = false
    if (lastOffset < visibleEndOffset()) {
      const look = new Chunk(await log.read(lastOffset, { bytesMax: LOOK_BYTES, atLeastOneEntry: true }))
      const [last] = look.entries
      whole = last !== undefined && last.batchCount === part.batchCount && last.baseOffset - last.batchIndex === baseOffset && last.endOffset === lastOffset + 1
      look.drop()
    }
    this.batches.clear()
    this.batches.set(baseOffset, whole)
    return whole
  }
}

function forget (ahead: Ahead | undefined): void {
  ahead?.chunk.then((chunk) => { chunk.drop() }, ignore)
}

function ignore (): void {}
