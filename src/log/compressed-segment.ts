/**
 * The format of a compressed segment (docs/storage.md, "Compressed segments"), and its plain bytes at a position: a block is opened when
 * some of it is read. Who reads on within a block has it from memory.
 */
import type { FileHandle } from 'node:fs/promises'
import * as blockCodecs from '../block-codecs.js'
import { CodecUnavailableError } from '../codec-packages.js'
import { crc32c } from '../crc32c.js'
import { BLOCK_BYTES_MAX, findFrames, openFrame, placeFrames, type SegmentCodec } from './compressed-frames.js'
import { LogError } from './log.js'

const FRAME_START = Buffer.from('502a4d18', 'hex')
const HEADER_MAGIC = 'HAULSEGZ'
const TABLE_MAGIC = 'HAULSEGT'
const VERSION = 1
export const HEADER_BYTES = 64
const TABLE_BYTES = 24
const TABLE_ROW_BYTES = 12
export const BLOCK_BYTES = 128 * 1024
const BLOCK_BYTES_UNIT = 4096
const CODEC_NUMBERS: Readonly<Record<SegmentCodec, number>> = { zstd: 1, lz4: 2 }
export interface CompressedHeader {
  readonly codec: SegmentCodec
  readonly baseOffset: number
  readonly plainBytes: number
  readonly blockBytes: number
}

export interface StoredBlock {
  readonly position: number
  readonly checksum: number
}

/** Something of a compressed file is not valid. */
export class CompressedDamage extends LogError {
  constructor (readonly file: string, readonly position: number, readonly what: string) {
    super('corrupt', `${file} is damaged at position ${position}: ${what}`)
  }
}

const blockCountOf = ({ plainBytes, blockBytes }: CompressedHeader): number => Math.ceil(plainBytes / blockBytes)
const tableBytesOf = (blockCount: number): number => TABLE_BYTES + TABLE_ROW_BYTES * blockCount

const found = new Set<SegmentCodec>()

/** Throws LogError 'denied' with what to install where the codec is not on this machine. */
export function checkCodec (codec: SegmentCodec): void {
  if (found.has(codec)) return
  try {
    blockCodecs[codec].compress(Buffer.alloc(1))
    found.add(codec)
  } catch (error) {
    if (error instanceof CodecUnavailableError) throw new LogError('denied', `segments cannot be compressed with ${codec}, and compressed ones not be read: ${error.message}`, { cause: error })
    throw error
  }
}

export function encodeHeader (header: CompressedHeader): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES)
  FRAME_START.copy(bytes)
  bytes.writeUInt32LE(HEADER_BYTES - 8, 4)
  bytes.write(HEADER_MAGIC, 8, 'latin1')
  bytes.writeUInt32BE(VERSION, 16)
  bytes.writeUInt32BE(CODEC_NUMBERS[header.codec], 20)
  bytes.writeBigInt64BE(BigInt(header.baseOffset), 24)
  bytes.writeBigInt64BE(BigInt(header.plainBytes), 32)
  bytes.writeUInt32BE(header.blockBytes, 40)
  bytes.writeUInt32BE(blockCountOf(header), 44)
  bytes.writeUInt32BE(crc32c(bytes.subarray(0, 60)), 60)
  return bytes
}

/** What is wrong with it is the message of the LogError that is thrown: 'corrupt', or 'denied' for a newer version. */
export function decodeHeader (file: string, bytes: Buffer, codec: SegmentCodec, baseOffset: number): CompressedHeader {
  const isHeader = bytes.length >= HEADER_BYTES && crc32c(bytes.subarray(0, 60)) === bytes.readUInt32BE(60) &&
    bytes.subarray(0, 4).equals(FRAME_START) && bytes.toString('latin1', 8, 16) === HEADER_MAGIC
  if (!isHeader) throw new CompressedDamage(file, 0, 'the header of the compressed segment is not valid')
  const version = bytes.readUInt32BE(16)
  if (version > VERSION) throw new LogError('denied', `${file} was written by a newer Haulout: compressed segments have version ${version} there, this one knows versions up to ${VERSION}`)
  const header = { codec, baseOffset, plainBytes: Number(bytes.readBigInt64BE(32)), blockBytes: bytes.readUInt32BE(40) }
  const { plainBytes, blockBytes } = header
  const fits = bytes.readUInt32BE(20) === CODEC_NUMBERS[codec] && Number(bytes.readBigInt64BE(24)) === baseOffset && plainBytes > 0 &&
    blockBytes > 0 && blockBytes % BLOCK_BYTES_UNIT === 0 && blockBytes <= BLOCK_BYTES_MAX && bytes.readUInt32BE(44) === blockCountOf(header)
  if (!fits) throw new CompressedDamage(file, 16, 'the header of the compressed segment does not fit its file, or contradicts itself')
  return header
}

