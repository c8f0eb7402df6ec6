/**
 * The segments of a log on node:fs, and the file of the last one: writes entries, begins and seals segments, covers what is written
 * with recovery points, and puts compressed segments into the place of plain ones.
 *
 * One piece of work at a time, in the order of the log's queue; only `cover` and the compressor work beside it. What is known of a
 * segment (its `SegmentIndex`) changes only when a write is done. Whatever rejects has left the log in doubt, and its owner ends it.
 */
import { mkdir, open, rename, unlink, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import type { SegmentCodec } from './compressed-frames.js'
import { SEGMENT_BYTES_MAX_DEFAULT } from './entry.js'
import { isMissing, syncFolder } from './folder.js'
import type { FlushPolicy, LogOptions, SegmentCompression } from './log.js'
import { deleteSegment, noteFlushPolicy, sealSegment, writeRecoveryPoint, type RecoveredLog } from './recovery.js'
import type { SegmentCompressor } from './segment-compressor.js'
import { SegmentIndex } from './segment-index.js'
import { indexName, segmentName, storedName } from './segment-names.js'
import { WRITE_BYTES_MAX } from './segment-scan.js'

export interface SegmentWriterParts {
  readonly folder: string
  readonly options: LogOptions
  readonly flushPolicy: FlushPolicy
  readonly recovered: RecoveredLog
  readonly onWrote: (bytes: number) => void
  readonly compression: SegmentCompression
  readonly compressor: SegmentCompressor
}

/** What the log has to do with it. */
export interface SegmentWriterOwner {
  /** Neither failed nor closing. */
  readonly isLive: () => boolean
  readonly onFailed: (error: unknown) => void
  /** Puts work into the log's queue; it is done even if the log has failed by then. */
  readonly enqueue: (run: () => Promise<void>) => void
}

export interface WrittenEntry {
  readonly bytes: Buffer
  readonly endOffset: number
}

const ignore = (): void => {}

export class SegmentWriter {
  /** In order. */
  readonly segments: SegmentIndex[]
  writtenEndOffset: number
  readonly segmentBytesMax: number
  private readonly folder: string
  private readonly layout
  private readonly segmentEntriesMax: number
  private readonly segmentAgeMsMax: number
  private readonly isDurable: boolean
  private folderExists: boolean
  /** The last segment's file, while it is written. */
  private file: FileHandle | undefined
  /** A recovery point is being written. */
  private covering: Promise<void> = Promise.resolve()
  private sealing = false
  /** Everything that is being done to make sealed segments smaller. */
  private compressing: Promise<unknown> = Promise.resolve()

  constructor (private readonly parts: SegmentWriterParts, private readonly owner: SegmentWriterOwner) {
    const { recovered, options } = parts
    this.folder = parts.folder
    this.layout = options.layout
    this.segmentBytesMax = options.segmentBytesMax ?? SEGMENT_BYTES_MAX_DEFAULT
    this.segmentEntriesMax = options.segmentEntriesMax ?? Infinity
    this.segmentAgeMsMax = options.segmentAgeMsMax ?? Infinity
    this.isDurable = parts.flushPolicy.kind === 'each'
    this.segments = recovered.segments
    // A crash took the knowledge of its age: it begins again, with the index that the scan made.
    for (const index of recovered.segments) if (index.firstAppendMs < 0) index.firstAppendMs = Date.now()
    this.folderExists = recovered.folderExists
    this.writtenEndOffset = recovered.segments.at(-1)?.endOffset ?? recovered.startOffset
    for (const index of recovered.segments) this.compress(index)
  }

  get hasFile (): boolean { return this.file !== undefined }

  get bytesUncovered (): number {
    const last = this.segments.at(-1)
    const writes = this.file !== undefined && !this.sealing && this.owner.isLive()
    return writes && last !== undefined && !last.sealed ? last.bytes - last.coveredBytes : 0
  }

  /** Beside the queue: appends do not wait for it. What wants the file or the index for itself waits for it to end. */
  async cover (): Promise<void> {
    if (this.bytesUncovered === 0) return
    this.covering = this.coverNow(this.segments.at(-1)!, this.file!)
    await this.covering
  }

  /** What it covers must be on stable storage: where not every write is flushed, that takes a flush first. */
  private async coverNow (index: SegmentIndex, file: FileHandle): Promise<void> {
    const { bytes } = index
    const content = index.encode('partial')
    try {
      if (!this.isDurable) await file.datasync()
    } catch (error) {
      return this.owner.onFailed(error)
    }
    if (await writeRecoveryPoint(this.folder, index.baseOffset, content)) index.coveredBytes = bytes
  }

  /** How many bytes and entries the next write may have, if its first entry has so many bytes: those of one segment, and not more than recovery expects. */
  limitsFor (bytes: number): { readonly bytesMax: number, readonly entriesMax: number } {
    const last = this.segments.at(-1)
    const fits = last !== undefined && this.takes(last, bytes)
    return {
      bytesMax: Math.min(WRITE_BYTES_MAX, this.segmentBytesMax - (fits ? last.bytes : 0)),
      entriesMax: this.segmentEntriesMax - (fits ? last.entryCount : 0)
    }
  }

  /** What is not known of a segment that an older version indexed counts as too much, where it matters. */
  private takes (last: SegmentIndex, bytes: number): boolean {
    if ((last.sealed && !last.clean) || last.bytes + bytes > this.segmentBytesMax) return false
    if (this.segmentEntriesMax < Infinity && (last.entryCount < 0 || last.entryCount >= this.segmentEntriesMax)) return false
    return this.segmentAgeMsMax === Infinity || last.bytes === 0 || Date.now() - last.firstAppendMs < this.segmentAgeMsMax
  }

  async write (group: readonly WrittenEntry[]): Promise<void> {
    const index = await this.segmentFor(group[0]!.bytes.length)
    const file = this.file!
    let buffers = group.map(({ bytes }) => bytes)
    for (let position = index.bytes; buffers.length > 0;) {
      const { bytesWritten } = await file.writev(buffers.slice(0, 1024), position)
      position += bytesWritten
      buffers = without(buffers, bytesWritten)
    }
    if (this.isDurable) await file.datasync()
    for (const { bytes } of group) index.add(this.layout, bytes, 0)
    this.writtenEndOffset = group.at(-1)!.endOffset
    this.parts.onWrote(group.reduce((sum, { bytes }) => sum + bytes.length, 0))
  }

  /** The segment that takes the next entry, with its file open. */
  private async segmentFor (bytes: number): Promise<SegmentIndex> {
    const last = this.segments.at(-1)
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
      await noteFlushPolicy(this.folder, this.isDurable)
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
    await noteFlushPolicy(this.folder, this.isDurable)
    this.file = await open(path.join(this.folder, segmentName(index.baseOffset)), 'w')
    await syncFolder(this.folder)
    this.segments.push(index)
    return index
  }

  /** The last segment is full, or nothing will be written to it until the log is opened again: `clean`. */
  async sealLast (clean: boolean): Promise<void> {
    const last = this.segments.at(-1)
    if (last !== undefined) await this.seal(last, clean)
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
    const isWanted = (): boolean => this.owner.isLive() && this.segments.includes(index)
    if (codec === 'none' || !index.sealed || index.clean || index.compression !== 'none' || !isWanted()) return
    const { baseOffset, checksum } = index
    const made = (storedBytes: number): void => this.owner.enqueue(async () => await this.takeCompressed(index, codec, storedBytes))
    this.compressing = Promise.all([this.compressing, compressor.compress({ folder, baseOffset, codec, checksum, isWanted, made })])
  }

  /** The compressed file takes the place of the plain one. Whatever goes wrong, the plain one is still there. */
  private async takeCompressed (index: SegmentIndex, codec: SegmentCodec, storedBytes: number): Promise<void> {
    const name = path.join(this.folder, storedName(index.baseOffset, codec))
    try {
      if (!this.segments.includes(index)) throw new Error('the segment was deleted meanwhile')
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

  /** Deletes the segments that end at or below `offset`, which is the log's start already. */
  async deleteBelow (offset: number): Promise<void> {
    const { segments } = this
    if (segments.length === 0 || segments[0]!.endOffset > offset) return
    while (segments.length > 0 && segments[0]!.endOffset <= offset) {
      if (segments.length === 1) await this.closeFile()
      await deleteSegment(this.folder, segments[0]!.baseOffset)
      segments.shift()
    }
    await syncFolder(this.folder)
  }

  async sync (): Promise<void> {
    await this.file?.datasync()
  }

  /** Of a log that failed. */
  async cutFailedWrite (): Promise<void> {
    // After a flush that failed the kernel may show bytes that the disk does not have: no later life may take them for entries.
    const last = this.segments.at(-1)
    if (last !== undefined) await this.file?.truncate(last.bytes).catch(ignore)
  }

  /** Nothing is being compressed, and no file is open. */
  async close (): Promise<void> {
    await this.compressing
    await this.closeFile()
  }

  async closeFile (): Promise<void> {
    await this.covering
    const { file } = this
    this.file = undefined
    await file?.close()
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
