/**
 * Where the cursors of all topics stand, in a log of its own: one record per move, the key names topic and cursor. What is set is on
 * stable storage when its promise resolves, whatever the flush policy of the topics.
 *
 * The log is kept short: when it is long, all positions are appended again and its start moves up to them. Moves wait meanwhile, so
 * that no position in that snapshot is one that was not committed. A crash at any point leaves a log that gives the same positions.
 *
 * Threads that share the store append to the same log, each the moves of the cursors that it claimed, and read what the others appended
 * when they are asked to refresh. Moves of another thread may stand between the records of a snapshot, so each of these says of which
 * offset of the log it is; a younger move counts whatever stands behind it. One thread at a time makes a snapshot.
 */
import { LogError, type Log as StoreLog, type LogStore, type StoreSharing } from '../log/log.js'
import { Appender } from './appender.js'
import { RAW_ENTRY_LAYOUT } from './entry.js'
import { RecordReader } from './reader.js'
import { tombstone, type RecordInput } from './record.js'
import { SegmentLimits } from './segment-limits.js'
import { CURSOR_LOG_NAME } from './topic-name.js'

const COMPACT_BYTES_MIN = 1024 * 1024
const COMPACT_RATIO = 8
const SEGMENT_BYTES_MAX = 64 * 1024 * 1024
const READ_LIMITS = { bytesMax: 1024 * 1024, recordsMax: Infinity }
/** The first record of every log of cursors: the folder is one of raw topics. */
const FORMAT_KEY = JSON.stringify(['haulout-raw-topics'])
const FORMAT = '1'
/** What the thread claims that makes a snapshot. No cursor's claim is called so. */
const COMPACTION = 'compaction'

interface Position {
  readonly topic: string
  readonly cursor: string
  /** undefined: the cursor was removed. */
  readonly offset: number | undefined
  /** The position is what the log said at this offset of it: behind the move, or where the snapshot was begun. */
  readonly asOf: number
}

export class CursorPositions {
  private readonly positions = new Map<string, Position>()
  private readonly inFlight = new Set<Promise<void>>()
  private readonly reader: RecordReader
  private readOffset: number
  private reading: Promise<void> = Promise.resolve()
  private compacting: Promise<void> | undefined
  /** Of the last snapshot. */
  private liveBytes = 0

  private constructor (private readonly log: StoreLog, private readonly appender: Appender, private readonly sharing: StoreSharing | undefined, now: () => number, private readonly compactBytesMin: number) {
    this.readOffset = log.startOffset
    this.reader = new RecordReader({ log, topic: CURSOR_LOG_NAME, visibleEndOffset: () => log.committedEndOffset, startOffset: () => log.startOffset, now, recordBytesMax: 1024 * 1024 })
  }

  /** Opens the log of cursors, making it where it is missing, so that it is the first log of a folder. */
  static async open (store: LogStore, now: () => number, compactBytesMin = COMPACT_BYTES_MIN): Promise<CursorPositions> {
    const flushPolicy = { kind: 'each' } as const
    const log = await store.open(CURSOR_LOG_NAME, { layout: RAW_ENTRY_LAYOUT, flushPolicy, segmentBytesMax: SEGMENT_BYTES_MAX })
    const limits = new SegmentLimits(log, {})
    // Offsets that threads give each other's moves are nobody's business, so nobody claims this log.
    const appender = new Appender(CURSOR_LOG_NAME, log, { flushPolicy, limits, now, recordBytesMax: 1024 * 1024, pendingBytesMax: Infinity, segmentBytesMax: SEGMENT_BYTES_MAX, onVisible () {} })
    const positions = new CursorPositions(log, appender, store.sharing, now, compactBytesMin)
    await positions.read()
    if (log.endOffset === log.startOffset) await positions.append(FORMAT_KEY, FORMAT)
    return positions
  }

  get (topic: string, cursor: string): number | undefined {
    return this.positions.get(keyOf(topic, cursor))?.offset
  }

