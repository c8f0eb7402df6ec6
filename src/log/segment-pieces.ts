/**
 * Walks one segment file from its first byte to its last and tells every entry from every stretch of damage: what `verify` counts and
 * what `salvage` copies. Where an entry is not valid, the next one is looked for: first where the damaged entry's own header says that it
 * ends (only its contents were hit), then at every position.
 */
import { entryBaseOffset, entryBytes, entryOffsetCount } from './entry.js'
import type { EntryLayout } from './log.js'
import type { EntryPlace } from './segment-reader.js'
import type { SegmentScan } from './segment-scan.js'

export type Piece =
  | { readonly kind: 'entry', readonly entry: EntryPlace }
  /** Bytes that are no entry in its place (none at all where offsets are passed over). `toOffset`: base offset of the next valid entry, if there is one. */
  | { readonly kind: 'damage', readonly position: number, readonly bytes: number, readonly fromOffset: number, readonly toOffset: number | undefined }

/** `endOffsetMax`: entries that reach beyond it do not belong here, whatever their checksum says (it does not cover the base offset). */
export async function * piecesOf (scan: SegmentScan, layout: EntryLayout, baseOffset: number, endOffsetMax = Infinity): AsyncGenerator<Piece> {
  let offset = baseOffset
  for (let position = 0; position < scan.fileBytes;) {
    let entry = await scan.entryAt(position)
    if (entry?.baseOffset !== offset || entry.endOffset > endOffsetMax) {
      entry = await nextInOrder(scan, layout, position, offset, endOffsetMax)
      const bytes = (entry?.position ?? scan.fileBytes) - position
      yield { kind: 'damage', position, bytes, fromOffset: offset, toOffset: entry?.baseOffset }
      if (entry === undefined) return
    }
    yield { kind: 'entry', entry }
    position = entry.position + entry.bytes
    offset = entry.endOffset
  }
}

async function nextInOrder (scan: SegmentScan, layout: EntryLayout, position: number, offset: number, endOffsetMax: number): Promise<EntryPlace | undefined> {
  const here = await scan.entryAt(position)
  if (here !== undefined) {
    // Its own base offset is what was hit if the next entry goes on as if it had the right one; else offsets are missing before it.
    const follower = await scan.entryAt(position + here.bytes)
    if (follower?.baseOffset === offset + here.endOffset - here.baseOffset) return follower
    if (here.baseOffset > offset && here.endOffset <= endOffsetMax) return here
  } else if (scan.fileBytes - position >= layout.headerBytes) {
    const header = await scan.bytesAt(position, layout.headerBytes)
    const endOffset = offset + entryOffsetCount(layout, header, 0)
    const end = position + entryBytes(layout, header, 0)
    const isHeader = header[layout.magicAt] === layout.magic && entryBaseOffset(layout, header, 0) === offset && end > position && endOffset > offset
    const follower = isHeader ? await scan.entryAt(end) : undefined
    if (follower?.baseOffset === endOffset) return follower
  }
  let next = await scan.nextEntry(position + 1, offset)
  while (next !== undefined && next.endOffset > endOffsetMax) next = await scan.nextEntry(next.position + 1, offset)
  return next
}
