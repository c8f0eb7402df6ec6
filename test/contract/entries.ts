/** Entries for tests of logs: small record batches with a right checksum, whose content tells them apart. */
import { mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { crc32c } from '../../src/crc32c.js'
import { RECORD_BATCH_LAYOUT, type LogRead } from '../../src/log/log.js'

export interface EntryOptions {
  /** Offsets that it covers. Default 1. */
  readonly count?: number
  readonly timestampMs?: number
  /** All of it. Default 100. */
  readonly bytes?: number
  /** A number to know it by. Default 0. */
  readonly id?: number
}

const ID_AT = 61

export function entry ({ count = 1, timestampMs = -1, bytes = 100, id = 0 }: EntryOptions = {}): Buffer {
  const { lengthAt, lengthExtraBytes, magicAt, magic, checksumAt, checksumFrom, lastOffsetDeltaAt, timestampMaxAt } = RECORD_BATCH_LAYOUT
  const entry = Buffer.alloc(bytes, id & 0xff)
  entry.fill(0, 0, ID_AT)
  entry.writeInt32BE(bytes - lengthExtraBytes, lengthAt)
  entry.writeInt8(magic, magicAt)
  entry.writeInt32BE(count - 1, lastOffsetDeltaAt)
  entry.writeBigInt64BE(BigInt(timestampMs), timestampMaxAt)
  if (bytes >= ID_AT + 4) entry.writeUInt32BE(id, ID_AT)
  const key = `${count} ${timestampMs} ${bytes} ${id}`
  const checksum = checksums.get(key) ?? crc32c(entry.subarray(checksumFrom))
  checksums.set(key, checksum)
  entry.writeUInt32BE(checksum, checksumAt)
  return entry
}
/** One contract after the other makes the same entries, of many megabytes altogether. */
const checksums = new Map<string, number>()

export interface Found {
  readonly baseOffset: number
  readonly id: number
  readonly bytes: number
  /** The checksum is right. */
  readonly intact: boolean
}

/** What a read returned, entry by entry; throws when it is not a run of whole entries. */
export function entriesOf (read: LogRead): Found[] {
  const all = Buffer.concat(read.parts)
  if (all.length !== read.bytes) throw new Error(`a read says it has ${read.bytes} bytes and has ${all.length}`)
  const found: Found[] = []
  for (let at = 0; at < all.length;) {
    const bytes = all.readInt32BE(at + RECORD_BATCH_LAYOUT.lengthAt) + RECORD_BATCH_LAYOUT.lengthExtraBytes
    if (at + bytes > all.length) throw new Error('a read ends inside an entry')
    const one = all.subarray(at, at + bytes)
    found.push({
      baseOffset: Number(one.readBigInt64BE(0)),
      id: bytes >= ID_AT + 4 ? one.readUInt32BE(ID_AT) : 0,
      bytes,
      intact: crc32c(one.subarray(RECORD_BATCH_LAYOUT.checksumFrom)) === one.readUInt32BE(RECORD_BATCH_LAYOUT.checksumAt)
    })
    at += bytes
  }
  return found
}

const MEMORY_BYTES_MIN = 1024 * 1024 * 1024

/**
 * A folder outside the repository, gone after the test: on a real disk where there is one, or in memory where there is enough, for what
 * is not about disks and would mostly wait for one.
 */
export function testFolder (t: { teardown: (handler: () => void) => void }, place: 'disk' | 'memory' = 'disk'): string {
  const disk = process.platform === 'linux' ? '/var/tmp' : tmpdir()
  const folder = mkdtempSync(path.join(place === 'memory' && hasMemory() ? '/dev/shm' : disk, 'haulout-log-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

function hasMemory (): boolean {
  try {
    const { bavail, bsize } = statfsSync('/dev/shm')
    return bavail * bsize > MEMORY_BYTES_MIN
  } catch {
    return false
  }
}

/** What a write of the bytes `begin` to `end` leaves behind them (docs/storage.md). */
export function commitMark (begin: number, end: number): Buffer {
  const mark = Buffer.alloc(32)
  mark.write('HAULMARK')
  mark.writeBigInt64BE(BigInt(begin), 8)
  mark.writeBigInt64BE(BigInt(end), 16)
  mark.writeUInt32BE(crc32c(mark.subarray(0, 24)), 24)
  return mark
}
