/**
 * A log that lives in memory, for brokers inside tests: the whole contract but for stable storage. Entries are committed when
 * `append` returns.
 */
import { crc32c } from '../crc32c.js'
import { checkLogOptions } from './check-options.js'
import { checkEntry, checkLogName, entryOffsetCount, entryTimestampMaxMs, SEGMENT_BYTES_MAX_DEFAULT, writeBaseOffset } from './entry.js'
import { LogError, type EntryLayout, type EntryTimestamp, type FlushPolicy, type Log, type LogOptions, type LogRead, type LogStore, type PendingAppend, type ReadOptions, type SegmentInfo, type SegmentVerification, type StorageBackend } from './log.js'
import { readSegmentOf, segmentAt } from './one-segment.js'

interface Entry {
  readonly baseOffset: number
  readonly endOffset: number
  readonly timestampMaxMs: number
  readonly bytes: Buffer
}

interface Segment {
  readonly baseOffset: number
  readonly entries: Entry[]
  readonly firstAppendMs: number
  bytes: number
  timestampMaxMs: number
}

/** What stays of a log when it is closed. */
interface Content {
  segments: Segment[]
  startOffset: number
  endOffset: number
}

const COMMITTED = Promise.resolve()

export class MemoryLogStore implements LogStore {
  readonly backend: StorageBackend = { name: 'memory', direct: false, reason: 'asked for: nothing survives this process' }
  readonly flushPolicy: FlushPolicy = { kind: 'none' }
  private readonly contents = new Map<string, Content>()
  private readonly logs = new Map<string, MemoryLog>()
  private closed = false

  bytesFree (): number { return Infinity }

  async names (): Promise<readonly string[]> { return [...this.contents.keys()] }

  async open (name: string, options: LogOptions): Promise<Log> {
    if (this.closed) throw new LogError('closed', 'the store is closed')
    checkLogName(name)
    checkLogOptions(options)
    if (this.logs.has(name)) throw new LogError('locked', `the log '${name}' is open already`)
    let content = this.contents.get(name)
    if (content === undefined) this.contents.set(name, content = { segments: [], startOffset: 0, endOffset: 0 })
    const log = new MemoryLog(name, options, content, () => this.logs.delete(name))
    this.logs.set(name, log)
    return log
  }

  async remove (name: string): Promise<void> {
    await this.logs.get(name)?.close()
    this.contents.delete(name)
  }

  async rename (from: string, to: string): Promise<void> {
    if (this.closed) throw new LogError('closed', 'the store is closed')
    for (const name of [from, to]) {
      checkLogName(name)
      if (this.logs.has(name)) throw new LogError('locked', `the log '${name}' is open`)
    }
    const content = this.contents.get(from)
    if (content === undefined || from === to) return // a log that is not there is an empty one
    if (this.contents.has(to)) throw new LogError('denied', `there is a log '${to}' already`)
    this.contents.delete(from)
    this.contents.set(to, content)
  }

  async close (): Promise<void> {
    this.closed = true
    for (const log of [...this.logs.values()]) await log.close()
    this.contents.clear()
  }
}

class MemoryLog implements Log {
  private readonly layout: EntryLayout
  private readonly segmentBytesMax: number
  private readonly segmentEntriesMax: number
  private readonly segmentAgeMsMax: number
  private sealed = false
  private closed = false

  constructor (readonly name: string, options: LogOptions, private readonly content: Content, private readonly onClose: () => void) {
    this.layout = options.layout
    this.segmentBytesMax = options.segmentBytesMax ?? SEGMENT_BYTES_MAX_DEFAULT
    this.segmentEntriesMax = options.segmentEntriesMax ?? Infinity
    this.segmentAgeMsMax = options.segmentAgeMsMax ?? Infinity
  }

  get startOffset (): number { return this.content.startOffset }
  get endOffset (): number { return this.content.endOffset }
  get committedEndOffset (): number { return this.content.endOffset }
  get bytes (): number { return this.content.segments.reduce((sum, segment) => sum + segment.bytes, 0) }

  append (entry: Uint8Array): PendingAppend {
    this.checkOpen()
    const bytes = Buffer.from(entry)
    checkEntry(this.layout, bytes, this.segmentBytesMax)
    const baseOffset = this.content.endOffset
    writeBaseOffset(this.layout, bytes, baseOffset)
    const endOffset = baseOffset + entryOffsetCount(this.layout, bytes, 0)
    const timestampMaxMs = entryTimestampMaxMs(this.layout, bytes, 0)
    const segment = this.segmentFor(bytes.length)
    segment.entries.push({ baseOffset, endOffset, timestampMaxMs, bytes })
    segment.bytes += bytes.length
    segment.timestampMaxMs = Math.max(segment.timestampMaxMs, timestampMaxMs)
    this.content.endOffset = endOffset
    return { baseOffset, committed: COMMITTED }
  }

