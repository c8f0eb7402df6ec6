/**
 * Reads every entry of every segment and compares it with everything else that the folder says: offsets without a gap, indexes that
 * agree with the entries, a start that is there, files that are what they should be. Changes nothing and takes no lock. What it finds
 * is named with file and position (findings.ts); a folder without damage opens, and every entry in it can be read.
 */
import path from 'node:path'
import { CompressedDamage, type BlockDamage } from './compressed-segment.js'
import { JOURNAL_NAME, readJournal } from './journal.js'
import { LogError, type EntryLayout } from './log.js'
import { readFormat } from './folder.js'
import { finding, type Finding } from './findings.js'
import { checkCodecs, detectLayout, listLogFiles, listLogs, readIndexFile, tailState, withoutEmptyTail, withSegment, type NamedLayout } from './inspect.js'
import { readStartOffset, tailNotes } from './recovery.js'
import { SegmentIndex } from './segment-index.js'
import { indexName, segmentName } from './segment-names.js'
import { piecesOf, type Piece } from './segment-pieces.js'
import type { EntryPlace } from './segment-reader.js'
import { SegmentScan } from './segment-scan.js'

export interface VerifiedLog {
  readonly name: string
  readonly layout: string | undefined
  readonly startOffset: number
  /** After the last valid entry. */
  readonly endOffset: number
  readonly segmentCount: number
  /** Valid ones. */
  readonly entryCount: number
  readonly entryBytes: number
  readonly findings: readonly Finding[]
}

export interface VerifiedStore {
  readonly folder: string
  /** Of the folder itself. */
  readonly findings: readonly Finding[]
  readonly logs: readonly VerifiedLog[]
  readonly damageCount: number
}

export interface VerifyOptions {
  readonly layouts: readonly NamedLayout[]
  /** Only this log. */
  readonly log?: string
  /** Somebody appends meanwhile: what stands behind the last entries is a write under way. */
  readonly inUse?: boolean
}

export async function verifyStore (folder: string, options: VerifyOptions): Promise<VerifiedStore> {
  const names = await listLogs(folder, options.log)
  await checkCodecs(folder, names)
  const findings = [...await verifyFormat(folder), ...options.inUse === true ? [] : await verifyJournal(folder)]
  const logs: VerifiedLog[] = []
  for (const name of names) logs.push(await verifyLog(folder, name, options))
  const damageCount = [...findings, ...logs.flatMap((log) => log.findings)].filter(({ severity }) => severity === 'damage').length
  return { folder, findings, logs, damageCount }
}

/** A newer format is refused: what this version would say of it means nothing. */
async function verifyFormat (folder: string): Promise<readonly Finding[]> {
  try {
    return await readFormat(folder) === undefined ? [finding('format', { file: 'haulout.format', what: 'it is missing' })] : []
  } catch (error) {
    if (!(error instanceof LogError) || error.code !== 'corrupt') throw error
    return [finding('format', { file: 'haulout.format', position: 0, what: 'it does not hold a format version' })]
  }
}

async function verifyJournal (folder: string): Promise<readonly Finding[]> {
  const journal = await readJournal(folder)
  if (journal.size === 0) return []
  const bytes = [...journal.values()].flat().reduce((sum, record) => sum + record.bytes.length, 0)
  return [finding('journal', { file: JOURNAL_NAME, what: `it holds ${bytes} bytes of entries of ${journal.size} ${journal.size === 1 ? 'log' : 'logs'}` })]
}

const LOOKS_MAX = 4

/** A segment after every byte of it was looked at. */
interface CheckedSegment {
  readonly baseOffset: number
  /** After the last valid entry, or what the index of a sealed segment says if that is more. */
  readonly endOffset: number
  readonly entryCount: number
  readonly entryBytes: number
  readonly findings: readonly Finding[]
}

