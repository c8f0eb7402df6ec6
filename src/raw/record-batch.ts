/**
 * Many records, as they were read: runs of neighbours in the bytes of entries. A record becomes an object when it is asked for, its value
 * a view when that is asked for; `eachValue` looks at all values without making either. The bytes were checked when they were read.
 */
import { LogError } from '../log/log.js'
import type { EntryRecords } from './entry-records.js'
import { isCompressed, openValueAt, PLAIN_BYTES, StoredRecord, valueBytesAt, type LogRecord, type RecordContext } from './record.js'

/** Records of one entry with nothing between them. */
export interface RecordRun {
  readonly records: EntryRecords
  /** In the entry, of the first one. */
  readonly index: number
  readonly count: number
  /** Values that are compressed in the entry, by the indexes of their records; undefined for none. */
  readonly opened: ReadonlyMap<number, Buffer> | undefined
}

/** `bytes` from `from` to `to` are the value; of a tombstone both are -1. Valid until the function returns. */
export type ValueVisitor = (bytes: Buffer, from: number, to: number, offset: number) => void

export class RecordBatch implements Iterable<LogRecord> {
  private runs: readonly RecordRun[] | undefined

  /** Made by reads. */
  constructor (
    runs: readonly RecordRun[],
    /** Count of the records. */
    readonly length: number,
    /** Where reading goes on: behind the last record and the expired ones that follow it. */
    readonly nextOffset: number,
    private readonly onRelease: () => void
  ) {
    this.runs = runs
  }

  [Symbol.iterator] (): IterableIterator<LogRecord> {
    return new RecordIterator(this.there())
  }

  /** The record with this index; from the end when it is negative. */
  at (index: number): LogRecord | undefined {
    let left = Math.trunc(index) || 0
    if (left < 0) left += this.length
    if (!(left >= 0 && left < this.length)) return undefined
    for (const run of this.there()) {
      if (left >= run.count) left -= run.count
      else return recordOf(run, run.index + left)
    }
    return undefined
  }

  map<T> (convert: (record: LogRecord, index: number) => T): T[] {
    return Array.from(this, convert)
  }

  /** For what arrays can do and batches cannot. */
  toArray (): LogRecord[] {
    return [...this]
  }

  /** Looks at all values in order; the cheapest way to do so. */
  eachValue (visit: ValueVisitor): void {
    for (const run of this.there()) {
      if (run.records.isPlain) visitPlain(visit, run)
      else visitSpecial(visit, run)
    }
  }

  /**
   * Says that nobody looks at these records or their keys and values any more: their memory may be used for the next read at once. Never
   * needed, but spares the garbage collector the work, and the process the memory.
   */
  release (): void {
    if (this.runs === undefined) return
    this.runs = undefined
    this.onRelease()
  }

  private there (): readonly RecordRun[] {
    if (this.runs === undefined) throw new LogError('closed', 'this batch of records was released')
    return this.runs
  }
}

function recordOf ({ records, opened }: RecordRun, index: number): StoredRecord {
  const { entry } = records
  return new StoredRecord(entry.bytes, records.startOf(index), entry.baseOffset + index, entry.timestampMs, opened?.get(index))
}

/** The records themselves are not looked at: whoever waits for one of them does not wait for the one before. */
function visitPlain (visit: ValueVisitor, { records: { entry: { bytes, baseOffset }, starts, first }, index: from, count }: RecordRun): void {
  let at = starts[first + from]!
  for (let index = from; index < from + count; index++) {
    const end = starts[first + index + 1]!
    visit(bytes, at + PLAIN_BYTES, end, baseOffset + index)
    at = end
  }
}

function visitSpecial (visit: ValueVisitor, run: RecordRun): void {
  const { bytes } = run.records.entry
  for (let index = run.index; index < run.index + run.count; index++) {
    const { isTombstone, opened, valueAt, valueBytes, offset } = recordOf(run, index)
    if (isTombstone) visit(bytes, -1, -1, offset)
    else if (opened !== undefined) visit(opened, 0, opened.length, offset)
    else visit(bytes, valueAt, valueAt + valueBytes, offset)
  }
}

