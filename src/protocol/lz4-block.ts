/**
 * Opens LZ4 blocks (https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md): sequences of literals and a copy of earlier output.
 * Measured first, then decoded: no memory is taken for bytes that do not come out, and nothing is read or written out of bounds.
 */
import { ProtocolError } from './protocol-error.js'

const COPY_BYTES_MIN = 4
const EXTENDED = 15
/** From this size on a call into the runtime is faster than a loop. */
const BULK_BYTES = 32

/** How many bytes a block becomes: the sum of its lengths. Throws ProtocolError when they do not add up. */
export function decodedBytes (block: Buffer): number {
  let at = 0
  let bytes = 0
  /** Of four bits: the largest goes on in bytes, of which the last is not 255. */
  const lengthOf = (bits: number): number => {
    let length = bits
    if (bits === EXTENDED) {
      let more
      do {
        more = byteAt(block, at++)
        length += more
      } while (more === 255)
    }
    return length
  }
  while (at < block.length) {
    const token = block[at++]!
    const literals = lengthOf(token >> 4)
    at += literals
    bytes += literals
    if (at === block.length) return bytes
    at += 2
    bytes += lengthOf(token & 15) + COPY_BYTES_MIN
  }
  throw new ProtocolError('an lz4 block does not end with literals')
}

function byteAt (block: Buffer, at: number): number {
  const byte = block[at]
  if (byte === undefined) throw new ProtocolError('an lz4 block ends inside a sequence')
  return byte
}

/**
 * Decodes a measured block into `output` from `start` on; its copies may reach back to `reachFrom` in `output`. Returns where the
 * decoded bytes end.
 */
export function decodeBlock (block: Buffer, output: Buffer, start: number, reachFrom: number): number {
  let at = 0
  let to = start
  for (;;) {
    const token = block[at++]!
    let length = token >> 4
    if (length === EXTENDED) {
      let more
      do { length += more = block[at++]! } while (more === 255)
    }
    if (length < BULK_BYTES) for (const end = at + length; at < end;) output[to++] = block[at++]!
    else {
      to += block.copy(output, to, at, at + length)
      at += length
    }
    if (at === block.length) return to
    const distance = block[at]! | block[at + 1]! << 8
    at += 2
    length = (token & 15)
    if (length === EXTENDED) {
      let more
      do { length += more = block[at++]! } while (more === 255)
    }
    length += COPY_BYTES_MIN
    if (distance === 0 || to - distance < reachFrom) throw new ProtocolError(`an lz4 block copies from ${distance} bytes back, where ${to - reachFrom} are`)
    to = copyWithin(output, to, distance, length)
  }
}

/** A copy may overlap what it makes: a distance shorter than the length repeats the bytes between. */
function copyWithin (output: Buffer, start: number, distance: number, length: number): number {
  const end = start + length
  if (length < BULK_BYTES) {
    for (let to = start; to < end; to++) output[to] = output[to - distance]!
    return end
  }
  // Each pass doubles what can be copied at once.
  for (let to = start, run = distance; to < end; to += run, run += run) output.copyWithin(to, start - distance, start - distance + Math.min(run, end - to))
  return end
}