/** Of a log that somebody uses, what is found may be on its way: a segment that is sealed, or removed and its file written again. Damage is found each time. */
export async function verifyLog (folder: string, name: string, options: VerifyOptions): Promise<VerifiedLog> {
  let verified = await lookThrough(folder, name, options)
  for (let look = 1; options.inUse === true && verified.findings.length > 0 && look < LOOKS_MAX; look++) {
    const { findings } = verified
    const again = await lookThrough(folder, name, options)
    verified = { ...again, findings: again.findings.filter((one) => findings.some((other) => one.kind === other.kind && one.file === other.file && one.position === other.position)) }
  }
  return verified
}

async function lookThrough (folder: string, name: string, { layouts, inUse = false }: VerifyOptions): Promise<VerifiedLog> {
  const inside = path.join(folder, name)
  const { baseOffsets, unfinished, besides } = await listLogFiles(inside)
  const findings: Finding[] = inUse ? [] : [
    ...unfinished.map((file) => /\.log~$/.test(file)
      ? finding('spare', { file: `${name}/${file}`, what: 'space for a segment to come' })
      : finding('leftover', { file: `${name}/${file}`, what: 'an unfinished replacement' })),
    ...besides.map((file) => finding('leftover', { file: `${name}/${file}`, what: 'a compressed segment beside the file that it was to replace' }))
  ]
  const start = await readStartOffset(inside).catch(() => {
    findings.push(finding('start-offset', { file: `${name}/start-offset`, position: 0, what: 'it does not hold a start offset' }))
    return undefined
  })
  const known = await detectLayout(inside, baseOffsets, layouts)
  const { layout } = known ?? layouts[0]!
  const used = await withoutEmptyTail(inside, baseOffsets, layout)
  const checked: CheckedSegment[] = []
  for (const [index, baseOffset] of used.entries()) {
    if (start !== undefined && index + 1 < used.length && used[index + 1]! <= start) {
      findings.push(finding('below-start', { file: `${name}/${segmentName(baseOffset)}`, what: `all of it lies below the start offset ${start}` }))
      continue
    }
    checked.push(await checkSegment({ inside, name, baseOffset, layout, endOffsetMax: used[index + 1], inUse }))
  }
  const startOffset = start ?? checked[0]?.baseOffset ?? 0
  findings.push(...checkOrder(name, checked, startOffset), ...checked.flatMap((segment) => segment.findings))
  return {
    name,
    layout: known?.name,
    startOffset,
    endOffset: Math.max(startOffset, checked.at(-1)?.endOffset ?? 0),
    segmentCount: checked.length,
    entryCount: checked.reduce((sum, { entryCount }) => sum + entryCount, 0),
    entryBytes: checked.reduce((sum, { entryBytes }) => sum + entryBytes, 0),
    findings
  }
}

/** Each segment begins where the one before it ends, and the first one at or below the start. */
export function checkOrder (name: string, segments: readonly Pick<CheckedSegment, 'baseOffset' | 'endOffset'>[], startOffset: number): readonly Finding[] {
  const findings: Finding[] = []
  let expected = startOffset
  segments.forEach(({ baseOffset, endOffset }, index) => {
    const file = `${name}/${segmentName(baseOffset)}`
    if (baseOffset > expected) {
      findings.push(finding('segment-missing', { file, position: 0, fromOffset: expected, toOffset: baseOffset, what: `it begins at offset ${baseOffset}; the segment with ${expected} to ${baseOffset - 1}, which should come before it, is missing` }))
    } else if (index > 0 && baseOffset < expected) {
      findings.push(finding('segments-overlap', { file, position: 0, fromOffset: baseOffset, toOffset: expected, what: `it begins at offset ${baseOffset}, but the segment before it goes on to ${expected - 1}` }))
    }
    expected = Math.max(index === 0 ? endOffset : expected, endOffset)
  })
  return findings
}

interface SegmentToCheck {
  readonly inside: string
  readonly name: string
  readonly baseOffset: number
  readonly layout: EntryLayout
  /** Where the next segment begins; the last one, which has none, may be unsealed. */
  readonly endOffsetMax: number | undefined
  readonly inUse: boolean
}

