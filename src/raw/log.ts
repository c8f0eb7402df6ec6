/**
 * A log without a broker: topics of records in one folder, or in memory. `Log.open`, `log.topic(name)`.
 *
 * Topics are opened as often as anyone likes and closed with their last handle; closing the log closes all of them.
 */
import { useCrc32c } from '../crc32c.js'
import { checkFlushPolicy } from '../log/check-options.js'
import { LogError, type LogStore, type StorageBackend } from '../log/log.js'
import { MemoryLogStore } from '../log/memory-log.js'
import { nativeCrc32c } from '../log/native-log.js'
import { openStore } from '../log/open-store.js'
import { CursorPositions } from './cursor-positions.js'
import { HeldMemory } from './held-memory.js'
import { OpenTopic } from './open-topic.js'
import { persistEvery, resolveTopicOptions, type OpenLogOptions, type SharedOptions, type TopicOptions } from './options.js'
import { Topic, type ParallelReplayOptions, type SegmentHandler } from './topic.js'
import { CURSOR_LOG_NAME, logNameOf, topicNameOf } from './topic-name.js'

export interface OpenTopicSettings extends TopicOptions, ParallelReplayOptions {
  /** Called with the records that are there, several segments at a time, before the topic is handed out. */
  readonly replay?: SegmentHandler
}

export class Log {
  private readonly topics = new Map<string, OpenTopic>()
  private readonly held = new HeldMemory()
  /** The last change of a topic: opening, closing and removing one follow each other. */
  private readonly changes = new Map<string, Promise<void>>()
  private closed: Promise<void> | undefined

  private constructor (private readonly store: LogStore, private readonly positions: CursorPositions, private readonly options: SharedOptions) {}

  /** Rejects with `LogError` 'locked' when the folder is in use, 'denied' when it is no log's, 'corrupt', 'failed', 'malformed'. */
  static async open (options: OpenLogOptions): Promise<Log> {
    const { dataDir, createIfMissing, backend, flushPolicy, tailBytesMax, onNotice, shared = false } = options
    checkShared(options)
    const store = await openStore({ dataDir, shared, ...(createIfMissing !== undefined && { createIfMissing }), ...(backend !== undefined && { backend }), ...(flushPolicy !== undefined && { flushPolicy }), ...(tailBytesMax !== undefined && { tailBytesMax }) })
    const wanted = backend === undefined || backend === 'auto' ? 'io_uring' : backend
    if (store.backend.name !== wanted) onNotice?.(`${store.backend.name} serves ${dataDir}: ${store.backend.reason}`)
    return await Log.on(store, options, dataDir)
  }

  /** A log of the same kind that nothing survives. */
  static async inMemory (options: SharedOptions = {}): Promise<Log> {
    checkShared(options)
    return await Log.on(new MemoryLogStore(), options, 'memory')
  }

  private static async on (store: LogStore, options: SharedOptions, where: string): Promise<Log> {
    const faster = nativeCrc32c()
    if (faster !== undefined) useCrc32c(faster)
    try {
      const names = await store.names()
      if (names.length > 0 && !names.includes(CURSOR_LOG_NAME)) {
        throw new LogError('denied', `${where} holds logs that are not raw topics, like '${names[0]!}': a broker's folder is opened by the broker`)
      }
      return new Log(store, await CursorPositions.open(store, nowOf(options)), options)
    } catch (error) {
      await store.close()
      throw error
    }
  }

  /** Which I/O serves the log, and why. */
  get backend (): StorageBackend { return this.store.backend }

  /** Opens a topic, making it if it is new. One that is open is shared, with the options that it was first opened with. */
  async topic (name: string, settings: OpenTopicSettings = {}): Promise<Topic> {
    this.checkOpen()
    logNameOf(name)
    const { replay, concurrency, ...options } = settings
    const open = await this.inOrder(name, async () => await this.shared(name, options))
    const topic = new Topic(open, async () => { await this.release(open) })
    try {
      if (replay !== undefined) await topic.replaySegments(replay, concurrency === undefined ? {} : { concurrency })
    } catch (error) {
      await topic.close()
      throw error
    }
    return topic
  }

  /** Names of the topics that hold something, or are open. */
  async topicNames (): Promise<string[]> {
    this.checkOpen()
    const stored = (await this.store.names()).map(topicNameOf).filter((name) => name !== undefined)
    return [...new Set([...stored, ...this.topics.keys()])].sort()
  }

  /** Deletes a topic with its cursors, durably. Handles of it are closed. Missing is fine. */
  async removeTopic (name: string): Promise<void> {
    this.checkOpen()
    const logName = logNameOf(name)
    await this.inOrder(name, async () => {
      const open = this.topics.get(name)
      this.topics.delete(name)
      // What cannot be written any more need not be.
      await open?.close('was removed').catch(() => {})
      await this.store.remove(logName)
      await this.positions.refresh()
      for (const { cursor } of this.positions.of(name)) await this.positions.remove(name, cursor)
    })
  }

  /** Resolves when all that was appended so far to all topics is on stable storage. */
  async sync (): Promise<void> {
    this.checkOpen()
    await Promise.all([...this.topics.values()].map(async (topic) => { await topic.appender.sync() }))
  }

  /** Commits what was appended, stores the cursors' positions, closes every topic and lets the folder go. Idempotent. */
  async close (): Promise<void> {
    this.closed ??= this.closeOnce()
    await this.closed
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.close()
  }

  private async shared (name: string, options: TopicOptions): Promise<OpenTopic> {
    let open = this.topics.get(name)
    if (open === undefined) {
      const { consistency = 'strictly-at-once' } = this.options
      const resolved = resolveTopicOptions(options, this.options, this.store.flushPolicy)
      open = await OpenTopic.open(name, this.store, this.positions, { ...resolved, consistency, now: nowOf(this.options), held: this.held })
      this.topics.set(name, open)
    }
    open.handles++
    return open
  }

  private async release (open: OpenTopic): Promise<void> {
    await this.inOrder(open.name, async () => {
      if (--open.handles > 0 || this.topics.get(open.name) !== open) return
      this.topics.delete(open.name)
      await open.close()
    })
  }

  private async inOrder<T> (name: string, work: () => Promise<T>): Promise<T> {
    const result = (this.changes.get(name) ?? Promise.resolve()).then(work)
    const settled = result.then(ignore, ignore)
    this.changes.set(name, settled)
    try {
      return await result
    } finally {
      if (this.changes.get(name) === settled) this.changes.delete(name)
    }
  }

  private async closeOnce (): Promise<void> {
    await Promise.all(this.changes.values())
    const topics = await Promise.allSettled([...this.topics.values()].map(async (topic) => { await topic.close() }))
    const rest = await Promise.allSettled([this.positions.close()])
    await this.store.close()
    const failed = [...topics, ...rest].find((result) => result.status === 'rejected')
    if (failed !== undefined) throw (failed as PromiseRejectedResult).reason
  }

  private checkOpen (): void {
    if (this.closed !== undefined) throw new LogError('closed', 'the log is closed')
  }
}

function checkShared (options: SharedOptions): void {
  resolveTopicOptions({}, options, { kind: 'each' })
  if (options.flushPolicy !== undefined) checkFlushPolicy(options.flushPolicy)
  if (options.consistency !== undefined) persistEvery(options.consistency)
}

const nowOf = ({ clock }: SharedOptions): () => number => clock === undefined ? () => Date.now() : () => clock.now()

function ignore (): void {}
