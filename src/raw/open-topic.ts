/** A topic that is open: one for all the handles that programs have of it. It closes with the last of them. */
import { LogError, type Log as StoreLog, type LogStore, type StoreSharing } from '../log/log.js'
import { Appender, type WriterSharing } from './appender.js'
import type { CursorPositions } from './cursor-positions.js'
import { Cursor } from './cursor.js'
import { RAW_ENTRY_LAYOUT } from './entry.js'
import type { HeldMemory } from './held-memory.js'
import type { Consistency, ResolvedTopicOptions } from './options.js'
import { RecordReader } from './reader.js'
import { SegmentLimits } from './segment-limits.js'
import { logNameOf } from './topic-name.js'

const KEEP_ALIVE_MS = 2 ** 31 - 1

export interface OpenTopicOptions extends ResolvedTopicOptions {
  readonly consistency: Consistency
  readonly now: () => number
  readonly held: HeldMemory
}

export class OpenTopic {
  handles = 0
  readonly appender: Appender
  private readonly cursors = new Map<string, Cursor>()
  private readonly readers = new Set<RecordReader>()
  private waiting: Array<() => void> = []
  private closed: string | undefined
  private truncatingTo = 0

  private constructor (
    readonly name: string, readonly log: StoreLog, readonly positions: CursorPositions, private readonly sharing: StoreSharing | undefined, private readonly options: OpenTopicOptions
  ) {
    const onVisible = (): void => { this.wake() }
    this.appender = new Appender(name, log, { ...options, limits: new SegmentLimits(log, options), sharing: sharing && writerSharing(sharing, log), onVisible })
    sharing?.onChange(log, onVisible)
  }

  static async open (name: string, store: LogStore, positions: CursorPositions, options: OpenTopicOptions): Promise<OpenTopic> {
    const { flushPolicy, segmentBytesMax, segmentAgeMsMax, segmentCompression } = options
    const log = await store.open(logNameOf(name), { layout: RAW_ENTRY_LAYOUT, flushPolicy, segmentBytesMax, segmentCompression, ...(segmentAgeMsMax !== undefined && { segmentAgeMsMax }) })
    try {
      await positions.refresh()
      const topic = new OpenTopic(name, log, positions, store.sharing, options)
      // What a crash took from a topic that does not wait for the disk will be given again: no cursor may stand behind it.
      for (const { cursor, offset } of positions.of(name)) if (offset > log.endOffset) await topic.bringBack(cursor)
      return topic
    } catch (error) {
      await log.close()
      throw error
    }
  }

  newReader (): RecordReader {
    const { log, name, appender, options: { now, recordBytesMax, held } } = this
    const reader = new RecordReader({ log, topic: name, visibleEndOffset: () => appender.visibleEndOffset, startOffset: () => Math.max(log.startOffset, this.truncatingTo), now, recordBytesMax, held })
    this.readers.add(reader)
    return reader
  }

  /** With the topic, if not before. */
  closeReader (reader: RecordReader): void {
    this.readers.delete(reader)
    reader.close()
  }

  cursor (name: string, consistency?: Consistency): Cursor {
    if (typeof name !== 'string' || name === '') throw new LogError('malformed', `a cursor's name is a text of at least one character, not ${JSON.stringify(name) ?? String(name)}`)
    let cursor = this.cursors.get(name)
    if (cursor === undefined) {
      cursor = new Cursor(name, this, consistency ?? this.options.consistency)
      this.claimCursor(name)
      this.cursors.set(name, cursor)
    } else if (consistency !== undefined) cursor.setConsistency(consistency)
    return cursor
  }

  async removeCursor (name: string): Promise<void> {
    this.claimCursor(name)
    this.cursors.delete(name)
    try {
      await this.positions.refresh()
      if (this.positions.get(this.name, name) !== undefined) await this.positions.remove(this.name, name)
    } finally {
      if (!this.cursors.has(name)) this.sharing?.release(this.claimOf(name))
    }
  }

  now (): number {
    return this.options.now()
  }

  get isShared (): boolean { return this.sharing !== undefined }

  private claimOf (cursor: string): string {
    return JSON.stringify([this.name, cursor])
  }

  private claimCursor (name: string): void {
    if (this.sharing?.claim(this.claimOf(name)) === false) {
      throw new LogError('locked', `another thread has the cursor '${name}' of the topic '${this.name}': one thread at a time does, until it closes the topic or ends`)
    }
  }

  /** Of a cursor behind the end. Whoever has it in another thread has seen to that. */
  private async bringBack (cursor: string): Promise<void> {
    if (this.sharing?.claim(this.claimOf(cursor)) === false) return
    await this.positions.refresh()
    const { endOffset } = this.log
    if ((this.positions.get(this.name, cursor) ?? 0) > endOffset) await this.positions.set(this.name, cursor, endOffset)
    this.sharing?.release(this.claimOf(cursor))
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
    // Another thread may append although nothing happens in this one, so its event loop must not end.
    const alive = this.isShared ? setInterval(ignore, KEEP_ALIVE_MS) : undefined
    await new Promise<void>((resolve) => {
      this.waiting.push(resolve)
      signal?.addEventListener('abort', () => { resolve() }, { once: true })
    })
    clearInterval(alive)
  }

  get isClosed (): boolean { return this.closed !== undefined }

  /** Commits what was appended, stores the cursors' positions. `how` ends the sentence of those who use it afterwards. */
  async close (how = 'is closed'): Promise<void> {
    if (this.closed !== undefined) return
    // Positions in a topic that another thread has removed would be those of the next one with its name.
    const isThere = !this.isShared || await this.log.flush().then(() => true, ({ code }: LogError) => code !== 'closed')
    const cursors = isThere ? [...this.cursors.values()] : []
    const persisted = await Promise.allSettled([this.appender.close(), ...cursors.map(async (cursor) => { await cursor.persist() })])
    this.closed = how
    this.wake()
    for (const reader of this.readers) this.closeReader(reader)
    await this.log.close()
    this.appender.release()
    for (const name of this.cursors.keys()) this.sharing?.release(this.claimOf(name))
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

function writerSharing (sharing: StoreSharing, log: StoreLog): WriterSharing {
  return {
    claim: () => sharing.claim(log.name),
    release: () => { sharing.release(log.name) },
    hide: (offset) => { sharing.hide(log, offset) },
    reveal: (offset) => { sharing.reveal(log, offset) }
  }
}

function ignore (): void {}