async function checkSegment (segment: SegmentToCheck): Promise<CheckedSegment> {
  const { inside, name, baseOffset } = segment
  const blocks = new Map<number, BlockDamage>()
  let file = `${name}/${segmentName(baseOffset)}`
  try {
    const checked = await withSegment(inside, baseOffset, async (found) => {
      file = `${name}/${path.basename(found.path)}`
      return await checkOpened(segment, file, new SegmentScan(found, segment.layout, found.bytes, tailNotes(inside, baseOffset)))
    }, { onDamage: (damage) => { blocks.set(damage.position, damage) } })
    return { ...checked, findings: [...[...blocks.values()].map((block) => finding('compressed', { file, ...block })), ...checked.findings] }
  } catch (error) {
    const found = error instanceof CompressedDamage
      ? finding('compressed', { file: `${name}/${path.basename(error.file)}`, position: error.position, what: error.what })
      : finding('unreadable', { file, what: (error as Error).message })
    return { baseOffset, endOffset: segment.endOffsetMax ?? baseOffset, entryCount: 0, entryBytes: 0, findings: [found] }
  }
}

async function checkOpened (segment: SegmentToCheck, file: string, scan: SegmentScan): Promise<CheckedSegment> {
  const { inside, name, baseOffset, layout, endOffsetMax, inUse } = segment
  const { index, known } = await readIndexFile(inside, baseOffset, scan.fileBytes)
  const isLast = endOffsetMax === undefined
  const isTailPossible = isLast && known?.sealed !== true
  const comparison = known === undefined ? undefined : new IndexComparison(known)
  const findings: Finding[] = []
  const seen = new SegmentIndex(baseOffset)
  let entryCount = 0
  let damage: Extract<Piece, { kind: 'damage' }> | undefined
  for await (const piece of piecesOf(scan, layout, baseOffset, endOffsetMax ?? sealedEnd(known))) {
    if (piece.kind === 'entry') {
      entryCount++
      comparison?.take(piece.entry)
      if (damage === undefined) {
        seen.add(layout, await scan.bytesAt(piece.entry.position, layout.headerBytes), 0)
        if (seen.bytes === known?.bytes) comparison?.takeWhole(seen)
      }
      seen.endOffset = piece.entry.endOffset
      seen.bytes = piece.entry.position + piece.entry.bytes
      continue
    }
    if (isTailPossible && (damage === undefined || piece.toOffset === undefined)) {
      const state = await tailState(scan, await scan.lookAfter(seen))
      if (state !== 'damaged') {
        if (state === 'torn' && !inUse) findings.push(tornTail(file, seen, scan.fileBytes))
        break
      }
    }
    damage = piece
    findings.push(damaged(file, piece, isTailPossible, known))
  }
  const endOffset = known?.sealed === true ? Math.max(known.endOffset, seen.endOffset) : seen.endOffset
  findings.push(...indexFindings(`${name}/${indexName(baseOffset)}`, index, isLast || inUse, damage !== undefined ? undefined : comparison?.result()))
  return { baseOffset, endOffset, entryCount, entryBytes: seen.bytes, findings }
}

const sealedEnd = (known: SegmentIndex | undefined): number | undefined => known?.sealed === true ? known.endOffset : undefined

function tornTail (file: string, seen: SegmentIndex, fileBytes: number): Finding {
  return finding('tail-torn', { file, position: seen.bytes, fromOffset: seen.endOffset, what: `the ${fileBytes - seen.bytes} bytes from there on are what is left of a write that was cut off` })
}

function damaged (file: string, { position, bytes, fromOffset, toOffset }: Extract<Piece, { kind: 'damage' }>, isTailPossible: boolean, known: SegmentIndex | undefined): Finding {
  const end = toOffset ?? (known?.sealed === true && known.endOffset > fromOffset ? known.endOffset : undefined)
  const offsets = end === undefined ? `from offset ${fromOffset} on` : end - fromOffset === 1 ? `with offset ${fromOffset}` : `with offsets ${fromOffset} to ${end - 1}`
  const where = { file, position, fromOffset, ...(end !== undefined && { toOffset: end }) }
  if (bytes === 0) return finding('entries', { ...where, what: `the entries ${offsets} are missing: the next one begins here` })
  const what = `the ${bytes} bytes from there on are no valid entries; lost are those ${offsets}`
  return finding(isTailPossible && toOffset === undefined ? 'tail-damaged' : 'entries', { ...where, what })
}

