/** A topic that is open: one for all the handles that programs have of it. It closes with the last of them. */
import { LogError, type Log as StoreLog, type LogStore } from '../log/log.js'
import { Appender } from './appender.js'
import type { CursorPositions } from './cursor-positions.js'
import { Cursor } from './cursor.js'
import { RAW_ENTRY_LAYOUT } from './entry.js'
import type { Consistency, ResolvedTopicOptions } from './options.js'
import { RecordReader } from './reader.js'
import { SegmentLimits } from './segment-limits.js'
import { logNameOf } from './topic-name.js'

export interface OpenTopicOptions extends ResolvedTopicOptions {
  readonly consistency: Consistency
  readonly now: () => number
}

export class OpenTopic {
  handles = 0
  readonly appender: Appender
  private readonly cursors = new Map<string, Cursor>()
  private waiting: Array<() => void> = []
  private closed: string | undefined
  private truncatingTo = 0

  private constructor (readonly name: string, readonly log: StoreLog, readonly positions: CursorPositions, private readonly options: OpenTopicOptions) {
    this.appender = new Appender(name, log, { ...options, limits: new SegmentLimits(log, options), onVisible: () => { this.wake() } })
  }

  static async open (name: string, store: LogStore, positions: CursorPositions, options: OpenTopicOptions): Promise<OpenTopic> {
    const { flushPolicy, segmentBytesMax } = options
    const log = await store.open(logNameOf(name), { layout: RAW_ENTRY_LAYOUT, flushPolicy, segmentBytesMax })
    try {
      // What a crash took from a topic that does not wait for the disk will be given again: no cursor may stand behind it.
      for (const { cursor, offset } of positions.of(name)) if (offset > log.endOffset) await positions.set(name, cursor, log.endOffset)
      return new OpenTopic(name, log, positions, options)
    } catch (error) {
      await log.close()
      throw error
    }
  }

  newReader (): RecordReader {
    const { log, name, appender } = this
    return new RecordReader({ log, topic: name, visibleEndOffset: () => appender.visibleEndOffset, startOffset: () => Math.max(log.startOffset, this.truncatingTo), now: this.options.now, recordBytesMax: this.options.recordBytesMax })
  }

  cursor (name: string, consistency?: Consistency): Cursor {
    if (typeof name !== 'string' || name === '') throw new LogError('malformed', `a cursor's name is a text of at least one character, not ${JSON.stringify(name) ?? String(name)}`)
    let cursor = this.cursors.get(name)
    if (cursor === undefined) this.cursors.set(name, cursor = new Cursor(name, this, consistency ?? this.options.consistency))
    else if (consistency !== undefined) cursor.setConsistency(consistency)
    return cursor
  }

  async removeCursor (name: string): Promise<void> {
    this.cursors.delete(name)
    if (this.positions.get(this.name, name) !== undefined) await this.positions.remove(this.name, name)
  }

  cursorNames (): string[] {
    return [...new Set([...this.positions.of(this.name).map(({ cursor }) => cursor), ...this.cursors.keys()])]
  }

  checkOpen (): void {
    if (this.closed !== undefined) throw new LogError('closed', `the topic '${this.name}' ${this.closed}`)
  }

  checkOffset (offset: number): void {
    const { startOffset } = this.log
    const endOffset = this.appender.visibleEndOffset
    if (!(Number.isSafeInteger(offset) && offset >= startOffset && offset <= endOffset)) {
      throw new LogError('out-of-range', `offset ${String(offset)} of the topic '${this.name}' is outside ${startOffset} to ${endOffset}`)
    }
  }

  async truncateFront (offset: number): Promise<void> {
    this.truncatingTo = Math.max(this.truncatingTo, offset)
    try {
      await this.log.truncateFront(offset)
    } finally {
      if (this.truncatingTo === offset) this.truncatingTo = 0
    }
  }

  /** Resolves when something may be visible that was not, when the topic is closed, or when `signal` aborts. */
  async changed (signal?: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      this.waiting.push(resolve)
      signal?.addEventListener('abort', () => { resolve() }, { once: true })
    })
  }

  get isClosed (): boolean { return this.closed !== undefined }

  /** Commits what was appended, stores the cursors' positions. `how` ends the sentence of those who use it afterwards. */
  async close (how = 'is closed'): Promise<void> {
    if (this.closed !== undefined) return
    const persisted = await Promise.allSettled([this.appender.close(), ...[...this.cursors.values()].map(async (cursor) => { await cursor.persist() })])
    this.closed = how
    this.wake()
    await this.log.close()
    const failed = persisted.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw (failed as PromiseRejectedResult).reason
  }

  private wake (): void {
    if (this.waiting.length === 0) return
    const { waiting } = this
    this.waiting = []
    for (const resolve of waiting) resolve()
  }
}