export function encodeTable (blocks: readonly StoredBlock[], plainChecksum: number): Buffer {
  const bytes = Buffer.alloc(tableBytesOf(blocks.length))
  FRAME_START.copy(bytes)
  bytes.writeUInt32LE(bytes.length - 8, 4)
  bytes.write(TABLE_MAGIC, 8, 'latin1')
  blocks.forEach(({ position, checksum }, index) => {
    bytes.writeBigInt64BE(BigInt(position), 16 + TABLE_ROW_BYTES * index)
    bytes.writeUInt32BE(checksum, 24 + TABLE_ROW_BYTES * index)
  })
  bytes.writeUInt32BE(plainChecksum, bytes.length - 8)
  bytes.writeUInt32BE(crc32c(bytes.subarray(0, bytes.length - 4)), bytes.length - 4)
  return bytes
}

/** `at`: where the table begins in the file. */
function decodeTable (file: string, bytes: Buffer, at: number): readonly StoredBlock[] {
  const isTable = bytes.length >= TABLE_BYTES && crc32c(bytes.subarray(0, bytes.length - 4)) === bytes.readUInt32BE(bytes.length - 4) &&
    bytes.subarray(0, 4).equals(FRAME_START) && bytes.toString('latin1', 8, 16) === TABLE_MAGIC
  if (!isTable) throw new CompressedDamage(file, Math.max(0, at), 'the table of the compressed segment\'s blocks is not valid')
  const blocks: StoredBlock[] = []
  for (let row = 16; row + TABLE_ROW_BYTES <= bytes.length - 8; row += TABLE_ROW_BYTES) {
    blocks.push({ position: Number(bytes.readBigInt64BE(row)), checksum: bytes.readUInt32BE(row + 8) })
  }
  const isInOrder = blocks[0]?.position === HEADER_BYTES && blocks.every(({ position }, index) => position < (blocks[index + 1]?.position ?? at))
  if (!isInOrder) throw new CompressedDamage(file, at, 'the table of the compressed segment\'s blocks contradicts itself')
  return blocks
}

export interface BlockDamage {
  /** In the compressed file. */
  readonly position: number
  readonly what: string
}

export interface OpenCompressed {
  /** Where header or table are damaged, what can be found of the blocks without them is read. Default false: LogError 'corrupt'. */
  readonly rescue?: boolean
  /** A damaged block is told of and read as zeros. Without it, reading one is LogError 'corrupt'. */
  readonly onDamage?: (damage: BlockDamage) => void
  /** Opened before, of this log: what it knows of the same file is not read again. */
  readonly before?: CompressedSegment | undefined
}

/** Where a block stands in the file. */
interface BlockPlace {
  readonly position: number
  readonly bytes: number
  /** Undefined where the table that had it is lost. */
  readonly checksum?: number
}

export class CompressedSegment {
  readonly compression: SegmentCodec
  readonly bytes: number
  private opened: { readonly index: number, readonly plain: Buffer } | undefined
  /** Undefined for one that is lost. */
  private blocks: ReadonlyArray<BlockPlace | undefined> | undefined

  private constructor (readonly path: string, private readonly file: FileHandle, readonly storedBytes: number, private readonly header: CompressedHeader, private readonly options: OpenCompressed) {
    this.compression = header.codec
    this.bytes = header.plainBytes
  }