  of (topic: string): ReadonlyArray<{ readonly cursor: string, readonly offset: number }> {
    return [...this.positions.values()].filter((position): position is Position & { offset: number } => position.topic === topic && position.offset !== undefined)
  }

  /** Rejects with a `LogError` when the position is not stored. */
  async set (topic: string, cursor: string, offset: number): Promise<void> {
    await this.move(topic, cursor, offset)
    this.compactIfLong()
  }

  async remove (topic: string, cursor: string): Promise<void> {
    await this.move(topic, cursor, undefined)
  }

  /** Learns what other threads stored. */
  async refresh (): Promise<void> {
    if (this.sharing === undefined) return
    // What a thread appended that has ended since is committed then.
    await this.log.flush()
    await this.read()
  }

  async close (): Promise<void> {
    await this.compacting
    await this.appender.close()
  }

  private async move (topic: string, cursor: string, offset: number | undefined): Promise<void> {
    while (this.compacting !== undefined) await this.compacting
    const key = keyOf(topic, cursor)
    await this.append(key, offset === undefined ? null : String(offset))
    this.positions.set(key, { topic, cursor, offset, asOf: this.positions.get(key)?.asOf ?? 0 })
  }

  private async append (key: string, value: string | null): Promise<void> {
    const { committed } = this.appender.append(recordOf(key, value))
    this.inFlight.add(committed)
    try {
      await committed
    } finally {
      this.inFlight.delete(committed)
    }
  }

  private async read (): Promise<void> {
    this.reading = this.reading.catch(ignore).then(async () => {
      for (const { log } = this; this.readOffset < log.committedEndOffset;) {
        if (this.readOffset < log.startOffset) {
          // The snapshot of another thread is all there is, also about cursors that are no more.
          this.positions.clear()
          this.readOffset = log.startOffset
        }
        const records = await this.reader.read(this.readOffset, READ_LIMITS)
        if (this.readOffset < log.startOffset) continue
        for (const { offset, key, value } of records) this.apply(offset, key!.toString(), value?.toString())
        this.readOffset = records.nextOffset
        records.release()
      }
    })
    await this.reading
  }

  private apply (at: number, key: string, value: string | undefined): void {
    const [topic, cursor] = JSON.parse(key) as [string, string | undefined]
    if (cursor === undefined) {
      if (value !== FORMAT) throw new LogError('denied', `the folder's raw topics have format ${String(value)}, this version knows ${FORMAT}: open it with a newer one`)
      return
    }
    const [offset, snapshotOf] = value?.split(' ') ?? []
    const asOf = snapshotOf === undefined ? at + 1 : Number(snapshotOf)
    if (asOf < (this.positions.get(key)?.asOf ?? 0)) return
    this.positions.set(key, { topic, cursor, offset: offset === undefined ? undefined : Number(offset), asOf })
  }

  private compactIfLong (): void {
    if (this.compacting !== undefined || this.log.bytes < Math.max(this.compactBytesMin, this.liveBytes * COMPACT_RATIO)) return
    if (this.sharing?.claim(COMPACTION) === false) return
    // A failure leaves the log as long as it is; the next move that fails says why.
    this.compacting = this.compact().catch(ignore).finally(() => {
      this.compacting = undefined
      this.sharing?.release(COMPACTION)
    })
  }

  private async compact (): Promise<void> {
    await Promise.allSettled([...this.inFlight])
    await this.log.roll()
    const startOffset = this.log.endOffset
    // Everything in front of the snapshot is known: it will be gone.
    await this.refresh()
    const commits = [this.append(FORMAT_KEY, FORMAT)]
    for (const [key, { offset, asOf }] of this.positions) {
      if (offset !== undefined) commits.push(this.append(key, `${offset} ${startOffset}`))
      else if (asOf <= startOffset) this.positions.delete(key)
    }
    await Promise.all(commits)
    await this.log.truncateFront(startOffset)
    this.liveBytes = this.log.bytes
  }
}

function ignore (): void {}

const keyOf = (topic: string, cursor: string): string => JSON.stringify([topic, cursor])

const recordOf = (key: string, value: string | null): RecordInput => value === null ? tombstone(key) : { key, value }
