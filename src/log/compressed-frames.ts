/**
 * The blocks of a compressed segment as frames of its codec (docs/storage.md, "Compressed segments"): making one, opening one, and finding those
 * of a file whose table is lost. A frame says itself where it ends, so what stands behind a damaged one is found, too.
 */
import * as blockCodecs from '../block-codecs.js'
import type { SegmentCompression } from './log.js'
import type { PlainBytes } from './segment-file.js'

export type SegmentCodec = Exclude<SegmentCompression, 'none'>

export const BLOCK_BYTES_MAX = 4 * 1024 * 1024
/** Version 1, independent blocks of at most 256 KiB, no checksums; the last byte is the frame's own check of the two before it. */
const LZ4_FRAME_START = Buffer.from('04224d186050fb', 'hex')
const LZ4_BLOCK_AT = LZ4_FRAME_START.length + 4
const LZ4_FRAME_EXTRA_BYTES = LZ4_BLOCK_AT + 4
const LZ4_PLAIN_FLAG = 0x8000_0000
const ZSTD_FRAME_START = Buffer.from('28b52ffd', 'hex')
const ZSTD_DICTIONARY_BYTES = [0, 1, 2, 4] as const
const ZSTD_SIZE_BYTES = [0, 2, 4, 8] as const
const ZSTD_BLOCK_RUN = 1
const ZSTD_BLOCK_RESERVED = 3
/** No block gets larger by more. */
const FRAME_BYTES_MAX = BLOCK_BYTES_MAX + BLOCK_BYTES_MAX / 64
const WINDOW_BYTES = 4 * FRAME_BYTES_MAX

/** A whole frame of the codec. */
export function makeFrame (codec: SegmentCodec, plain: Buffer): Buffer {
  const made = blockCodecs[codec].compress(plain)
  if (codec === 'zstd') return Buffer.from(made.buffer, made.byteOffset, made.byteLength)
  const isSmaller = made.length > 0 && made.length < plain.length
  const block = isSmaller ? made : plain
  const frame = Buffer.alloc(block.length + LZ4_FRAME_EXTRA_BYTES)
  LZ4_FRAME_START.copy(frame)
  frame.writeUInt32LE((isSmaller ? block.length : block.length + LZ4_PLAIN_FLAG), LZ4_FRAME_START.length)
  frame.set(block, LZ4_BLOCK_AT)
  return frame
}

/** Returns how many bytes it held; 0 for bytes that are no frame, or one that does not fit into `plain`. The codec is there (`checkCodec`). */
export function openFrame (codec: SegmentCodec, frame: Buffer, plain: Buffer): number {
  if (codec === 'lz4') return openLz4Frame(frame, plain)
  try {
    return blockCodecs.zstd.open(frame, plain)
  } catch {
    return 0
  }
}

function openLz4Frame (frame: Buffer, plain: Buffer): number {
  if (frame.length < LZ4_FRAME_EXTRA_BYTES) return 0
  const block = frame.subarray(LZ4_BLOCK_AT, frame.length - 4)
  const stated = frame.readUInt32LE(LZ4_FRAME_START.length)
  const isPlain = stated >= LZ4_PLAIN_FLAG
  if ((isPlain ? stated - LZ4_PLAIN_FLAG : stated) !== block.length) return 0
  return isPlain ? block.copy(plain) : Math.max(0, blockCodecs.lz4.open(block, plain))
}

/** How long the frame is that begins at `at`; 0 where none does, or not all of it is in `bytes`. Its contents are not looked at. */
export function frameBytesAt (codec: SegmentCodec, bytes: Buffer, at: number): number {
  const start = codec === 'lz4' ? LZ4_FRAME_START : ZSTD_FRAME_START
  if (!bytes.subarray(at, at + start.length).equals(start)) return 0
  const count = codec === 'lz4' ? lz4FrameBytes(bytes, at) : zstdFrameBytes(bytes, at)
  return at + count <= bytes.length ? count : 0
}

function lz4FrameBytes (bytes: Buffer, at: number): number {
  if (at + LZ4_FRAME_EXTRA_BYTES > bytes.length) return 0
  const stated = bytes.readUInt32LE(at + LZ4_FRAME_START.length)
  return LZ4_FRAME_EXTRA_BYTES + (stated >= LZ4_PLAIN_FLAG ? stated - LZ4_PLAIN_FLAG : stated)
}

