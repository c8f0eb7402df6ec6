/**
 * CRC-32C (Castagnoli, RFC 3720): the checksum of record batches and of what the log writes about itself; shared by protocol/ and log/. Eight bytes at a time in plain TypeScript, until
 * `useCrc32c` brings something faster: the processor has an instruction for it, which only native code can reach.
 */
export type Checksum = (bytes: Uint8Array) => number

const TABLES = makeTables()
const ONE = 0x80000000
const POWERS = makePowers()
/** Entries of one log are often of one length. */
let lastBytes = 0
let lastPower = ONE
let implementation: Checksum = inTypeScript

export function crc32c (bytes: Uint8Array): number {
  return implementation(bytes)
}

/** Replaces the implementation for the whole process. It must give the same results. */
export function useCrc32c (faster: Checksum): void {
  implementation = faster
}

/** The checksum of two runs of bytes that follow each other, from the checksum of each: nothing is read again. */
export function combineCrc32c (first: number, second: number, secondBytes: number): number {
  if (secondBytes !== lastBytes) {
    lastBytes = secondBytes
    lastPower = ONE
    for (let k = 0, left = secondBytes; left > 0; k++, left = Math.floor(left / 2)) {
      if (left % 2 === 1) lastPower = multiply(POWERS[k]!, lastPower)
    }
  }
  return (multiply(lastPower, first) ^ second) >>> 0
}

/** Polynomials over GF(2) modulo that of the checksum, the highest power in the lowest bit, as the checksum itself. */
function multiply (a: number, b: number): number {
  let product = 0
  for (let bit = 31; bit >= 0; bit--) {
    product ^= b & -(a >>> bit & 1)
    b = b >>> 1 ^ 0x82f63b78 & -(b & 1)
  }
  return product
}

/** What 2^k bytes more do to a checksum. */
function makePowers (): readonly number[] {
  const powers = [ONE >>> 8]
  while (powers.length < 53) powers.push(multiply(powers.at(-1)!, powers.at(-1)!))
  return powers
}

function inTypeScript (bytes: Uint8Array): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES as readonly Int32Array[] as [Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array]
  let crc = -1
  let at = 0
  for (const end = bytes.length - 7; at < end; at += 8) {
    crc ^= bytes[at]! | bytes[at + 1]! << 8 | bytes[at + 2]! << 16 | bytes[at + 3]! << 24
    crc = t7[crc & 0xff]! ^ t6[crc >>> 8 & 0xff]! ^ t5[crc >>> 16 & 0xff]! ^ t4[crc >>> 24]! ^
      t3[bytes[at + 4]!]! ^ t2[bytes[at + 5]!]! ^ t1[bytes[at + 6]!]! ^ t0[bytes[at + 7]!]!
  }
  for (; at < bytes.length; at++) crc = t0[(crc ^ bytes[at]!) & 0xff]! ^ crc >>> 8
  return ~crc >>> 0
}

function makeTables (): readonly Int32Array[] {
  const tables = Array.from({ length: 8 }, () => new Int32Array(256))
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >>> 1 ^ 0x82f63b78 : crc >>> 1
    tables[0]![byte] = crc
  }
  for (let byte = 0; byte < 256; byte++) {
    for (let k = 1; k < 8; k++) tables[k]![byte] = tables[0]![tables[k - 1]![byte]! & 0xff]! ^ tables[k - 1]![byte]! >>> 8
  }
  return tables
}
