/**
 * Copies every valid entry of a store's folder into a new folder and says exactly what could not be copied. The source is only read.
 * Entries keep their offsets: where some are lost, an entry without contents covers theirs, so that nothing that remembers an offset (a
 * consumer's position) is led astray, and no offset is given twice. The new folder is written by the store itself, so it opens wherever one does.
 */
import { mkdir, readdir } from 'node:fs/promises'
import path from 'node:path'
import { crc32c } from '../crc32c.js'
import { entryBaseOffset, entryBytes } from './entry.js'
import { isMissing, takeFolder } from './folder.js'
import { openFileStore } from './file-log-store.js'
import { checkCodecs, detectLayout, listLogFiles, listLogs, readIndexFile, withoutEmptyTail, withSegment, type NamedLayout } from './inspect.js'
import { CompressedDamage } from './compressed-segment.js'
import { readJournal, type JournalRecord } from './journal.js'
import { LogError, type EntryLayout, type Log } from './log.js'
import { readStartOffset, tailNotes, writeStartOffset } from './recovery.js'
import { piecesOf } from './segment-pieces.js'
import { judge, SegmentScan } from './segment-scan.js'
import { SegmentIndex } from './segment-index.js'
import { segmentName } from './segment-names.js'

export interface LostRange {
  readonly fromOffset: number
  /** Exclusive; undefined where nobody can tell how far it went. */
  readonly toOffset: number | undefined
  readonly file: string
  readonly position: number
  readonly bytes: number
}

export interface SalvagedLog {
  readonly name: string
  readonly layout: string | undefined
  readonly startOffset: number
  readonly endOffset: number
  readonly entryCount: number
  readonly entryBytes: number
  readonly lost: readonly LostRange[]
}

export interface SalvageOptions {
  readonly layouts: readonly NamedLayout[]
  readonly log?: string
}

/** Lets this many bytes be under way before it waits. */
const UNDER_WAY_BYTES_MAX = 8 * 1024 * 1024
const EMPTY_ENTRY_OFFSETS_MAX = 2 ** 31 - 1

/** `to` must be empty or missing. Rejects with `LogError`. */
export async function salvageStore (folder: string, to: string, options: SalvageOptions): Promise<readonly SalvagedLog[]> {
  const names = await listLogs(folder, options.log)
  await checkCodecs(folder, names)
  await checkTarget(folder, to)
  // Makes the folder a store's, where logs that do not begin at offset 0 are prepared before the store opens it.
  await (await takeFolder(path.resolve(to))).release()
  const journal = await readJournal(folder)
  const plans = []
  for (const name of names) plans.push(await prepareLog(folder, to, name, options.layouts, journal.get(name) ?? []))
  const store = await openFileStore(to, { flushPolicy: { kind: 'none' } })
  const salvaged: SalvagedLog[] = []
  try {
    for (const plan of plans) {
      const log = await store.open(plan.name, { layout: plan.layout.layout, segmentBytesMax: Number.MAX_SAFE_INTEGER })
      salvaged.push(await new LogSalvage(plan, log).run())
      await log.close()
    }
  } finally {
    await store.close()
  }
  return salvaged
}

async function checkTarget (folder: string, to: string): Promise<void> {
  const inside = path.relative(path.resolve(folder), path.resolve(to))
  if (inside === '' || !(inside.startsWith('..') || path.isAbsolute(inside))) {
    throw new LogError('denied', `${to} is in ${folder}: what is salvaged goes into another folder, and the damaged one stays as it is`)
  }
  const names = await readdir(to).catch((error: unknown) => {
    if (isMissing(error)) return []
    throw error
  })
  if (names.length > 0) throw new LogError('denied', `${to} is not empty (there is ${names[0]} in it): what is salvaged goes into a new folder`)
}

interface LogPlan {
  readonly name: string
  readonly inside: string
  readonly baseOffsets: readonly number[]
  readonly layout: NamedLayout
  readonly isLayoutKnown: boolean
  readonly startOffset: number
  /** What only the store's journal may have. */
  readonly journal: readonly JournalRecord[]
}

async function prepareLog (folder: string, to: string, name: string, layouts: readonly NamedLayout[], journal: readonly JournalRecord[]): Promise<LogPlan> {
  const inside = path.join(folder, name)
  const { baseOffsets: found } = await listLogFiles(inside)
  const start = await readStartOffset(inside).catch(() => undefined)
  const known = (await detectLayout(inside, found, layouts)) ?? layoutOf(journal, layouts)
  const layout = known ?? layouts[0]!
  // A segment whose follower begins at or below the start lies wholly below it.
  const used = await withoutEmptyTail(inside, found, layout.layout)
  const baseOffsets = used.filter((_, index) => start === undefined || index + 1 === used.length || used[index + 1]! > start)
  const startOffset = start ?? baseOffsets[0] ?? 0
  // The first entry may begin below the start: the log begins with it, and the start is moved up when everything is there.
  const base = Math.min(startOffset, baseOffsets[0] ?? startOffset)
  if (base > 0) {
    await mkdir(path.join(to, name))
    await writeStartOffset(path.join(to, name), base)
  }
  return { name, inside, baseOffsets, layout, isLayoutKnown: known !== undefined, startOffset, journal }
}

