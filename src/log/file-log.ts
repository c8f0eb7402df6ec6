/**
 * A log in plain TypeScript: positioned writes and fdatasync, committed in groups. Here is the queue, and what readers are given;
 * segment-writer.ts writes.
 *
 * Everything that changes the log goes through one queue in the order in which it was asked for: entries, and jobs (flush, roll,
 * truncate, close). One worker empties it: all entries that wait for the same segment go out in one write and one fdatasync, and what
 * arrives meanwhile is the next group. What is known of a segment (its `SegmentIndex`) changes only when a write is done, so readers
 * need no lock. A failed write or flush ends the log: what waited is rejected, and nothing is appended until it is opened again.
 */
import path from 'node:path'
import { CompressedSegment } from './compressed-segment.js'
import { checkEntry, entryOffsetCount, writeBaseOffset } from './entry.js'
import { fileError, isMissing } from './folder.js'
import { LogError, type EntryTimestamp, type FlushPolicy, type Log, type LogRead, type PendingAppend, type ReadOptions, type SegmentInfo, type SegmentVerification } from './log.js'
import { readSegmentOf, verifySegmentOf } from './one-segment.js'
import { moveStart } from './recovery.js'
import { openSegment } from './segment-file.js'
import type { SegmentIndex } from './segment-index.js'
import { segmentName } from './segment-names.js'
import { SegmentReader, type SegmentRead } from './segment-reader.js'
import { SegmentWriter, type SegmentWriterParts, type WrittenEntry } from './segment-writer.js'
import type { Turns } from './turns.js'

export interface FileLogParts extends SegmentWriterParts {
  readonly name: string
  /** Whether so many bytes more fit the device. */
  readonly hasSpace: (bytes: number) => boolean
  /** Changes of this log, with those of others. */
  readonly takeTurn: (log: FileLog, work: () => Promise<void>) => Promise<void>
  readonly readTurns: Turns
  /** Does the work once more, when logs without a turn have closed their files, if it found no descriptor and changed nothing. */
  readonly withDescriptors: <T>(work: () => Promise<T>) => Promise<T>
  readonly onClosed: (log: FileLog, hasFailed: boolean) => void
}

interface Settle {
  readonly resolve: () => void
  readonly reject: (error: LogError) => void
}
interface Entry extends Settle, WrittenEntry {}
interface Job extends Settle {
  readonly run: () => Promise<void>
  /** Runs on a failed log, too. */
  readonly always: boolean
}

const COMMITTED = Promise.resolve()
const ignore = (): void => {}

export class FileLog implements Log {
  readonly name: string
  startOffset: number
  endOffset: number
  private readonly writer: SegmentWriter
  private readonly folder: string
  private readonly layout
  private readonly policy: FlushPolicy
  private queue: (Entry | Job)[] = []
  private working = false
  private hasTurn = false
  private releasing: Promise<void> | undefined
  private failure: LogError | undefined
  private closing: Promise<void> | undefined
  /** The compressed segment that was read last. */
  private compressedBefore: CompressedSegment | undefined
  private unflushedBytes = 0
  private flushTimer: NodeJS.Timeout | undefined

  constructor (private readonly parts: FileLogParts) {
    this.name = parts.name
    this.folder = parts.folder
    this.layout = parts.options.layout
    this.policy = parts.flushPolicy
    this.writer = new SegmentWriter(parts, {
      isLive: () => this.failure === undefined && this.closing === undefined,
      onFailed: (error) => this.fail(error),
      enqueue: (run) => this.enqueue({ run, always: true, resolve: ignore, reject: ignore })
    })
    this.startOffset = parts.recovered.startOffset
    this.endOffset = this.writer.writtenEndOffset
  }

  get committedEndOffset (): number {
    return this.policy.kind === 'each' || this.failure !== undefined ? this.writer.writtenEndOffset : this.endOffset
  }

  get bytes (): number { return this.writer.segments.reduce((sum, { bytes }) => sum + bytes, 0) }

  get bytesUncovered (): number { return this.writer.bytesUncovered }

  async cover (): Promise<void> { await this.writer.cover() }

  append (entry: Uint8Array): PendingAppend {
    this.checkOpen()
    if (this.failure !== undefined) throw this.failure
    const bytes = Buffer.from(entry)
    checkEntry(this.layout, bytes, this.writer.segmentBytesMax)
    if (!this.parts.hasSpace(bytes.length)) throw new LogError('full', `no space on the device of ${this.folder} for ${bytes.length} bytes`)
    const baseOffset = this.endOffset
    writeBaseOffset(this.layout, bytes, baseOffset)
    this.endOffset = baseOffset + entryOffsetCount(this.layout, bytes, 0)
    if (this.policy.kind !== 'each') {
      this.enqueue({ bytes, endOffset: this.endOffset, resolve: ignore, reject: ignore })
      this.planFlush(bytes.length)
      return { baseOffset, committed: COMMITTED }
    }
    const committed = new Promise<void>((resolve, reject) => this.enqueue({ bytes, endOffset: this.endOffset, resolve, reject }))
    // Whoever wants to know of a failure has the promise; nobody has to.
    committed.catch(ignore)
    return { baseOffset, committed }
  }

