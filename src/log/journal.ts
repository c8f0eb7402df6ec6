/**
 * The journal of a store's folder (docs/storage.md, "Journal"): where the native engine makes the small appends of many logs durable in one
 * write. This side only reads it: at open what it holds goes to the segments, and then it is deleted. Nothing here writes one.
 */
import { open, unlink } from 'node:fs/promises'
import path from 'node:path'
import { crc32c } from '../crc32c.js'
import { isLogName } from './entry.js'
import { fileError, isMissing, readIfThere, syncFolder } from './folder.js'
import { LogError } from './log.js'
import { segmentName } from './segment-names.js'

export const JOURNAL_NAME = 'haulout.journal'
const VERSION = 1
const MAGIC = Buffer.from('HAULJRNL')
const AREAS = 2
const BLOCK_BYTES = 4096
const HEADER_BYTES = 40
const RECORD_BYTES = 28
const KIND_BYTES = 1
const KIND_FORGET = 2

/** Entries of a log, whole ones, that stand at `position` of a segment. */
export interface JournalRecord {
  readonly baseOffset: number
  readonly position: number
  readonly bytes: Buffer
}

/** What counts of the journal, by log, oldest first; nothing where there is none. Rejects with `LogError` 'denied' for a newer version. */
export async function readJournal (folder: string): Promise<ReadonlyMap<string, readonly JournalRecord[]>> {
  const records = new Map<string, JournalRecord[]>()
  const content = await readIfThere(path.join(folder, JOURNAL_NAME))
  if (content === null) return records
  const areaBytes = content.length / AREAS
  if (areaBytes % BLOCK_BYTES !== 0) return records
  const writes = Array.from({ length: AREAS }, (_, area) => [...writesOf(folder, content.subarray(area * areaBytes, (area + 1) * areaBytes))]).flat()
  for (const { bytes, recordCount } of writes.sort((one, other) => one.sequence - other.sequence)) {
    for (const { kind, name, ...record } of recordsOf(bytes, recordCount)) {
      if (kind === KIND_FORGET) records.delete(name)
      else if (kind === KIND_BYTES && isLogName(name)) listIn(records, name).push(record)
    }
  }
  return records
}

/** Brings it to the segments, durably, and deletes it. Rejects with `LogError`. */
export async function replayJournal (folder: string): Promise<void> {
  try {
    const segments = new Map<string, JournalRecord[]>()
    for (const [name, records] of await readJournal(folder)) {
      for (const record of records) listIn(segments, path.join(folder, name, segmentName(record.baseOffset))).push(record)
    }
    for (const [file, records] of segments) await replaySegment(file, records)
    await unlink(path.join(folder, JOURNAL_NAME)).then(async () => await syncFolder(folder), (error: unknown) => {
      if (!isMissing(error)) throw error
    })
  } catch (error) {
    throw fileError(`bring ${path.join(folder, JOURNAL_NAME)} to the segments`, error)
  }
}

function listIn (lists: Map<string, JournalRecord[]>, key: string): JournalRecord[] {
  let list = lists.get(key)
  if (list === undefined) lists.set(key, list = [])
  return list
}

async function replaySegment (file: string, records: readonly JournalRecord[]): Promise<void> {
  const handle = await open(file, 'r+').catch((error: unknown) => {
    // Deleted, or stored in another way, when all of it was in its file.
    if (isMissing(error)) return null
    throw error
  })
  if (handle === null) return
  try {
    for (const { position, bytes } of records) {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(bytes.length), 0, bytes.length, position)
      if (bytesRead < bytes.length || !buffer.equals(bytes)) await handle.write(bytes, 0, bytes.length, position)
    }
    await handle.sync()
  } finally {
    await handle.close()
  }
}

interface Write {
  readonly sequence: number
  readonly recordCount: number
  /** Header included. */
  readonly bytes: Buffer
}

/** The writes of one area, as far as each follows the one before. */
function * writesOf (folder: string, area: Buffer): Generator<Write> {
  let expected: number | undefined
  for (let at = 0; at + HEADER_BYTES <= area.length;) {
    const header = area.subarray(at, at + HEADER_BYTES)
    if (!header.subarray(0, 8).equals(MAGIC) || header.readUInt32BE(32) !== crc32c(header.subarray(0, 32))) return
    const sequence = Number(header.readBigInt64BE(16))
    const bytes = area.subarray(at, at + header.readUInt32BE(24))
    if (expected !== undefined && sequence !== expected) return
    if (header.readUInt32BE(8) > VERSION) {
      throw new LogError('denied', `${path.join(folder, JOURNAL_NAME)} was written by a newer Haulout: it has version ${header.readUInt32BE(8)}`)
    }
    if (bytes.length < header.readUInt32BE(24) || crc32c(bytes.subarray(HEADER_BYTES)) !== header.readUInt32BE(28)) return
    yield { sequence, recordCount: header.readUInt32BE(12), bytes }
    expected = sequence + 1
    at += Math.ceil(bytes.length / BLOCK_BYTES) * BLOCK_BYTES
  }
}

function * recordsOf (write: Buffer, count: number): Generator<JournalRecord & { readonly kind: number, readonly name: string }> {
  let at = HEADER_BYTES
  for (let left = count; left > 0; left--) {
    const nameAt = at + RECORD_BYTES
    const bytesAt = nameAt + write.readUInt32BE(at + 4)
    const end = bytesAt + write.readUInt32BE(at + 24)
    yield {
      kind: write.readUInt32BE(at),
      name: write.toString('latin1', nameAt, bytesAt),
      baseOffset: Number(write.readBigInt64BE(at + 8)),
      position: Number(write.readBigInt64BE(at + 16)),
      bytes: write.subarray(bytesAt, end)
    }
    at = end
  }
}