class RecordIterator implements IterableIterator<LogRecord> {
  private runIndex = -1
  private run: RecordRun | undefined
  private index = 0

  constructor (private readonly runs: readonly RecordRun[]) {}

  [Symbol.iterator] (): this {
    return this
  }

  next (): IteratorResult<LogRecord, undefined> {
    let { run } = this
    if (run === undefined || this.index === run.index + run.count) {
      run = this.run = this.runs[++this.runIndex]
      if (run === undefined) return { done: true, value: undefined }
      this.index = run.index
    }
    return { done: false, value: recordOf(run, this.index++) }
  }
}

/** Gathers the records of a batch, entry by entry, within its limits. */
export class RecordCollector {
  readonly runs: RecordRun[] = []
  count = 0

  /** `bytesLeft`: of keys and values that may still be taken. */
  constructor (public bytesLeft: number, private readonly recordsMax: number, private readonly context: RecordContext) {}

  get recordsLeft (): number {
    return this.recordsMax - this.count
  }

  /** The first record is taken whatever its size, also when expired ones come before it. */
  get isFull (): boolean {
    return this.recordsLeft <= 0 || (this.count > 0 && this.bytesLeft <= 0)
  }

  /**
   * Takes the records of an entry from the one at `offset` to below `endOffset`, until a limit is reached; returns the offset of the next one.
   * Expired ones are passed over. Throws RangeError where the entry has no such records, LogError 'corrupt' where a value cannot be opened.
   */
  take (records: EntryRecords, offset: number, endOffset: number): number {
    const { baseOffset } = records.entry
    const [from, to] = [offset - baseOffset, endOffset - baseOffset]
    return baseOffset + (records.isPlain ? this.takePlain(records, from, to) : this.takeSpecial(records, from, to))
  }

  /** By where they begin, without looking at them. */
  private takePlain (records: EntryRecords, from: number, to: number): number {
    const start = records.startOf(from)
    const bytesTo = (end: number): number => records.startOf(end) - start - PLAIN_BYTES * (end - from)
    const wanted = Math.min(to, from + this.recordsLeft)
    let end = Math.min(wanted, records.count)
    if (end > from && bytesTo(end) > this.bytesLeft) {
      const most = end
      end = this.count === 0 ? from + 1 : from
      while (end < most && bytesTo(end + 1) <= this.bytesLeft) end++
    } else if (end < wanted) throw missing(end)
    this.bytesLeft -= bytesTo(end)
    this.add(records, from, end, undefined)
    return end
  }

  private takeSpecial (records: EntryRecords, from: number, to: number): number {
    const { bytes, baseOffset, timestampMs } = records.entry
    let opened: Map<number, Buffer> | undefined
    let index = from
    for (; index < to && index - from < this.recordsLeft; index++) {
      if (index >= records.count) throw missing(index)
      const at = records.startOf(index)
      const record = new StoredRecord(bytes, at, baseOffset + index, timestampMs, undefined)
      const { expiresAtMs } = record
      if (expiresAtMs !== null && expiresAtMs <= this.context.nowMs) {
        this.add(records, from, index, opened)
        from = index + 1
        continue
      }
      const recordBytes = record.keyBytes + valueBytesAt(bytes, at)
      if (recordBytes > this.bytesLeft && this.count + index > from) break
      this.bytesLeft -= recordBytes
      if (isCompressed(bytes[at]!)) (opened ??= new Map()).set(index, openValueAt(bytes, at, baseOffset + index, this.context.recordBytesMax))
    }
    this.add(records, from, index, opened)
    return index
  }

  private add (records: EntryRecords, from: number, to: number, opened: ReadonlyMap<number, Buffer> | undefined): void {
    if (to <= from) return
    this.runs.push({ records, index: from, count: to - from, opened })
    this.count += to - from
  }
}

const missing = (index: number): RangeError => new RangeError(`record ${index} ends behind its entry`)
