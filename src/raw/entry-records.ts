/**
 * Where the records of entries begin. A record is as long as it says, so the place of the next one is known when the one before has come
 * from memory, and one after the other that takes most of the time that reading takes. So several entries are walked side by side: while
 * one step waits for memory, those of the other entries do, too. What was found is kept, so nobody walks them again.
 */
import { ENTRY_HEADER_BYTES, type RawEntry } from './entry.js'
import { PLAIN_BYTES, recordEndAt } from './record.js'

/** Entries that are walked side by side: about as many lines as a core asks its memory for at once. */
const LANES = 16

export class EntryRecords {
  /** Of the records that are there. The entry says how many there should be; fewer are found when it is no run of records. */
  count = 0
  /** Each of them is a value and nothing else. */
  isPlain = true

  constructor (
    readonly entry: RawEntry,
    /** Position in the entry's bytes of the record with index i at `first` + i; behind the last one, where that ends. Other entries' are there, too. */
    readonly starts: Int32Array,
    readonly first: number
  ) {}

  startOf (index: number): number {
    return this.starts[this.first + index]!
  }
}

/** One walk that is under way. */
interface Lane {
  records: EntryRecords
  bytes: Buffer
  at: number
  to: number
  /** Of the record at `at`. */
  flags: number
  /** Where the next start is written, and the last one. */
  slot: number
  lastSlot: number
}

/** Arrays for starts that nobody needs any more: each new one makes the garbage collector look for what else is young and large. */
const spare: Int32Array[] = []
const SPARE_LENGTH = 8192
const SPARE_COUNT_MAX = 64

function takeStarts (length: number): Int32Array {
  if (length > SPARE_LENGTH) return new Int32Array(length)
  return spare.pop() ?? new Int32Array(length < SPARE_LENGTH / 8 ? length : SPARE_LENGTH)
}

/** Nobody looks at the starts any more. Never needed, like that of a batch. */
export function releaseStarts (starts: Int32Array): void {
  if (starts.length === SPARE_LENGTH && spare.length < SPARE_COUNT_MAX) spare.push(starts)
}

/** The records of entries that are read together, in order. All have the same array of starts. */
export function findRecords (entries: readonly RawEntry[]): EntryRecords[] {
  let length = 0
  for (const entry of entries) length += recordsMaxOf(entry) + 1
  const starts = takeStarts(length)
  // Arrays from map() are of another kind once V8 has optimized what calls it, which throws away what was optimized for the first kind.
  const found: EntryRecords[] = []
  let slot = 0
  for (const entry of entries) {
    found.push(new EntryRecords(entry, starts, slot))
    slot += recordsMaxOf(entry) + 1
  }
  const lanes: Lane[] = []
  let next = 0
  while (next < found.length && lanes.length < LANES) lanes.push(laneOf(found[next++]!))
  walk(lanes, starts, () => found[next++])
  return found
}

/** What its header says may be more than its bytes can be. */
function recordsMaxOf ({ from, to, baseOffset, endOffset }: RawEntry): number {
  return Math.min(endOffset - baseOffset, Math.floor((to - from - ENTRY_HEADER_BYTES) / PLAIN_BYTES))
}

function laneOf (records: EntryRecords): Lane {
  const { entry, starts, first } = records
  const at = entry.from + ENTRY_HEADER_BYTES
  starts[first] = at
  return { records, bytes: entry.bytes, at, to: entry.to, flags: 0, slot: first + 1, lastSlot: first + recordsMaxOf(entry) }
}

/** One step in each lane in turn; a lane that is at its end goes on with the next entry. */
function walk (lanes: Lane[], starts: Int32Array, nextEntry: () => EntryRecords | undefined): void {
  while (lanes.length > 0) {
    // With nothing between them, so that all of them wait for memory at once.
    for (const lane of lanes) lane.flags = lane.bytes[lane.at]!
    for (let index = 0; index < lanes.length; index++) {
      const lane = lanes[index]!
      const { bytes, at, to } = lane
      const end = recordEndAt(bytes, at, to)
      if (end <= to) {
        if (lane.flags !== 0) lane.records.isPlain = false
        starts[lane.slot++] = lane.at = end
        if (lane.slot <= lane.lastSlot) continue
      }
      lane.records.count = lane.slot - 1 - lane.records.first
      const next = nextEntry()
      if (next === undefined) lanes.splice(index--, 1)
      else lanes[index] = laneOf(next)
    }
  }
}
