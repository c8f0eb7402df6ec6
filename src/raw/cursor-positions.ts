/**
 * Where the cursors of all topics stand, in a log of its own: one record per move, the key names topic and cursor. What is set is on
 * stable storage when its promise resolves, whatever the flush policy of the topics.
 *
 * The log is kept short: when it is long, all positions are appended again and its start moves up to them. Moves wait meanwhile, so
 * that no position in that snapshot is one that was not committed. A crash at any point leaves a log that gives the same positions.
 */
import { LogError, type Log as StoreLog, type LogStore } from '../log/log.js'
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

export class CursorPositions {
  private readonly positions = new Map<string, { readonly topic: string, readonly cursor: string, readonly offset: number }>()
  private readonly inFlight = new Set<Promise<void>>()
  private compacting: Promise<void> | undefined
  private liveBytes = 0
  /** Bytes of records behind the start. */
  private lengthBytes = 0

  private constructor (private readonly log: StoreLog, private readonly appender: Appender, private readonly compactBytesMin: number) {}

  /** Opens the log of cursors, making it where it is missing, so that it is the first log of a folder. */
  static async open (store: LogStore, now: () => number, compactBytesMin = COMPACT_BYTES_MIN): Promise<CursorPositions> {
    const flushPolicy = { kind: 'each' } as const
    const log = await store.open(CURSOR_LOG_NAME, { layout: RAW_ENTRY_LAYOUT, flushPolicy, segmentBytesMax: SEGMENT_BYTES_MAX })
    const limits = new SegmentLimits(log, {})
    const appender = new Appender(CURSOR_LOG_NAME, log, { flushPolicy, limits, now, recordBytesMax: 1024 * 1024, pendingBytesMax: Infinity, segmentBytesMax: SEGMENT_BYTES_MAX, onVisible () {} })
    const positions = new CursorPositions(log, appender, compactBytesMin)
    await positions.replay(now)
    if (log.endOffset === log.startOffset) await positions.append(FORMAT_KEY, FORMAT)
    return positions
  }

  get (topic: string, cursor: string): number | undefined {
    return this.positions.get(keyOf(topic, cursor))?.offset
  }

  of (topic: string): ReadonlyArray<{ readonly cursor: string, readonly offset: number }> {
    return [...this.positions.values()].filter((position) => position.topic === topic)
  }

  /** Rejects with a `LogError` when the position is not stored. */
  async set (topic: string, cursor: string, offset: number): Promise<void> {
    while (this.compacting !== undefined) await this.compacting
    const key = keyOf(topic, cursor)
    await this.append(key, String(offset))
    this.positions.set(key, { topic, cursor, offset })
    this.compactIfLong()
  }

  async remove (topic: string, cursor: string): Promise<void> {
    while (this.compacting !== undefined) await this.compacting
    const key = keyOf(topic, cursor)
    await this.append(key, null)
    this.positions.delete(key)
  }

  async close (): Promise<void> {
    await this.compacting
    await this.appender.close()
  }

  private async append (key: string, value: string | null): Promise<void> {
    const { committed } = this.appender.append(recordOf(key, value))
    this.lengthBytes += key.length + (value?.length ?? 0)
    this.inFlight.add(committed)
    try {
      await committed
    } finally {
      this.inFlight.delete(committed)
    }
  }

  private async replay (now: () => number): Promise<void> {
    const { log } = this
    const reader = new RecordReader({ log, topic: CURSOR_LOG_NAME, visibleEndOffset: () => this.appender.visibleEndOffset, startOffset: () => log.startOffset, now, recordBytesMax: 1024 * 1024 })
    for (let offset = log.startOffset; offset < log.endOffset;) {
      const records = await reader.read(offset, READ_LIMITS)
      for (const { key, value } of records) this.apply(key!.toString(), value?.toString())
      offset = records.nextOffset
      records.release()
    }
  }

  private apply (key: string, value: string | undefined): void {
    const [topic, cursor] = JSON.parse(key) as [string, string | undefined]
    this.lengthBytes += key.length + (value?.length ?? 0)
    if (cursor === undefined) {
      if (value !== FORMAT) throw new LogError('denied', `the folder's raw topics have format ${String(value)}, this version knows ${FORMAT}: open it with a newer one`)
      return
    }
    if (value === undefined) this.positions.delete(key)
    else this.positions.set(key, { topic, cursor, offset: Number(value) })
  }

  private compactIfLong (): void {
    if (this.compacting !== undefined || this.lengthBytes < Math.max(this.compactBytesMin, this.liveBytes * COMPACT_RATIO)) return
    // A failure leaves the log as long as it is; the next move that fails says why.
    this.compacting = this.compact().catch(() => {}).finally(() => { this.compacting = undefined })
  }

  private async compact (): Promise<void> {
    await Promise.allSettled([...this.inFlight])
    await this.log.roll()
    const startOffset = this.appender.nextOffset
    const lengthBytes = this.lengthBytes
    const commits = [this.append(FORMAT_KEY, FORMAT), ...[...this.positions].map(async ([key, { offset }]) => { await this.append(key, String(offset)) })]
    this.liveBytes = this.lengthBytes - lengthBytes
    await Promise.all(commits)
    await this.log.truncateFront(startOffset)
    this.lengthBytes = this.liveBytes
  }
}

const keyOf = (topic: string, cursor: string): string => JSON.stringify([topic, cursor])

const recordOf = (key: string, value: string | null): RecordInput => value === null ? tombstone(key) : { key, value }
