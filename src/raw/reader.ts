/**
 * Reads the records of one topic: in order, without those whose time to live is over and those of batches that were never finished.
 *
 * A reader remembers the entries that it read last and where in them it stood, so that reading on, also one record at a time, neither
 * asks the store again nor walks an entry from its beginning. Who reads on is read ahead for, with reads that grow. Any number of
 * calls may overlap.
 */
import { LogError, type Log as StoreLog } from '../log/log.js'
import { ENTRY_HEADER_BYTES, entriesIn, type RawEntry } from './entry.js'
import { readRecord, recordBytesAt, type LogRecord } from './record.js'

export interface ReadLimits {
  /** Bytes of keys and values to return at most; the first record is returned whatever its size. */
  readonly bytesMax: number
  readonly recordsMax: number
  /** First offset that is not read. Default: all that is committed. */
  readonly endOffset?: number
}

export interface ReadRecords {
  readonly records: readonly LogRecord[]
  /** Where reading goes on: behind the last record and the expired ones that follow it. */
  readonly nextOffset: number
}

export interface ReaderOptions {
  readonly log: StoreLog
  readonly topic: string
  readonly visibleEndOffset: () => number
  /** Nothing below it is read: the log's start, or where that is being moved to, whose files may be gone already. */
  readonly startOffset: () => number
  readonly now: () => number
  readonly recordBytesMax: number
}

const READ_BYTES_MIN = 128 * 1024
const READ_BYTES_MAX = 4 * 1024 * 1024
/** A look at one entry's header, whatever the entry's size. */
const LOOK_BYTES = 1

export class RecordReader {
  private chunk: readonly RawEntry[] = []
  private readBytes = READ_BYTES_MIN
  private ahead: { readonly offset: number, readonly chunk: Promise<readonly RawEntry[]> } | undefined
  /** The record at `offset` begins at `at` in `entry`. */
  private place: { readonly entry: RawEntry, readonly offset: number, readonly at: number } | undefined
  /** Batches in parts, by their first offset: whether their last part is there. */
  private readonly batches = new Map<number, boolean>()

  constructor (private readonly options: ReaderOptions) {}

  /** An offset below the start reads from the start, also when that moves meanwhile. Rejects with LogError 'out-of-range', 'corrupt', 'failed', 'closed'. */
  async read (offset: number, limits: ReadLimits): Promise<ReadRecords> {
    const endOffset = Math.min(limits.endOffset ?? Infinity, this.options.visibleEndOffset())
    const records: LogRecord[] = []
    let bytesLeft = limits.bytesMax
    let nextOffset = offset
    while (records.length < limits.recordsMax) {
      nextOffset = Math.max(nextOffset, this.options.startOffset())
      const entry = this.remembered(nextOffset, endOffset) ?? await this.entryAt(nextOffset, endOffset).catch((error: unknown) => this.truncated(nextOffset, error))
      if (entry === 'truncated') continue
      if (entry === undefined) break
      const there = entry.batchCount === 0 || await this.isWhole(entry)
      if (!there) {
        nextOffset = entry.endOffset
        continue
      }
      const before = records.length
      const from = nextOffset
      nextOffset = this.collect(entry, from, Math.min(endOffset, entry.endOffset), { bytesLeft, recordsMax: limits.recordsMax }, records)
      for (let index = before; index < records.length; index++) bytesLeft -= sizeOf(records[index]!)
      if (nextOffset < Math.min(endOffset, entry.endOffset) || bytesLeft <= 0) break
    }
    return { records, nextOffset }
  }