/** Of a log whose entries are all in the journal. */
function layoutOf (journal: readonly JournalRecord[], layouts: readonly NamedLayout[]): NamedLayout | undefined {
  return layouts.find(({ layout }) => journal[0] !== undefined && [...entriesIn(journal[0].bytes, layout)].length > 0)
}

/** Whole entries, one after the other, up to the first one that is not valid. */
function * entriesIn (bytes: Buffer, layout: EntryLayout): Generator<Buffer> {
  for (let at = 0; at + layout.headerBytes <= bytes.length && bytes[at + layout.magicAt] === layout.magic;) {
    const entry = bytes.subarray(at, at + entryBytes(layout, bytes, at))
    const isValid = entry.length >= layout.headerBytes && crc32c(entry.subarray(layout.checksumFrom)) === entry.readUInt32BE(layout.checksumAt)
    if (!isValid) return
    yield entry
    at += entry.length
  }
}

class LogSalvage {
  private readonly lost: LostRange[] = []
  private entryCount = 0
  private entryBytes = 0
  private underWayBytes = 0

  constructor (private readonly plan: LogPlan, private readonly log: Log) {}

  async run (): Promise<SalvagedLog> {
    const { name, baseOffsets, layout, isLayoutKnown, startOffset } = this.plan
    for (const [index, baseOffset] of baseOffsets.entries()) {
      if (index > 0 && this.entryBytes > 0) await this.log.roll()
      await this.copySegment(baseOffset, baseOffsets[index + 1])
    }
    for (const { bytes } of this.plan.journal) await this.copyJournal(bytes)
    await this.log.flush()
    if (startOffset > this.log.startOffset) await this.log.truncateFront(Math.min(startOffset, this.log.committedEndOffset))
    return {
      name,
      layout: isLayoutKnown ? layout.name : undefined,
      startOffset: this.log.startOffset,
      endOffset: this.log.endOffset,
      entryCount: this.entryCount,
      entryBytes: this.entryBytes,
      lost: this.lost
    }
  }

  private async copySegment (baseOffset: number, endOffsetMax: number | undefined): Promise<void> {
    const { inside, layout: { layout }, name } = this.plan
    let file = `${name}/${segmentName(baseOffset)}`
    // Offsets that no file covers any more.
    if (baseOffset > this.log.endOffset) await this.skip({ fromOffset: this.log.endOffset, toOffset: baseOffset, file, position: 0, bytes: 0 })
    try {
      await withSegment(inside, baseOffset, async (handle) => {
        file = `${name}/${path.basename(handle.path)}`
        const { known } = await readIndexFile(inside, baseOffset, handle.bytes)
        const scan = new SegmentScan(handle, layout, handle.bytes, tailNotes(inside, baseOffset))
        for await (const piece of piecesOf(scan, layout, baseOffset, endOffsetMax)) {
          if (piece.kind === 'entry') await this.copy(piece.entry, await scan.bytesAt(piece.entry.position, piece.entry.bytes))
          else if (piece.toOffset !== undefined) await this.skip({ ...piece, file, toOffset: piece.toOffset })
          else await this.endOf(scan, known, { ...piece, file }, endOffsetMax === undefined)
        }
        // The entries in a block that is damaged are lost; those behind it are not.
      }, { onDamage: () => {}, rescue: true })
    } catch (error) {
      if (error instanceof LogError && !(error instanceof CompressedDamage)) throw error
      // A disk that does not give the file: what was read so far is kept.
      this.lost.push({ fromOffset: this.log.endOffset, toOffset: undefined, file: `${file} (${(error as Error).message})`, position: 0, bytes: 0 })
    }
  }

  /** The entries in `bytes` that no segment had. */
  private async copyJournal (bytes: Buffer): Promise<void> {
    for (const entry of entriesIn(bytes, this.plan.layout.layout)) {
      await this.copy({ baseOffset: entryBaseOffset(this.plan.layout.layout, entry, 0), bytes: entry.length }, entry)
    }
  }

  private async copy (entry: { readonly baseOffset: number, readonly bytes: number }, bytes: Buffer): Promise<void> {
    // Of two segments with the same offsets the first one counts.
    if (entry.baseOffset !== this.log.endOffset) return
    this.log.append(bytes)
    this.entryCount++
    this.entryBytes += entry.bytes
    this.underWayBytes += entry.bytes
    if (this.underWayBytes < UNDER_WAY_BYTES_MAX) return
    await this.log.flush()
    this.underWayBytes = 0
  }

  private async skip (lost: LostRange & { readonly toOffset: number }): Promise<void> {
    this.lost.push(lost)
    const { emptyEntry } = this.plan.layout
    while (this.log.endOffset < lost.toOffset) this.log.append(emptyEntry(Math.min(lost.toOffset - this.log.endOffset, EMPTY_ENTRY_OFFSETS_MAX)))
  }

  /** No valid entry follows in this segment: its index may say how far it went, and what is left of a cut-off write was nobody's yet. */
  private async endOf (scan: SegmentScan, known: SegmentIndex | undefined, damage: LostRange, isLast: boolean): Promise<void> {
    if (known !== undefined && known.endOffset > damage.fromOffset) return await this.skip({ ...damage, toOffset: known.endOffset })
    const seen = new SegmentIndex(damage.fromOffset)
    seen.bytes = damage.position
    seen.endOffset = damage.fromOffset
    // Behind an earlier segment the next one says how far it went.
    if (isLast && judge(await scan.lookAfter(seen)) === 'corrupt') this.lost.push(damage)
  }
}
