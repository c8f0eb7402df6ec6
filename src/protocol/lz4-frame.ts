/**
 * LZ4 frames (https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md).
 *
 * Reads what any client writes: independent and dependent blocks, all checksums, content sizes, several frames in a row,
 * skippable frames. Writes what Java's consumer reads: independent blocks of 64 KiB, no checksum but the header's; the function
 * that compresses one block is someone else's. Opening is our own, in lz4-block.ts: see docs/decisions/codecs.md.
 */
import { decodeBlock, decodedBytes } from './lz4-block.js'
import { ProtocolError } from './protocol-error.js'
import { xxhash32 } from './xxhash32.js'

export interface Lz4Encoder {
  readonly compressBound: (bytes: number) => number
  /** The count of bytes written into `output`; 0 when `bytes` cannot be made smaller. */
  readonly compress: (bytes: Buffer, output: Buffer) => number
}

const MAGIC = 0x184D2204
const SKIPPABLE_MAGIC = 0x184D2A50
const SKIPPABLE_MASK = 0xfffffff0
const VERSION_MASK = 0xc0
const VERSION_1 = 0x40
const INDEPENDENT = 0x20
const BLOCK_CHECKSUM = 0x10
const CONTENT_SIZE = 0x08
const CONTENT_CHECKSUM = 0x04
const RESERVED = 0x02
const DICTIONARY = 0x01
const BLOCK_STORED = 0x8000_0000
const BLOCK_BYTES_MAX: readonly (number | undefined)[] = [undefined, undefined, undefined, undefined, 1 << 16, 1 << 18, 1 << 20, 1 << 22]
const WRITTEN_BLOCK_BYTES = 1 << 16

export function readLz4 (bytes: Buffer, bytesMax: number): Buffer {
  const input = new Input(bytes)
  const parts: Buffer[] = []
  let bytesBefore = 0
  do {
    const magic = input.uint32()
    if (((magic & SKIPPABLE_MASK) >>> 0) === SKIPPABLE_MAGIC) {
      input.take(input.uint32())
      continue
    }
    if (magic !== MAGIC) throw new ProtocolError(`an lz4 frame begins with ${hex(MAGIC)}, this one with ${hex(magic)}`)
    const content = readFrame(input, bytesBefore, bytesMax)
    bytesBefore += content.length
    parts.push(content)
  } while (input.left > 0)
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
}

interface Block {
  readonly bytes: Buffer
  readonly stored: boolean
}

/**
 * First all blocks are measured, then they are decoded into one piece of memory of exactly the right size, where a dependent block
 * finds what it copies from the blocks before it.
 */
function readFrame (input: Input, bytesBefore: number, bytesMax: number): Buffer {
  const { flags, blockBytesMax, contentBytes } = readDescriptor(input)
  const blocks: Block[] = []
  let total = 0
  for (let size = input.uint32(); size !== 0; size = input.uint32()) {
    const block = { bytes: input.take(size % BLOCK_STORED), stored: size >= BLOCK_STORED }
    if (flags & BLOCK_CHECKSUM && input.uint32() !== xxhash32(block.bytes)) throw new ProtocolError('an lz4 block does not match its checksum')
    const blockBytes = block.stored ? block.bytes.length : decodedBytes(block.bytes)
    if (blockBytes > blockBytesMax) throw new ProtocolError(`an lz4 block of ${blockBytes} bytes in a frame whose blocks have at most ${blockBytesMax}`)
    total += blockBytes
    if (bytesBefore + total > bytesMax) throw new ProtocolError(`more than ${bytesMax} bytes come out of lz4`)
    blocks.push(block)
  }
  if (contentBytes !== undefined && contentBytes !== total) throw new ProtocolError(`an lz4 frame announces ${contentBytes} bytes and holds ${total}`)
  const content = Buffer.allocUnsafeSlow(total)
  let at = 0
  for (const { bytes, stored } of blocks) {
    at = stored ? at + bytes.copy(content, at) : decodeBlock(bytes, content, at, flags & INDEPENDENT ? at : 0)
  }
  if (flags & CONTENT_CHECKSUM && input.uint32() !== xxhash32(content)) throw new ProtocolError('an lz4 frame does not match its checksum')
  return content
}

function readDescriptor (input: Input): { readonly flags: number, readonly blockBytesMax: number, readonly contentBytes: number | undefined } {
  const start = input.position
  const flags = input.byte()
  const sizes = input.byte()
  if ((flags & VERSION_MASK) !== VERSION_1 || flags & RESERVED || sizes & 0x8f) throw new ProtocolError(`lz4 frame flags ${hex(flags)} ${hex(sizes)} are unknown`)
  if (flags & DICTIONARY) throw new ProtocolError('an lz4 frame needs a dictionary, which Kafka does not have')
  const blockBytesMax = BLOCK_BYTES_MAX[sizes >> 4]
  if (blockBytesMax === undefined) throw new ProtocolError(`lz4 block size ${sizes >> 4} is unknown`)
  const contentBytes = flags & CONTENT_SIZE ? input.uint32() + input.uint32() * 2 ** 32 : undefined
  const checksum = xxhash32(input.since(start)) >>> 8 & 0xff
  if (input.byte() !== checksum) throw new ProtocolError('an lz4 frame header does not match its checksum')
  return { flags, blockBytesMax, contentBytes }
}

export function writeLz4 (bytes: Buffer, encoder: Lz4Encoder): Buffer {
  const descriptor = Buffer.from([VERSION_1 | INDEPENDENT, 4 << 4])
  const parts = [uint32(MAGIC), descriptor, Buffer.from([xxhash32(descriptor) >>> 8 & 0xff])]
  for (let at = 0; at < bytes.length; at += WRITTEN_BLOCK_BYTES) {
    const block = bytes.subarray(at, at + WRITTEN_BLOCK_BYTES)
    const output = Buffer.allocUnsafe(encoder.compressBound(block.length))
    const written = encoder.compress(block, output)
    if (written > 0 && written < block.length) parts.push(uint32(written), output.subarray(0, written))
    else parts.push(uint32(block.length + BLOCK_STORED), block)
  }
  return Buffer.concat([...parts, uint32(0)])
}

function uint32 (value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

const hex = (value: number): string => `0x${value.toString(16)}`

/** Little-endian integers and runs of bytes, with bounds. */
class Input {
  position = 0
  constructor (private readonly bytes: Buffer) {}

  get left (): number { return this.bytes.length - this.position }
  byte (): number { return this.take(1)[0]! }
  uint32 (): number { return this.take(4).readUInt32LE() }
  since (start: number): Buffer { return this.bytes.subarray(start, this.position) }

  take (count: number): Buffer {
    if (count > this.left) throw new ProtocolError(`an lz4 frame is cut short: ${count} bytes expected, ${this.left} left`)
    this.position += count
    return this.bytes.subarray(this.position - count, this.position)
  }
}
