/**
 * Compresses sealed segments beside everything else: one segment at a time for a whole store, block by block, and as long as a block took
 * nothing is done, so that others come first. A segment that does not get smaller, and one that cannot be written, stays as it is
 * (docs/storage.md, "Compressed segments").
 */
import { open, unlink, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { combineCrc32c, crc32c } from '../crc32c.js'
import { makeFrame, type SegmentCodec } from './compressed-frames.js'
import { BLOCK_BYTES, encodeHeader, encodeTable, HEADER_BYTES, type StoredBlock } from './compressed-segment.js'
import { openSegment, type SegmentFile } from './segment-file.js'
import { storedName } from './segment-names.js'

/** A compressed segment has at most this part of the plain bytes. */
const STORED_PART_MAX = 0.9

export interface CompressionTask {
  readonly folder: string
  readonly baseOffset: number
  readonly codec: SegmentCodec
  /** CRC-32C of the plain bytes, where it is known: a file that has another one is damaged, and stays as it is. */
  readonly checksum: number | undefined
  /** Whether there is a reason to go on: the log is open, and has the segment. */
  readonly isWanted: () => boolean
  /** The file is written and synced, under its unfinished name. In the turn of the last `isWanted`. */
  readonly made: (storedBytes: number) => void
}

export class SegmentCompressor {
  private readonly waiting: Array<{ readonly task: CompressionTask, readonly done: () => void }> = []
  private running = false

  /** `hasSpace`: whether so many bytes more fit the device beside everything else. */
  constructor (private readonly hasSpace: (bytes: number) => boolean) {}

  /** Resolves when nothing is done for the task any more. Never rejects. */
  async compress (task: CompressionTask): Promise<void> {
    await new Promise<void>((resolve) => {
      this.waiting.push({ task, done: resolve })
      if (!this.running) void this.run()
    })
  }

  private async run (): Promise<void> {
    this.running = true
    for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) {
      const { task, done } = next
      if (task.isWanted()) await this.compressOne(task)
      done()
    }
    this.running = false
  }

  private async compressOne (task: CompressionTask): Promise<void> {
    const unfinished = path.join(task.folder, `${storedName(task.baseOffset, task.codec)}~`)
    const storedBytes = await this.write(task, unfinished).catch(() => undefined)
    if (storedBytes !== undefined && task.isWanted()) task.made(storedBytes)
    else await unlink(unfinished).catch(() => {})
  }

  /** The size of the file; undefined where it is not worth it or not wanted any more. */
  private async write (task: CompressionTask, unfinished: string): Promise<number | undefined> {
    const from = await openSegment(task.folder, task.baseOffset)
    try {
      if (from.compression !== 'none' || !this.hasSpace(from.bytes)) return undefined
      const to = await open(unfinished, 'w')
      try {
        return await new SegmentWriter(task, from, to).run()
      } finally {
        await to.close()
      }
    } finally {
      await from.close()
    }
  }
}

class SegmentWriter {
  private readonly blocks: StoredBlock[] = []
  private position = HEADER_BYTES
  private checksum = 0

  constructor (private readonly task: CompressionTask, private readonly from: SegmentFile, private readonly to: FileHandle) {}

  async run (): Promise<number | undefined> {
    const { task: { codec, baseOffset, checksum, isWanted }, from: { bytes } } = this
    await this.to.write(encodeHeader({ codec, baseOffset, plainBytes: bytes, blockBytes: BLOCK_BYTES }), 0, HEADER_BYTES, 0)
    for (let at = 0; at < bytes; at += BLOCK_BYTES) {
      const begunMs = performance.now()
      await this.takeBlock(at, Math.min(BLOCK_BYTES, bytes - at))
      if (!isWanted() || this.position > bytes * STORED_PART_MAX) return undefined
      await sleep(performance.now() - begunMs)
    }
    if (checksum !== undefined && checksum !== this.checksum) return undefined
    const table = encodeTable(this.blocks, this.checksum)
    await writeWhole(this.to, table, this.position)
    await this.to.sync()
    const storedBytes = this.position + table.length
    return storedBytes > bytes * STORED_PART_MAX ? undefined : storedBytes
  }

  private async takeBlock (at: number, count: number): Promise<void> {
    const plain = Buffer.allocUnsafeSlow(count)
    for (let got = 0; got < count;) {
      const { bytesRead } = await this.from.read(plain, got, count - got, at + got)
      if (bytesRead === 0) throw new Error(`${this.from.path} became shorter`)
      got += bytesRead
    }
    const stored = makeFrame(this.task.codec, plain)
    await writeWhole(this.to, stored, this.position)
    this.blocks.push({ position: this.position, checksum: crc32c(stored) })
    this.checksum = combineCrc32c(this.checksum, crc32c(plain), count)
    this.position += stored.length
  }
}

async function writeWhole (file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at)
    at += bytesWritten
  }
}
