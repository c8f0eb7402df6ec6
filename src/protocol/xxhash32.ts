/** xxHash32 with seed 0 (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md): the checksum inside LZ4 frames. */
const PRIME1 = 0x9E3779B1 | 0
const PRIME2 = 0x85EBCA77 | 0
const PRIME3 = 0xC2B2AE3D | 0
const PRIME4 = 0x27D4EB2F | 0
const PRIME5 = 0x165667B1 | 0
const STRIPE_BYTES = 16

export function xxhash32 (bytes: Buffer): number {
  let at = 0
  let hash = PRIME5
  if (bytes.length >= STRIPE_BYTES) {
    let lane1 = (PRIME1 + PRIME2) | 0
    let lane2 = PRIME2
    let lane3 = 0
    let lane4 = -PRIME1 | 0
    for (const end = bytes.length - STRIPE_BYTES; at <= end; at += STRIPE_BYTES) {
      lane1 = round(lane1, bytes.readInt32LE(at))
      lane2 = round(lane2, bytes.readInt32LE(at + 4))
      lane3 = round(lane3, bytes.readInt32LE(at + 8))
      lane4 = round(lane4, bytes.readInt32LE(at + 12))
    }
    hash = (rotate(lane1, 1) + rotate(lane2, 7) + rotate(lane3, 12) + rotate(lane4, 18)) | 0
  }
  hash = (hash + bytes.length) | 0
  for (; at + 4 <= bytes.length; at += 4) {
    hash = Math.imul(rotate((hash + Math.imul(bytes.readInt32LE(at), PRIME3)) | 0, 17), PRIME4)
  }
  for (; at < bytes.length; at++) {
    hash = Math.imul(rotate((hash + Math.imul(bytes[at]!, PRIME5)) | 0, 11), PRIME1)
  }
  hash = Math.imul(hash ^ hash >>> 15, PRIME2)
  hash = Math.imul(hash ^ hash >>> 13, PRIME3)
  return (hash ^ hash >>> 16) >>> 0
}

function round (lane: number, input: number): number {
  return Math.imul(rotate((lane + Math.imul(input, PRIME2)) | 0, 13), PRIME1)
}

function rotate (value: number, bits: number): number {
  return value << bits | value >>> (32 - bits)
}
