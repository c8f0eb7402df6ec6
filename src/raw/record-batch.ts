/**
 * Many records, as they were read: runs of neighbours in the bytes of entries. A record becomes an object when it is asked for, its value
 * a view when that is asked for; `eachValue` looks at all values without making either. The bytes were checked when they were read.
 */
import { LogError } from '../log/log.js'
import type { RawEntry } from './entry.js'
import { isCompressed, nextRecordAt, openValueAt, PLAIN_BYTES, readUint32, StoredRecord, valueBytesAt, type LogRecord, type RecordContext } from './record.js'

/** Records of one entry with nothing between them. */
export interface RecordRun {
  readonly entry: RawEntry
  /** The first one's, and where it begins. */
  readonly offset: number
  readonly at: number
  readonly count: number
  /** Values that are compressed in the entry, by where their records begin; undefined for none. */
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
      else return recordOf(run, left, this.walked(run, left))
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
    for (const { entry, offset, at: first, count, opened } of this.there()) {
      const { bytes, to } = entry
      for (let index = 0, at = first; index < count; index++) {
        if (bytes[at] === 0) {
          const end = at + PLAIN_BYTES + readUint32(bytes, at + 1)
          visit(bytes, at + PLAIN_BYTES, end, offset + index)
          at = end
        } else {
          visitSpecial(visit, new StoredRecord(bytes, at, offset + index, 0, opened?.get(at)), bytes)
          at = nextRecordAt(bytes, at, to)
        }
      }
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

  private walked ({ entry: { bytes, to }, at }: RecordRun, count: number): number {
    for (let index = 0; index < count; index++) at = nextRecordAt(bytes, at, to)
    return at
  }
}

function recordOf ({ entry: { bytes, timestampMs }, offset, opened }: RecordRun, index: number, at: number): StoredRecord {
  return new StoredRecord(bytes, at, offset + index, timestampMs, opened?.get(at))
}

function visitSpecial (visit: ValueVisitor, record: StoredRecord, bytes: Buffer): void {
  const { opened, valueAt, valueBytes, offset } = record
  if (record.isTombstone) visit(bytes, -1, -1, offset)
  else if (opened !== undefined) visit(opened, 0, opened.length, offset)
  else visit(bytes, valueAt, valueAt + valueBytes, offset)
}

class RecordIterator implements IterableIterator<LogRecord> {
  private runIndex = -1
  private run: RecordRun | undefined
  private index = 0
  private at = 0

  constructor (private readonly runs: readonly RecordRun[]) {}

  [Symbol.iterator] (): this {
    return this
  }

  next (): IteratorResult<LogRecord, undefined> {
    let { run } = this
    if (run === undefined || this.index === run.count) {
      run = this.run = this.runs[++this.runIndex]
      if (run === undefined) return { done: true, value: undefined }
      this.index = 0
      this.at = run.at
    }
    const record = recordOf(run, this.index++, this.at)
    this.at = nextRecordAt(run.entry.bytes, this.at, run.entry.to)
    return { done: false, value: record }
  }
}

/** Gathers the records of a batch, entry by entry, within its limits. */
export class RecordCollector {
  readonly runs: RecordRun[] = []
  count = 0

  constructor (private bytesLeft: number, private readonly recordsMax: number, private readonly context: RecordContext) {}

  get isFull (): boolean {
    return this.bytesLeft <= 0 || this.count >= this.recordsMax
  }

  /**
   * Takes the records from the one at `offset`, which begins at `at`, to below `endOffset`, until a limit is reached; returns where the next one
   * stands. Expired ones are passed over. Throws RangeError where the entry is no run of records, LogError 'corrupt' where a value cannot be opened.
   */
  take (entry: RawEntry, offset: number, at: number, endOffset: number): { readonly offset: number, readonly at: number } {
    const { bytes, to } = entry
    let [firstOffset, firstAt] = [offset, at]
    let opened: Map<number, Buffer> | undefined
    for (; offset < endOffset && this.count < this.recordsMax; offset++) {
      const next = nextRecordAt(bytes, at, to)
      const flags = bytes[at]!
      if (flags === 0) {
        this.bytesLeft -= next - at - PLAIN_BYTES
        if (this.bytesLeft < 0 && this.count > 0) break
      } else {
        const record = new StoredRecord(bytes, at, offset, entry.timestampMs, undefined)
        const { expiresAtMs } = record
        if (expiresAtMs !== null && expiresAtMs <= this.context.nowMs) {
          this.endRun(entry, firstOffset, firstAt, offset, opened)
          firstOffset = offset + 1
          firstAt = at = next
          continue
        }
        this.bytesLeft -= record.keyBytes + valueBytesAt(bytes, at)
        if (this.bytesLeft < 0 && this.count > 0) break
        if (isCompressed(flags)) (opened ??= new Map()).set(at, openValueAt(bytes, at, offset, this.context.recordBytesMax))
      }
      this.count++
      at = next
    }
    this.endRun(entry, firstOffset, firstAt, offset, opened)
    return { offset, at }
  }

  private endRun (entry: RawEntry, offset: number, at: number, endOffset: number, opened: ReadonlyMap<number, Buffer> | undefined): void {
    if (endOffset > offset) this.runs.push({ entry, offset, at, count: endOffset - offset, opened })
  }
}