function indexFindings (file: string, index: string, mayBeUnsealed: boolean, differences: string | undefined): readonly Finding[] {
  if (differences !== undefined) return [finding('index-wrong', { file, what: differences })]
  if (index === 'torn') return [finding('index-torn', { file, what: 'it does not count: its checksums, its offset or its size do not fit the segment' })]
  if ((index === 'none' || index === 'point') && !mayBeUnsealed) return [finding('index-missing', { file, what: index === 'none' ? 'there is none' : 'it covers a part of the segment only' })]
  return []
}

/** Holds an index against the entries as they come by: its ends, its largest timestamp, and every sample. */
export class IndexComparison {
  private sample = 0
  private endOffset: number
  private bytes = 0
  private timestampMaxMs = -1
  private timestampMaxOffset = -1
  private sampleTimestampMaxMs = -1
  private readonly differences: string[] = []

  constructor (private readonly index: SegmentIndex) {
    this.endOffset = index.baseOffset
  }

  take ({ position, bytes, baseOffset, endOffset, timestampMaxMs }: EntryPlace): void {
    if (position >= this.index.bytes) return
    const { offsets, positions } = this.index
    if (position >= (positions[this.sample] ?? Infinity)) {
      if (positions[this.sample] !== position || offsets[this.sample] !== baseOffset) {
        this.differs(`sample ${this.sample} says that offset ${offsets[this.sample]} is at position ${positions[this.sample]}, but offset ${baseOffset} is at ${position}`)
      }
      this.endSample()
      this.sample++
      this.sampleTimestampMaxMs = -1
    }
    this.sampleTimestampMaxMs = Math.max(this.sampleTimestampMaxMs, timestampMaxMs)
    if (timestampMaxMs > this.timestampMaxMs) {
      this.timestampMaxMs = timestampMaxMs
      this.timestampMaxOffset = baseOffset
    }
    this.endOffset = endOffset
    this.bytes = position + bytes
  }

  /** All that the index covers has been seen: its count, and the checksum over every byte of it. */
  takeWhole ({ entryCount, checksum }: SegmentIndex): void {
    const { index } = this
    if (index.entryCount >= 0 && index.entryCount !== entryCount) this.differs(`it says that there are ${index.entryCount} entries; there are ${entryCount}`)
    if (index.checksum !== undefined && index.checksum !== checksum) {
      this.differs('the checksum of the whole segment is wrong, although every entry is valid by its own: bytes that no entry\'s checksum covers were changed, in the segment or in what it was made of')
    }
  }

  /** The first difference as a sentence; undefined when the index is right. */
  result (): string | undefined {
    const { index } = this
    this.endSample()
    if (this.sample < index.positions.length) this.differs(`it has ${index.positions.length} samples, of which ${index.positions.length - this.sample} lie behind the last entry`)
    if (index.endOffset !== this.endOffset) this.differs(`it says that the entries end at offset ${index.endOffset}; they end at ${this.endOffset}`)
    if (index.bytes !== this.bytes) this.differs(`it says that the entries have ${index.bytes} bytes; they have ${this.bytes}`)
    if (index.timestampMaxMs !== this.timestampMaxMs || index.timestampMaxOffset !== this.timestampMaxOffset) {
      this.differs(`it says that the largest timestamp is ${index.timestampMaxMs}, at offset ${index.timestampMaxOffset}; it is ${this.timestampMaxMs}, at ${this.timestampMaxOffset}`)
    }
    return this.differences[0]
  }

  private endSample (): void {
    if (this.sample === 0) return
    const said = this.index.timestamps[this.sample - 1]
    if (said !== this.sampleTimestampMaxMs) this.differs(`sample ${this.sample - 1} says that the largest timestamp behind it is ${said}; it is ${this.sampleTimestampMaxMs}`)
  }

  private differs (what: string): void {
    this.differences.push(what)
  }
}
