/** Entries for the tests of the native store, and the folders that they lie in. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Log } from '../../src/log/log.js'

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  return crc >>> 0
})

function crc32c (bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) crc = (crc >>> 8) ^ TABLE[(crc ^ byte) & 255]!
  return ~crc >>> 0
}

export interface EntryOptions {
  readonly bytes?: number
  readonly offsets?: number
  readonly timestampMs?: number
  readonly fill?: number
}

/** An entry under RECORD_BATCH_LAYOUT. */
export function makeEntry ({ bytes = 200, offsets = 1, timestampMs = 1000, fill = 7 }: EntryOptions = {}): Buffer {
  const entry = Buffer.alloc(bytes, fill)
  entry.writeBigInt64BE(-1n, 0)
  entry.writeInt32BE(bytes - 12, 8)
  entry[16] = 2
  entry.writeInt32BE(offsets - 1, 23)
  entry.writeBigInt64BE(BigInt(timestampMs), 35)
  entry.writeUInt32BE(crc32c(entry.subarray(21)), 17)
  return entry
}

/** As it should be in the log. */
export function stamped (entry: Buffer, baseOffset: number): Buffer {
  const copy = Buffer.from(entry)
  copy.writeBigInt64BE(BigInt(baseOffset), 0)
  return copy
}

export async function readAll (log: Log, bytesMax = 1024 * 1024, from = log.startOffset): Promise<Buffer> {
  const parts: Buffer[] = []
  for (let offset = from; offset < log.committedEndOffset;) {
    const read = await log.read(offset, { bytesMax, atLeastOneEntry: true })
    if (read.nextOffset <= offset) throw new Error(`no progress at offset ${offset}`)
    parts.push(...read.parts)
    offset = read.nextOffset
  }
  return Buffer.concat(parts)
}

/** A folder on a disk where there is one: the system's temporary folder may be in memory. */
export function makeFolder (t: { teardown: (end: () => void) => void }): string {
  const folder = mkdtempSync(join(process.platform === 'linux' ? '/var/tmp' : tmpdir(), 'haulout-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  return folder
}