  async read (offset: number, options: ReadOptions): Promise<LogRead> {
    this.checkOpen()
    if (!(Number.isSafeInteger(offset) && offset >= this.startOffset && offset <= this.endOffset)) {
      throw new LogError('out-of-range', `offset ${offset} of ${this.name} is outside ${this.startOffset} to ${this.endOffset}`)
    }
    const limit = Math.min(options.endOffset ?? Infinity, this.committedEndOffset)
    if (limit > this.writer.writtenEndOffset) await this.job(async () => {})
    const parts: Buffer[] = []
    let bytes = 0
    let nextOffset = offset
    for (const index of [...this.writer.segments]) {
      if (index.endOffset <= nextOffset) continue
      if (bytes > 0 && bytes >= options.bytesMax) break
      const read = await this.readWithin(index, nextOffset, options.bytesMax - bytes, limit, bytes === 0 && options.atLeastOneEntry === true)
      if (read.part === undefined) break
      parts.push(read.part)
      bytes += read.part.length
      nextOffset = read.nextOffset
      if (nextOffset < index.endOffset) break
    }
    return { parts, bytes, nextOffset }
  }

  private async readWithin (index: SegmentIndex, offset: number, bytesMax: number, limit: number, atLeastOneEntry: boolean): Promise<SegmentRead> {
    const nothing = { part: undefined, nextOffset: offset }
    if (index.baseOffset >= limit) return nothing
    return await this.withReader(index, async (reader) => {
      const first = await reader.find(index.sampleBefore(offset), index.bytes, (entry) => entry.endOffset > offset)
      if (first === undefined || first.endOffset > limit || (first.bytes > bytesMax && !atLeastOneEntry)) return nothing
      return await reader.read(first, Math.max(bytesMax, first.bytes), limit)
    })
  }

  async entryAtTimestamp (timestampMs: number): Promise<EntryTimestamp | null> {
    this.checkOpen()
    if (this.committedEndOffset > this.writer.writtenEndOffset) await this.job(async () => {})
    for (const index of [...this.writer.segments]) {
      if (index.timestampMaxMs < timestampMs) continue
      const found = await this.withReader(index, async (reader) => {
        for (let sample = 0; sample < index.positions.length; sample++) {
          if (index.timestamps[sample]! < timestampMs) continue
          const entry = await reader.find(index.sampleAt(sample), index.positions[sample + 1] ?? index.bytes,
            ({ endOffset, timestampMaxMs }) => timestampMaxMs >= timestampMs && endOffset > this.startOffset)
          if (entry !== undefined) return { baseOffset: entry.baseOffset, timestampMaxMs: entry.timestampMaxMs }
        }
        return null
      })
      if (found !== null) return found
    }
    return null
  }

  async entryWithTimestampMax (): Promise<EntryTimestamp | null> {
    this.checkOpen()
    if (this.committedEndOffset > this.writer.writtenEndOffset) await this.job(async () => {})
    let found: EntryTimestamp | null = null
    for (const index of [...this.writer.segments]) {
      if (found !== null && index.timestampMaxMs <= found.timestampMaxMs) continue
      // What the index says may lie below the start of the log.
      const known = index.timestampMaxOffset >= this.startOffset
      const best: EntryTimestamp | null = known
        ? { baseOffset: index.timestampMaxOffset, timestampMaxMs: index.timestampMaxMs }
        : await this.withReader(index, async (reader) => {
          let largest: EntryTimestamp | null = null
          await reader.find(index.sampleBefore(this.startOffset), index.bytes, ({ baseOffset, endOffset, timestampMaxMs }) => {
            if (endOffset > this.startOffset && timestampMaxMs > (largest?.timestampMaxMs ?? -2)) largest = { baseOffset, timestampMaxMs }
            return false
          })
          return largest
        })
      if (best !== null && (found === null || best.timestampMaxMs > found.timestampMaxMs)) found = best
    }
    return found
  }

  async flush (): Promise<void> {
    this.checkOpen()
    await this.job(async () => await this.syncNow())
  }

  async roll (): Promise<void> {
    this.checkOpen()
    await this.job(async () => await this.writer.sealLast(false))
  }

  async truncateFront (offset: number): Promise<void> {
    this.checkOpen()
    if (!(Number.isSafeInteger(offset) && offset <= this.committedEndOffset)) {
      throw new LogError('out-of-range', `offset ${offset} of ${this.name} is beyond its committed end ${this.committedEndOffset}`)
    }
    await this.job(async () => {
      if (offset <= this.startOffset) return
      await this.syncNow()
      const { segments } = this.writer
      const doomed = segments.filter(({ endOffset }) => endOffset <= offset)
      await moveStart(this.folder, offset, doomed, doomed.length === segments.length)
      this.startOffset = offset
      await this.writer.deleteBelow(offset)
    })
  }

  segments (): readonly SegmentInfo[] {
    return this.writer.segments.map((index) => index.info())
  }

  readSegment (baseOffset: number, { bytesMax }: { readonly bytesMax?: number } = {}): AsyncIterable<LogRead> {
    return readSegmentOf(this, baseOffset, bytesMax)
  }