/** RFC 8878: a header, blocks that each say how long they are, and perhaps a checksum. */
function zstdFrameBytes (bytes: Buffer, at: number): number {
  const described = bytes[at + 4]
  if (described === undefined) return 0
  const isSingle = (described & 0x20) !== 0
  const sizeBytes = described < 0x40 && isSingle ? 1 : ZSTD_SIZE_BYTES[described >> 6]!
  let end = at + 5 + (isSingle ? 0 : 1) + ZSTD_DICTIONARY_BYTES[described & 3]! + sizeBytes
  for (let isLast = false; !isLast;) {
    if (end + 3 > bytes.length) return 0
    const header = bytes.readUIntLE(end, 3)
    const kind = header >> 1 & 3
    if (kind === ZSTD_BLOCK_RESERVED) return 0
    end += 3 + (kind === ZSTD_BLOCK_RUN ? 1 : header >> 3)
    isLast = (header & 1) !== 0
  }
  return end - at + ((described & 4) !== 0 ? 4 : 0)
}

export interface FoundFrame {
  readonly position: number
  readonly bytes: number
  readonly plainBytes: number
}

/** The frames of a file that can be opened and hold as much as `accepts` says, in order. */
export async function findFrames (codec: SegmentCodec, file: PlainBytes, accepts: (plainBytes: number) => boolean): Promise<readonly FoundFrame[]> {
  const found: FoundFrame[] = []
  const window = Buffer.allocUnsafeSlow(WINDOW_BYTES)
  const plain = Buffer.allocUnsafeSlow(BLOCK_BYTES_MAX)
  for (let position = 0; ;) {
    const bytes = window.subarray(0, await fill(file, window, position))
    const isEnd = bytes.length < window.length
    // Where a frame may not be in the window as a whole, the next one begins.
    const end = isEnd ? bytes.length : bytes.length - FRAME_BYTES_MAX
    let at = 0
    while (at < end) {
      const count = frameBytesAt(codec, bytes, at)
      const plainBytes = count === 0 ? 0 : openFrame(codec, bytes.subarray(at, at + count), plain)
      if (plainBytes > 0 && accepts(plainBytes)) found.push({ position: position + at, bytes: count, plainBytes })
      at = plainBytes > 0 && accepts(plainBytes) ? at + count : nextStart(codec, bytes, at + 1)
    }
    if (isEnd) return found
    position += at
  }
}

function nextStart (codec: SegmentCodec, bytes: Buffer, from: number): number {
  const start = codec === 'lz4' ? LZ4_FRAME_START : ZSTD_FRAME_START
  const at = bytes.indexOf(start, from)
  // The last bytes may be the first ones of a start.
  return at >= 0 ? at : Math.max(from, bytes.length - start.length + 1)
}

async function fill (file: PlainBytes, buffer: Buffer, position: number): Promise<number> {
  let at = 0
  while (at < buffer.length) {
    const { bytesRead } = await file.read(buffer, at, buffer.length - at, position + at)
    if (bytesRead === 0) break
    at += bytesRead
  }
  return at
}

/**
 * Which block each frame is, of `count`: undefined for those that were not found, up to the last one that was. What lies between two frames is as many lost blocks as fit there;
 * should that be wrong, entries stand at other positions than before, and still say themselves which offset they have.
 */
export function placeFrames (found: readonly FoundFrame[], count: number, firstAt: number): ReadonlyArray<FoundFrame | undefined> {
  const average = found.reduce((sum, { bytes }) => sum + bytes, 0) / Math.max(1, found.length)
  const blocks: Array<FoundFrame | undefined> = []
  let end = firstAt
  for (const [index, frame] of found.entries()) {
    const lost = frame.position > end ? Math.max(1, Math.round((frame.position - end) / average)) : 0
    const spare = count - blocks.length - (found.length - index)
    for (let left = Math.min(lost, spare); left > 0; left--) blocks.push(undefined)
    if (blocks.length < count) blocks.push(frame)
    end = frame.position + frame.bytes
  }
  return blocks
}