  async read (offset: number, options: ReadOptions): Promise<LogRead> {
    this.checkOpen()
    const { startOffset, endOffset } = this.content
    if (!(Number.isSafeInteger(offset) && offset >= startOffset && offset <= endOffset)) {
      throw new LogError('out-of-range', `offset ${offset} of '${this.name}' is outside ${startOffset} to ${endOffset}`)
    }
    const limit = Math.min(options.endOffset ?? endOffset, endOffset)
    const parts: Buffer[] = []
    let bytes = 0
    let nextOffset = offset
    for (const entry of this.entriesFrom(offset)) {
      const wanted = bytes + entry.bytes.length <= options.bytesMax || (bytes === 0 && options.atLeastOneEntry === true)
      if (entry.endOffset > limit || !wanted) break
      parts.push(entry.bytes)
      bytes += entry.bytes.length
      nextOffset = entry.endOffset
    }
    return { parts, bytes, nextOffset }
  }

  async entryAtTimestamp (timestampMs: number): Promise<EntryTimestamp | null> {
    this.checkOpen()
    for (const segment of this.content.segments) {
      if (segment.timestampMaxMs < timestampMs) continue
      for (const { baseOffset, endOffset, timestampMaxMs } of segment.entries) {
        if (timestampMaxMs >= timestampMs && endOffset > this.content.startOffset) return { baseOffset, timestampMaxMs }
      }
    }
    return null
  }

  async entryWithTimestampMax (): Promise<EntryTimestamp | null> {
    this.checkOpen()
    let found: EntryTimestamp | null = null
    for (const { baseOffset, timestampMaxMs } of this.entriesFrom(this.content.startOffset)) {
      if (found === null || timestampMaxMs > found.timestampMaxMs) found = { baseOffset, timestampMaxMs }
    }
    return found
  }

  async flush (): Promise<void> { this.checkOpen() }

  async roll (): Promise<void> {
    this.checkOpen()
    this.sealed = true
  }

  async truncateFront (offset: number): Promise<void> {
    this.checkOpen()
    const { content } = this
    if (offset > content.endOffset) {
      throw new LogError('out-of-range', `offset ${offset} of '${this.name}' is beyond its end ${content.endOffset}`)
    }
    content.startOffset = Math.max(content.startOffset, offset)
    const { segments } = content
    while (segments.length > 0 && segments[0]!.entries.at(-1)!.endOffset <= content.startOffset) segments.shift()
  }

  segments (): readonly SegmentInfo[] {
    const { segments } = this.content
    return segments.map((segment, index) => ({
      baseOffset: segment.baseOffset,
      endOffset: segment.entries.at(-1)!.endOffset,
      bytes: segment.bytes,
      compression: 'none',
      storedBytes: segment.bytes,
      timestampMaxMs: segment.timestampMaxMs,
      sealed: index < segments.length - 1 || this.sealed
    }))
  }

  readSegment (baseOffset: number, { bytesMax }: { readonly bytesMax?: number } = {}): AsyncIterable<LogRead> {
    return readSegmentOf(this, baseOffset, bytesMax)
  }

  async verifySegment (baseOffset: number): Promise<SegmentVerification> {
    this.checkOpen()
    segmentAt(this, baseOffset)
    const { entries } = this.content.segments.find((segment) => segment.baseOffset === baseOffset)!
    let bytes = 0
    let entryCount = 0
    for (const entry of entries) {
      if (crc32c(entry.bytes.subarray(this.layout.checksumFrom)) !== entry.bytes.readUInt32BE(this.layout.checksumAt)) break
      bytes += entry.bytes.length
      entryCount++
    }
    const damage = entryCount === entries.length ? null : { file: '', position: bytes, what: 'the entry there is not valid' }
    return { baseOffset, endOffset: entries[entryCount - 1]?.endOffset ?? baseOffset, entryCount, bytes, checksum: 'none', damage }
  }

  async close (): Promise<void> {
    if (this.closed) return
    this.closed = true
    this.onClose()
  }

  private checkOpen (): void {
    if (this.closed) throw new LogError('closed', `the log '${this.name}' is closed`)
  }

  private segmentFor (bytes: number): Segment {
    const last = this.content.segments.at(-1)
    const fits = last !== undefined && !this.sealed && last.bytes + bytes <= this.segmentBytesMax && last.entries.length < this.segmentEntriesMax
    if (fits && (this.segmentAgeMsMax === Infinity || Date.now() - last.firstAppendMs < this.segmentAgeMsMax)) return last
    const segment: Segment = { baseOffset: this.content.endOffset, entries: [], firstAppendMs: Date.now(), bytes: 0, timestampMaxMs: -1 }
    this.content.segments.push(segment)
    this.sealed = false
    return segment
  }

  /** Entries from the one that contains `offset` on. */
  private * entriesFrom (offset: number): Generator<Entry> {
    const { segments } = this.content
    const first = firstWhere(segments, (segment) => segment.entries.at(-1)!.endOffset > offset)
    for (let index = first; index < segments.length; index++) {
      const { entries } = segments[index]!
      const at = index === first ? firstWhere(entries, (entry) => entry.endOffset > offset) : 0
      for (let entry = at; entry < entries.length; entry++) yield entries[entry]!
    }
  }
}

/** Index of the first element for which an increasing predicate holds; the length when there is none. */
function firstWhere<T> (list: readonly T[], predicate: (element: T) => boolean): number {
  let low = 0
  let high = list.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (predicate(list[middle]!)) high = middle
    else low = middle + 1
  }
  return low
}