  /** Takes over the file. */
  static async open (path: string, file: FileHandle, codec: SegmentCodec, baseOffset: number, options: OpenCompressed = {}): Promise<CompressedSegment> {
    const { before, rescue = false } = options
    try {
      const { size } = await file.stat()
      const isSame = before?.path === path && before.storedBytes === size
      const header = isSame ? before.header : await readHeader(path, file, codec, baseOffset, rescue)
      const segment = new CompressedSegment(path, file, size, header, options)
      if (isSame) Object.assign(segment, { blocks: before.blocks, opened: before.opened })
      return segment
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** As FileHandle.read: perhaps fewer bytes than asked for, up to a damaged block at least. */
  async read (buffer: Buffer, offset: number, length: number, position: number): Promise<{ bytesRead: number }> {
    const end = Math.min(position + length, this.bytes)
    let at = position
    while (at < end) {
      const index = Math.floor(at / this.header.blockBytes)
      let block: Buffer
      try {
        block = await this.block(index)
      } catch (error) {
        // What stands before a damaged block can be read; the next read begins with the block, and is told.
        if (at > position) break
        throw error
      }
      const from = at - index * this.header.blockBytes
      const count = block.copy(buffer, offset + at - position, from, Math.min(block.length, from + end - at))
      at += count
    }
    return { bytesRead: Math.max(0, at - position) }
  }

  async close (): Promise<void> {
    await this.file.close()
  }

  private async block (index: number): Promise<Buffer> {
    if (this.opened?.index === index) return this.opened.plain
    this.blocks ??= await this.findBlocks()
    const from = index * this.header.blockBytes
    const plain = Buffer.alloc(Math.min(this.header.blockBytes, this.bytes - from))
    const place = this.blocks[index]
    if (place === undefined || !(await this.readBlock(place, plain))) {
      const position = place?.position ?? HEADER_BYTES
      const what = `the compressed block of the plain bytes from ${from} to ${from + plain.length} is not valid`
      if (this.options.onDamage === undefined) throw new CompressedDamage(this.path, position, what)
      this.options.onDamage({ position, what })
      plain.fill(0)
    }
    this.opened = { index, plain }
    return plain
  }

  private async readBlock ({ position, bytes, checksum }: BlockPlace, plain: Buffer): Promise<boolean> {
    const frame = await readWhole(this.file, position, bytes)
    if (frame.length !== bytes || (checksum !== undefined && crc32c(frame) !== checksum)) return false
    checkCodec(this.compression)
    return openFrame(this.compression, frame, plain) === plain.length
  }

  private async findBlocks (): Promise<ReadonlyArray<BlockPlace | undefined>> {
    try {
      return await this.readTable()
    } catch (error) {
      if (this.options.rescue !== true || !(error instanceof CompressedDamage)) throw error
      checkCodec(this.compression)
      const { blockBytes } = this.header
      const found = await findFrames(this.compression, this.file, (plainBytes) => plainBytes === blockBytes || plainBytes === this.bytes % blockBytes)
      return placeFrames(found, blockCountOf(this.header), HEADER_BYTES)
    }
  }

  private async readTable (): Promise<readonly BlockPlace[]> {
    const bytes = tableBytesOf(blockCountOf(this.header))
    const at = this.storedBytes - bytes
    if (at < HEADER_BYTES) throw new CompressedDamage(this.path, this.storedBytes, 'the compressed segment ends before its table')
    const blocks = decodeTable(this.path, await readWhole(this.file, at, bytes), at)
    return blocks.map(({ position, checksum }, index) => ({ position, checksum, bytes: (blocks[index + 1]?.position ?? at) - position }))
  }
}

/** One that is damaged is made again, with `rescue`, from the blocks that are found. */
async function readHeader (path: string, file: FileHandle, codec: SegmentCodec, baseOffset: number, rescue: boolean): Promise<CompressedHeader> {
  try {
    return decodeHeader(path, await readWhole(file, 0, HEADER_BYTES), codec, baseOffset)
  } catch (error) {
    if (!rescue || !(error instanceof CompressedDamage)) throw error
    checkCodec(codec)
    const found = await findFrames(codec, file, () => true)
    if (found.length === 0) throw error
    const blockBytes = Math.max(...found.map(({ plainBytes }) => plainBytes))
    const places = placeFrames(found, Infinity, HEADER_BYTES)
    return { codec, baseOffset, blockBytes, plainBytes: (places.length - 1) * blockBytes + found.at(-1)!.plainBytes }
  }
}

async function readWhole (file: FileHandle, position: number, count: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(count)
  let at = 0
  while (at < count) {
    const { bytesRead } = await file.read(bytes, at, count - at, position + at)
    if (bytesRead === 0) break
    at += bytesRead
  }
  return bytes.subarray(0, at)
}