  /** Appends the entry's records to `records` until a limit is reached; returns where the next one stands. */
  private collect (entry: RawEntry, from: number, endOffset: number, limits: { readonly bytesLeft: number, readonly recordsMax: number }, records: LogRecord[]): number {
    const context = { timestampMs: entry.timestampMs, nowMs: this.options.now(), recordBytesMax: this.options.recordBytesMax }
    let { bytesLeft } = limits
    try {
      let at = this.find(entry, from)
      let offset = from
      for (; offset < endOffset && records.length < limits.recordsMax; offset++) {
        const bytes = recordBytesAt(entry.bytes, at)
        if (at + bytes > entry.bytes.length) throw new RangeError('a record ends behind its entry')
        const record = readRecord(entry.bytes, at, offset, context)
        if (record !== undefined) {
          bytesLeft -= sizeOf(record)
          if (bytesLeft < 0 && records.length > 0) break
          records.push(record)
        }
        at += bytes
      }
      this.place = { entry, offset, at }
      return offset
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      throw new LogError('corrupt', `the entry at offset ${entry.baseOffset} of the topic '${this.options.topic}' is not a run of ${entry.endOffset - entry.baseOffset} records`, { cause: error })
    }
  }

  /** Position of a record in its entry. */
  private find (entry: RawEntry, offset: number): number {
    const { place } = this
    const known = place !== undefined && place.entry === entry && place.offset <= offset
    let at = known ? place.at : ENTRY_HEADER_BYTES
    for (let here = known ? place.offset : entry.baseOffset; here < offset; here++) at += recordBytesAt(entry.bytes, at)
    return at
  }

  private remembered (offset: number, endOffset: number): RawEntry | undefined {
    const { chunk, place } = this
    if (offset >= endOffset || offset < this.options.log.startOffset) return undefined
    if (place !== undefined && place.entry.baseOffset <= offset && offset < place.entry.endOffset) return place.entry
    if (chunk.length === 0 || offset < chunk[0]!.baseOffset || offset >= chunk.at(-1)!.endOffset) return undefined
    let low = 0
    for (let high = chunk.length - 1; low < high;) {
      const middle = (low + high) >>> 1
      if (offset < chunk[middle]!.endOffset) high = middle
      else low = middle + 1
    }
    return chunk[low]
  }

  private async entryAt (offset: number, endOffset: number): Promise<RawEntry | undefined> {
    const { log } = this.options
    if (offset >= endOffset && offset <= log.endOffset && offset >= log.startOffset) return undefined
    const inOrder = offset === this.chunk.at(-1)?.endOffset
    this.readBytes = inOrder ? Math.min(READ_BYTES_MAX, this.readBytes * 2) : READ_BYTES_MIN
    const { ahead } = this
    this.ahead = undefined
    // What could not be read ahead is read again: it may have been truncated, or not have been there yet.
    const chunk = await (ahead?.offset === offset ? ahead.chunk.catch(() => this.chunkFrom(offset)) : this.chunkFrom(offset))
    this.chunk = chunk
    if (inOrder) this.readAhead()
    return chunk[0]
  }

  private truncated (offset: number, error: unknown): 'truncated' {
    if (error instanceof LogError && offset < this.options.startOffset()) return 'truncated'
    throw error
  }

  private readAhead (): void {
    const offset = this.chunk.at(-1)?.endOffset
    if (offset === undefined || offset >= this.options.visibleEndOffset()) return
    const chunk = this.chunkFrom(offset)
    chunk.catch(ignore)
    this.ahead = { offset, chunk }
  }

  private async chunkFrom (offset: number): Promise<readonly RawEntry[]> {
    const { log, visibleEndOffset } = this.options
    const { parts } = await log.read(offset, { bytesMax: this.readBytes, atLeastOneEntry: true, endOffset: visibleEndOffset() })
    return entriesIn(parts)
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
      const [last] = entriesIn((await log.read(lastOffset, { bytesMax: LOOK_BYTES, atLeastOneEntry: true })).parts)
      whole = last !== undefined && last.batchCount === part.batchCount && last.baseOffset - last.batchIndex === baseOffset && last.endOffset === lastOffset + 1
    }
    this.batches.clear()
    this.batches.set(baseOffset, whole)
    return whole
  }
}

function ignore (): void {}

function sizeOf ({ key, value }: LogRecord): number {
  return (key === null ? 0 : key.length) + (value === null ? 0 : value.length)
}
