/**
 * A log in plain TypeScript: positioned writes and fdatasync, committed in groups.
 *
 * Everything that changes the log goes through one queue in the order in which it was asked for: entries, and jobs (flush, roll,
 * truncate, close). One worker empties it: all entries that wait for the same segment go out in one write and one fdatasync, and what
 * arrives meanwhile is the next group. What is known of a segment (its `SegmentIndex`) changes only when a write is done, so readers
 * need no lock. A failed write or flush ends the log: what waited is rejected, and nothing is appended until it is opened again.
 */
import { mkdir, open, rename, unlink, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { checkEntry, entryOffsetCount, SEGMENT_BYTES_MAX_DEFAULT, writeBaseOffset } from './entry.js'
import { fileError, isMissing, isOutOfDescriptors, syncFolder } from './folder.js'
import { LogError, type EntryTimestamp, type FlushPolicy, type Log, type LogOptions, type LogRead, type PendingAppend, type ReadOptions, type SegmentCompression, type SegmentInfo, type SegmentVerification } from './log.js'
import { readSegmentOf, verifySegmentOf } from './one-segment.js'
import { deleteSegment, moveStart, noteFlushPolicy, sealSegment, writeRecoveryPoint, type RecoveredLog } from './recovery.js'
import { CompressedSegment, type SegmentCodec } from './compressed-segment.js'
import type { SegmentCompressor } from './segment-compressor.js'
import { openSegment } from './segment-file.js'
import { SegmentIndex } from './segment-index.js'
import { indexName, segmentName, storedName } from './segment-names.js'
import { SegmentReader, type SegmentRead } from './segment-reader.js'
import { WRITE_BYTES_MAX } from './segment-scan.js'

export interface FileLogParts {
  readonly name: string
  readonly folder: string
  readonly options: LogOptions
  readonly flushPolicy: FlushPolicy
  readonly recovered: RecoveredLog
  /** Whether so many bytes more fit the device. */
  readonly hasSpace: (bytes: number) => boolean
  readonly onWrote: (bytes: number) => void
  /** Work of this log: with that of others, as far as they may work at the same time. */
  readonly takeTurn: (work: () => Promise<void>) => Promise<void>
  /** Closes the files of logs that do nothing. */
  readonly releaseFiles: () => Promise<void>
  readonly onClosed: (hasFailed: boolean) => void
  readonly compression: SegmentCompression
  readonly compressor: SegmentCompressor
}

interface Settle {
  readonly resolve: () => void
  readonly reject: (error: LogError) => void
}
interface Entry extends Settle {
  readonly bytes: Buffer
  readonly endOffset: number
}
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
  private writtenEndOffset: number
  private readonly folder: string
  private readonly layout
  private readonly segmentBytesMax: number
  private readonly segmentEntriesMax: number
  private readonly segmentAgeMsMax: number
  private readonly policy: FlushPolicy
  private readonly segmentIndexes: SegmentIndex[]
  private folderExists: boolean
  /** The last segment's file, while it is written. */
  private file: FileHandle | undefined
  private queue: (Entry | Job)[] = []
  private working = false
  private failure: LogError | undefined
  private closing: Promise<void> | undefined
  /** A recovery point is being written. */
  private covering: Promise<void> = Promise.resolve()
  private sealing = false
  /** Everything that is being done to make sealed segments smaller. */
  private compressing: Promise<unknown> = Promise.resolve()
  /** The compressed segment that was read last. */
  private compressedBefore: CompressedSegment | undefined
  private unflushedBytes = 0
  private flushTimer: NodeJS.Timeout | undefined

  constructor (private readonly parts: FileLogParts) {
    const { recovered, options } = parts
    this.name = parts.name
    this.folder = parts.folder
    this.layout = options.layout
    this.segmentBytesMax = options.segmentBytesMax ?? SEGMENT_BYTES_MAX_DEFAULT
    this.segmentEntriesMax = options.segmentEntriesMax ?? Infinity
    this.segmentAgeMsMax = options.segmentAgeMsMax ?? Infinity
    this.policy = parts.flushPolicy
    this.segmentIndexes = recovered.segments
    // A crash took the knowledge of its age: it begins again, with the index that the scan made.
    for (const index of recovered.segments) if (index.firstAppendMs < 0) index.firstAppendMs = Date.now()
    this.folderExists = recovered.folderExists
    this.startOffset = recovered.startOffset
    this.endOffset = this.writtenEndOffset = recovered.segments.at(-1)?.endOffset ?? recovered.startOffset
    for (const index of recovered.segments) this.compress(index)
  }

  get committedEndOffset (): number {
    return this.policy.kind === 'each' || this.failure !== undefined ? this.writtenEndOffset : this.endOffset
  }

  get bytes (): number { return this.segmentIndexes.reduce((sum, { bytes }) => sum + bytes, 0) }

  get bytesUncovered (): number {
    const last = this.segmentIndexes.at(-1)
    const writes = this.file !== undefined && !this.sealing && this.failure === undefined && this.closing === undefined
    return writes && last !== undefined && !last.sealed ? last.bytes - last.coveredBytes : 0
  }

  /** Beside the queue: appends do not wait for it. What wants the file or the index for itself waits for it to end. */
  async cover (): Promise<void> {
    if (this.bytesUncovered === 0) return
    this.covering = this.coverNow(this.segmentIndexes.at(-1)!, this.file!)
    await this.covering
  }

  /** What it covers must be on stable storage: where not every write is flushed, that takes a flush first. */
  private async coverNow (index: SegmentIndex, file: FileHandle): Promise<void> {
    const { bytes } = index
    const content = index.encode('partial')
    try {
      if (this.policy.kind !== 'each') await file.datasync()
    } catch (error) {
      this.failure ??= new LogError('failed', fileError(`write to log ${this.name}`, error).message, { cause: error })
      return
    }
    if (await writeRecoveryPoint(this.folder, index.baseOffset, content)) index.coveredBytes = bytes
  }

  append (entry: Uint8Array): PendingAppend {
    this.checkOpen()
    if (this.failure !== undefined) throw this.failure
    const bytes = Buffer.from(entry)
    checkEntry(this.layout, bytes, this.segmentBytesMax)
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
    if (limit > this.writtenEndOffset) await this.job(async () => {})
    const parts: Buffer[] = []
    let bytes = 0
    let nextOffset = offset
    for (const index of [...this.segmentIndexes]) {
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
      const first = await reader.find(index.positionBefore(offset), index.bytes, (entry) => entry.endOffset > offset)
      if (first === undefined || first.endOffset > limit || (first.bytes > bytesMax && !atLeastOneEntry)) return nothing
      return await reader.read(first, Math.max(bytesMax, first.bytes), limit)
    })
  }

  async entryAtTimestamp (timestampMs: number): Promise<EntryTimestamp | null> {
    this.checkOpen()
    if (this.committedEndOffset > this.writtenEndOffset) await this.job(async () => {})
    for (const index of [...this.segmentIndexes]) {
      if (index.timestampMaxMs < timestampMs) continue
      const found = await this.withReader(index, async (reader) => {
        for (let sample = 0; sample < index.positions.length; sample++) {
          if (index.timestamps[sample]! < timestampMs) continue
          const entry = await reader.find(index.positions[sample]!, index.positions[sample + 1] ?? index.bytes,
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
    if (this.committedEndOffset > this.writtenEndOffset) await this.job(async () => {})
    let found: EntryTimestamp | null = null
    for (const index of [...this.segmentIndexes]) {
      if (found !== null && index.timestampMaxMs <= found.timestampMaxMs) continue
      // What the index says may lie below the start of the log.
      const known = index.timestampMaxOffset >= this.startOffset
      const best: EntryTimestamp | null = known
        ? { baseOffset: index.timestampMaxOffset, timestampMaxMs: index.timestampMaxMs }
        : await this.withReader(index, async (reader) => {
          let largest: EntryTimestamp | null = null
          await reader.find(index.positionBefore(this.startOffset), index.bytes, ({ baseOffset, endOffset, timestampMaxMs }) => {
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
    await this.job(async () => {
      const last = this.segmentIndexes.at(-1)
      if (last !== undefined) await this.seal(last, false)
    })
  }

  async truncateFront (offset: number): Promise<void> {
    this.checkOpen()
    if (!(Number.isSafeInteger(offset) && offset <= this.committedEndOffset)) {
      throw new LogError('out-of-range', `offset ${offset} of ${this.name} is beyond its committed end ${this.committedEndOffset}`)
    }
    await this.job(async () => {
      if (offset <= this.startOffset) return
      await this.syncNow()
      const { segmentIndexes } = this
      const doomed = segmentIndexes.filter(({ endOffset }) => endOffset <= offset)
      await moveStart(this.folder, offset, doomed, doomed.length === segmentIndexes.length)
      this.startOffset = offset
      if (segmentIndexes.length === 0 || segmentIndexes[0]!.endOffset > offset) return
      while (segmentIndexes.length > 0 && segmentIndexes[0]!.endOffset <= offset) {
        if (segmentIndexes.length === 1) await this.closeFile()
        await deleteSegment(this.folder, segmentIndexes[0]!.baseOffset)
        segmentIndexes.shift()
      }
      await syncFolder(this.folder)
    })
  }

  segments (): readonly SegmentInfo[] {
    return this.segmentIndexes.map((index) => index.info())
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
          const last = this.segmentIndexes.at(-1)
          if (this.failure === undefined) {
            if (last !== undefined && !last.sealed) await this.seal(last, true)
          } else if (last !== undefined) {
            // After a flush that failed the kernel may show bytes that the disk does not have: no later life may take them for entries.
            await this.file?.truncate(last.bytes).catch(ignore)
          }
        } finally {
          await this.compressing
          await this.closeFile()
        }
      }, true).finally(() => this.parts.onClosed(this.failure !== undefined))
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
        if (this.failure !== undefined && !('run' in head && head.always)) throw this.failure
        const run = 'run' in head ? head.run : async (): Promise<void> => await this.write(items as readonly Entry[])
        await this.parts.takeTurn(async () => await this.runWithDescriptors(run))
        for (const item of items) item.resolve()
      } catch (error) {
        const failed = fileError(`write to log ${this.name}`, error)
        if (error instanceof LogError && error.code === 'full') {
          // Nothing was changed.
          for (const item of items) item.reject(error)
          continue
        }
        // The first failure is the one that counts, and nothing after it is tried.
        this.failure ??= new LogError('failed', failed.message, { cause: error })
        for (const item of items) item.reject(this.failure)
      }
    }
    this.working = false
  }

  /** What finds no descriptor has written nothing with it: it is tried once more when other logs have given theirs back. */
  private async runWithDescriptors (run: () => Promise<void>): Promise<void> {
    try {
      await run()
    } catch (error) {
      if (!isOutOfDescriptors(error)) throw error
      await this.parts.releaseFiles()
      await run()
    }
  }

  /** Gives its descriptor back when it does nothing; what was written through it is made durable, which nobody could later. */
  async releaseFile (): Promise<void> {
    if (this.working || this.file === undefined) return
    this.working = true
    try {
      await this.syncNow()
      await this.closeFile()
    } catch (error) {
      this.failure ??= new LogError('failed', fileError(`write to log ${this.name}`, error).message, { cause: error })
    }
    await this.work()
  }

  /** The entries that go out next: of one segment, and not more than recovery expects of one write. */
  private nextGroup (): readonly Entry[] {
    const last = this.segmentIndexes.at(-1)
    const first = this.queue[0] as Entry
    const fits = last !== undefined && this.takes(last, first.bytes.length)
    const bytesMax = Math.min(WRITE_BYTES_MAX, this.segmentBytesMax - (fits ? last.bytes : 0))
    const countMax = this.segmentEntriesMax - (fits ? last.entryCount : 0)
    const group: Entry[] = []
    let bytes = 0
    for (const item of this.queue) {
      if ('run' in item || (group.length > 0 && (bytes + item.bytes.length > bytesMax || group.length >= countMax))) break
      group.push(item)
      bytes += item.bytes.length
    }
    return group
  }

  /** What is not known of a segment that an older version indexed counts as too much, where it matters. */
  private takes (last: SegmentIndex, bytes: number): boolean {
    if ((last.sealed && !last.clean) || last.bytes + bytes > this.segmentBytesMax) return false
    if (this.segmentEntriesMax < Infinity && (last.entryCount < 0 || last.entryCount >= this.segmentEntriesMax)) return false
    return this.segmentAgeMsMax === Infinity || last.bytes === 0 || Date.now() - last.firstAppendMs < this.segmentAgeMsMax
  }

  private async write (group: readonly Entry[]): Promise<void> {
    const index = await this.segmentFor(group[0]!.bytes.length)
    const file = this.file!
    let buffers = group.map(({ bytes }) => bytes)
    for (let position = index.bytes; buffers.length > 0;) {
      const { bytesWritten } = await file.writev(buffers.slice(0, 1024), position)
      position += bytesWritten
      buffers = without(buffers, bytesWritten)
    }
    if (this.policy.kind === 'each') await file.datasync()
    for (const { bytes } of group) index.add(this.layout, bytes, 0)
    this.writtenEndOffset = group.at(-1)!.endOffset
    this.parts.onWrote(group.reduce((sum, { bytes }) => sum + bytes.length, 0))
  }

  /** The segment that takes the next entry, with its file open. */
  private async segmentFor (bytes: number): Promise<SegmentIndex> {
    const last = this.segmentIndexes.at(-1)
    if (last === undefined || !this.takes(last, bytes)) return await this.beginSegment(last)
    if (last.clean) {
      // It was sealed by a clean close and goes on: what the index says will not be true any more.
      await unlink(path.join(this.folder, indexName(last.baseOffset))).catch((error: unknown) => {
        if (!isMissing(error)) throw error
      })
      last.sealed = last.clean = false
      last.coveredBytes = 0
    }
    if (this.file === undefined) {
      await noteFlushPolicy(this.folder, this.policy.kind === 'each')
      await syncFolder(this.folder)
    }
    this.file ??= await open(path.join(this.folder, segmentName(last.baseOffset)), 'r+')
    return last
  }

  private async beginSegment (last: SegmentIndex | undefined): Promise<SegmentIndex> {
    if (last !== undefined) await this.seal(last, false)
    await this.closeFile()
    if (!this.folderExists) {
      // Not recursive: that reports a disk without inodes as a folder that is missing.
      await mkdir(this.folder).catch((error: unknown) => {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      })
      await syncFolder(path.dirname(this.folder))
      this.folderExists = true
    }
    const index = new SegmentIndex(this.writtenEndOffset)
    index.firstAppendMs = Date.now()
    await noteFlushPolicy(this.folder, this.policy.kind === 'each')
    this.file = await open(path.join(this.folder, segmentName(index.baseOffset)), 'w')
    await syncFolder(this.folder)
    this.segmentIndexes.push(index)
    return index
  }

  private async seal (index: SegmentIndex, clean: boolean): Promise<void> {
    if (index.sealed && (!index.clean || clean)) return
    this.sealing = true
    try {
      await this.covering
      await sealSegment(this.folder, index, clean)
    } finally {
      this.sealing = false
    }
    this.compress(index)
  }

  /** In the background, if this log wants it and the segment is one that stays as it is. */
  private compress (index: SegmentIndex): void {
    const { folder, parts: { compression: codec, compressor } } = this
    const isWanted = (): boolean => this.closing === undefined && this.failure === undefined && this.segmentIndexes.includes(index)
    if (codec === 'none' || !index.sealed || index.clean || index.compression !== 'none' || !isWanted()) return
    const { baseOffset, checksum } = index
    const made = (storedBytes: number): void => this.enqueue({ run: async () => await this.takeCompressed(index, codec, storedBytes), always: true, resolve: ignore, reject: ignore })
    this.compressing = Promise.all([this.compressing, compressor.compress({ folder, baseOffset, codec, checksum, isWanted, made })])
  }

  /** The compressed file takes the place of the plain one. Whatever goes wrong, the plain one is still there. */
  private async takeCompressed (index: SegmentIndex, codec: SegmentCodec, storedBytes: number): Promise<void> {
    const name = path.join(this.folder, storedName(index.baseOffset, codec))
    try {
      if (!this.segmentIndexes.includes(index)) throw new Error('the segment was deleted meanwhile')
      await rename(`${name}~`, name)
      await syncFolder(this.folder)
    } catch {
      for (const each of [`${name}~`, name]) await unlink(each).catch(ignore)
      return
    }
    index.compression = codec
    index.compressedBytes = storedBytes
    await unlink(path.join(this.folder, segmentName(index.baseOffset))).catch(ignore)
  }

  private async syncNow (): Promise<void> {
    this.unflushedBytes = 0
    await this.file?.datasync()
  }

  private async closeFile (): Promise<void> {
    await this.covering
    const { file } = this
    this.file = undefined
    await file?.close()
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
      const file = await openSegment(this.folder, index.baseOffset, { before: this.compressedBefore })
      if (file instanceof CompressedSegment) this.compressedBefore = file
      try {
        return await use(new SegmentReader(file, file.path, this.layout, index.bytes))
      } finally {
        await file.close()
      }
    } catch (error) {
      if (isMissing(error) && index.endOffset <= this.startOffset) {
        throw new LogError('out-of-range', `the offsets ${index.baseOffset} to ${index.endOffset} of ${this.name} were deleted meanwhile`)
      }
      throw fileError(`read ${name}`, error)
    }
  }
}

/** The buffers without their first `count` bytes. */
function without (buffers: readonly Buffer[], count: number): Buffer[] {
  let at = 0
  while (at < buffers.length && buffers[at]!.length <= count) count -= buffers[at++]!.length
  const rest = buffers.slice(at)
  if (count > 0) rest[0] = rest[0]!.subarray(count)
  return rest
}
