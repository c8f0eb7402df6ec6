/**
 * Snappy as Kafka's clients write it: either one raw block (librdkafka and others) or the container of Java's snappy-java
 * ("xerial"): a header of 16 bytes, then blocks behind their int32 length. The block functions are someone else's.
 * Sources: https://github.com/google/snappy/blob/main/format_description.txt, snappy-java's SnappyOutputStream.
 */
import { ProtocolError } from './protocol-error.js'

export interface SnappyBlocks {
  readonly uncompressSync: (block: Buffer) => Buffer
  readonly compressSync: (bytes: Buffer) => Buffer
}

const MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
const HEADER_BYTES = 16
const VERSION = 1
/** What Java reads in one piece. */
const WRITTEN_BLOCK_BYTES = 32 * 1024

export function readSnappy (bytes: Buffer, bytesMax: number, blocks: SnappyBlocks): Buffer {
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) return readBlock(bytes, 0, bytesMax, blocks)
  const parts: Buffer[] = []
  let bytesBefore = 0
  let at = 0
  while (at < bytes.length) {
    // Containers written one after the other are read as one, as Java does it.
    if (bytes.subarray(at, at + MAGIC.length).equals(MAGIC)) {
      at = readHeader(bytes, at)
      continue
    }
    const left = bytes.length - at - 4
    if (left < 0) throw new ProtocolError('a snappy container ends inside a length')
    const size = bytes.readInt32BE(at)
    if (size <= 0 || size > left) throw new ProtocolError(`a snappy block of ${size} bytes where ${left} are left`)
    const part = readBlock(bytes.subarray(at + 4, at + 4 + size), bytesBefore, bytesMax, blocks)
    bytesBefore += part.length
    parts.push(part)
    at += 4 + size
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
}

function readHeader (bytes: Buffer, at: number): number {
  if (bytes.length - at < HEADER_BYTES) throw new ProtocolError('a snappy container ends inside its header')
  const compatible = bytes.readInt32BE(at + 12)
  if (compatible > VERSION) throw new ProtocolError(`a snappy container of version ${compatible}; ${VERSION} is the newest known`)
  return at + HEADER_BYTES
}

function readBlock (block: Buffer, bytesBefore: number, bytesMax: number, { uncompressSync }: SnappyBlocks): Buffer {
  const announced = announcedBytes(block)
  if (bytesBefore + announced > bytesMax) throw new ProtocolError(`more than ${bytesMax} bytes come out of snappy`)
  // An element of a block, 2 or 3 bytes, makes at most 64 bytes: an announcement beyond that is a lie, and costs no memory.
  if (announced > block.length * 32) throw new ProtocolError(`a snappy block of ${block.length} bytes cannot hold ${announced}`)
  try {
    return uncompressSync(block)
  } catch (error) {
    throw new ProtocolError(`a snappy block is damaged: ${(error as Error).message}`)
  }
}

/** The length that stands in front of a block, as a varint of at most 32 bits. */
function announcedBytes (block: Buffer): number {
  let value = 0
  for (let index = 0; index < 5; index++) {
    const byte = block[index]
    if (byte === undefined) break
    value += (byte & 0x7f) * 2 ** (7 * index)
    if (byte < 0x80) return value
  }
  throw new ProtocolError('a snappy block does not begin with its length')
}

export function writeSnappy (bytes: Buffer, { compressSync }: SnappyBlocks): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  MAGIC.copy(header)
  header.writeInt32BE(VERSION, 8)
  header.writeInt32BE(VERSION, 12)
  const parts: Buffer[] = [header]
  for (let at = 0; at < bytes.length; at += WRITTEN_BLOCK_BYTES) {
    const block = compressSync(bytes.subarray(at, at + WRITTEN_BLOCK_BYTES))
    const size = Buffer.alloc(4)
    size.writeInt32BE(block.length)
    parts.push(size, block)
  }
  return Buffer.concat(parts)
}
