/** Reads what an `EntryLayout` describes from an entry's header. Shared by the logs that are written in TypeScript. */
import { LogError, type EntryLayout } from './log.js'

const TWO_POW_32 = 2 ** 32

export function entryBytes (layout: EntryLayout, bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at + layout.lengthAt) + layout.lengthExtraBytes
}

/** How many offsets the entry covers. */
export function entryOffsetCount (layout: EntryLayout, bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at + layout.lastOffsetDeltaAt) + 1
}

export function entryBaseOffset (layout: EntryLayout, bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at + layout.baseOffsetAt) * TWO_POW_32 + bytes.readUInt32BE(at + layout.baseOffsetAt + 4)
}

/** In ms since the epoch; -1 for none. Beyond the safe range it is clamped: timestamps come from clients. */
export function entryTimestampMaxMs (layout: EntryLayout, bytes: Buffer, at: number): number {
  const value = bytes.readInt32BE(at + layout.timestampMaxAt) * TWO_POW_32 + bytes.readUInt32BE(at + layout.timestampMaxAt + 4)
  return Math.max(-1, Math.min(value, Number.MAX_SAFE_INTEGER))
}

export function writeBaseOffset (layout: EntryLayout, entry: Buffer, baseOffset: number): void {
  entry.writeInt32BE(Math.floor(baseOffset / TWO_POW_32), layout.baseOffsetAt)
  entry.writeUInt32BE(baseOffset % TWO_POW_32, layout.baseOffsetAt + 4)
}

/** Throws LogError 'malformed' or 'too-large' for bytes that are not one whole entry that fits a segment. */
export function checkEntry (layout: EntryLayout, entry: Buffer, segmentBytesMax: number): void {
  if (entry.length < layout.headerBytes) {
    throw new LogError('malformed', `an entry has at least ${layout.headerBytes} bytes, this one has ${entry.length}`)
  }
  if (entry.readInt8(layout.magicAt) !== layout.magic) {
    throw new LogError('malformed', `an entry of this log has format ${layout.magic}, this one has ${entry.readInt8(layout.magicAt)}`)
  }
  if (entryBytes(layout, entry, 0) !== entry.length) {
    throw new LogError('malformed', `the entry says it has ${entryBytes(layout, entry, 0)} bytes, it has ${entry.length}`)
  }
  if (entryOffsetCount(layout, entry, 0) < 1) {
    throw new LogError('malformed', `an entry covers at least one offset, this one ${entryOffsetCount(layout, entry, 0)}`)
  }
  if (entry.length > segmentBytesMax) {
    throw new LogError('too-large', `the entry has ${entry.length} bytes, a segment at most ${segmentBytesMax}`)
  }
}

/** Throws LogError 'malformed' for a name that cannot be a folder's on every platform, or that the store keeps for itself. */
export function checkLogName (name: string): void {
  if (typeof name !== 'string' || !/^[A-Za-z0-9._-]{1,255}$/.test(name) || ['.', '..', '.lock', 'haulout.format', 'haulout.journal'].includes(name)) {
    throw new LogError('malformed', `'${name}' cannot be a log's name: 1 to 255 of A-Z a-z 0-9 . _ -, and not one that the store uses`)
  }
}

export function isLogName (name: string): boolean {
  try {
    checkLogName(name)
    return true
  } catch {
    return false
  }
}

export const SEGMENT_BYTES_MAX_DEFAULT = 1024 * 1024 * 1024