  async verifySegment (baseOffset: number): Promise<SegmentVerification> {
    return await verifySegmentOf(this, this.folder, this.layout, baseOffset)
  }

  async close (): Promise<void> {
    if (this.closing === undefined) {
      clearTimeout(this.flushTimer)
      this.closing = this.job(async () => {
        try {
          if (this.failure === undefined) await this.writer.sealLast(true)
          else await this.writer.cutFailedWrite()
        } finally {
          await this.writer.close()
        }
      }, true).finally(() => this.parts.onClosed(this, this.failure !== undefined))
    }
    await this.closing
  }

  private checkOpen (): void {
    if (this.closing !== undefined) throw new LogError('closed', `log ${this.name} is closed`)
  }

  private enqueue (item: Entry | Job): void {
    this.queue.push(item)
    if (this.working) return
    this.working = true
    // Not at once: what else arrives in this turn of the event loop goes out in the same write.
    queueMicrotask(() => { void this.work() })
  }

  /** Runs when everything asked for before is done. */
  private async job (run: () => Promise<void>, always = false): Promise<void> {
    await new Promise<void>((resolve, reject) => this.enqueue({ run, always, resolve, reject }))
  }

  /** Never rejects. */
  private async work (): Promise<void> {
    while (this.queue.length > 0) {
      const head = this.queue[0]!
      const items: readonly (Entry | Job)[] = 'run' in head ? [head] : this.nextGroup()
      this.queue.splice(0, items.length)
      try {
        const run = 'run' in head ? head.run : async (): Promise<void> => await this.writer.write(items as readonly Entry[])
        await this.parts.takeTurn(this, async () => {
          if (this.failure !== undefined && !('run' in head && head.always)) throw this.failure
          await this.runInTurn(run)
        })
        for (const item of items) item.resolve()
      } catch (error) {
        if (error instanceof LogError && error.code === 'full') {
          // Nothing was changed.
          for (const item of items) item.reject(error)
          continue
        }
        this.fail(error)
        for (const item of items) item.reject(this.failure!)
      }
    }
    this.working = false
  }

  private async runInTurn (run: () => Promise<void>): Promise<void> {
    this.hasTurn = true
    try {
      await this.releasing
      await this.parts.withDescriptors(run)
    } finally {
      this.hasTurn = false
    }
  }

  /** Gives its descriptor back while it does nothing; what was written through it is made durable, which nobody could later. */
  async releaseFile (): Promise<void> {
    if (this.hasTurn || !this.writer.hasFile) return
    this.releasing ??= this.releaseNow()
    await this.releasing
  }

  private async releaseNow (): Promise<void> {
    try {
      await this.syncNow()
      await this.writer.closeFile()
    } catch (error) {
      this.fail(error)
    }
    this.releasing = undefined
  }

  /** The first failure is the one that counts, and nothing after it is tried. */
  fail (error: unknown): void {
    this.failure ??= new LogError('failed', fileError(`write to log ${this.name}`, error).message, { cause: error })
  }

  /** The entries that go out next, in one write. */
  private nextGroup (): readonly Entry[] {
    const { bytesMax, entriesMax } = this.writer.limitsFor((this.queue[0] as Entry).bytes.length)
    const group: Entry[] = []
    let bytes = 0
    for (const item of this.queue) {
      if ('run' in item || (group.length > 0 && (bytes + item.bytes.length > bytesMax || group.length >= entriesMax))) break
      group.push(item)
      bytes += item.bytes.length
    }
    return group
  }

  private async syncNow (): Promise<void> {
    this.unflushedBytes = 0
    await this.writer.sync()
  }

  private planFlush (bytes: number): void {
    this.unflushedBytes += bytes
    // A failure shows at the next append.
    const flush = (): void => {
      this.unflushedBytes = 0
      if (this.closing === undefined) this.flush().catch(ignore)
    }
    if (this.policy.kind === 'bytes' && this.unflushedBytes >= this.policy.bytes) flush()
    if (this.policy.kind !== 'interval' || this.flushTimer !== undefined) return
    this.flushTimer = setTimeout(() => {
      this.flushTimer = undefined
      flush()
    }, this.policy.intervalMs).unref()
  }

  private async withReader<T> (index: SegmentIndex, use: (reader: SegmentReader) => Promise<T>): Promise<T> {
    const name = path.join(this.folder, segmentName(index.baseOffset))
    try {
      return await this.parts.readTurns.take(async () => {
        const file = await this.parts.withDescriptors(async () => await openSegment(this.folder, index.baseOffset, { before: this.compressedBefore }))
        if (file instanceof CompressedSegment) this.compressedBefore = file
        try {
          return await use(new SegmentReader(file, file.path, this.layout, index))
        } finally {
          await file.close()
        }
      })
    } catch (error) {
      if (isMissing(error) && index.endOffset <= this.startOffset) {
        throw new LogError('out-of-range', `the offsets ${index.baseOffset} to ${index.endOffset} of ${this.name} were deleted meanwhile`)
      }
      throw fileError(`read ${name}`, error)
    }
  }
}
