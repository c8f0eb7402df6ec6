/**
 * A `LogStore` on the native engine: `openNativeStore(dir)`. The contract is in log.ts, the folder's format in docs/storage.md.
 *
 * The engine assigns offsets and copies synchronously; what it completes comes back once per wake-up for all logs (`StoreEvents`).
 * Here promises are kept: those of appends in a queue per log in order of offsets, those of requests by their id.
 */
import { join, resolve as resolvePath } from 'node:path'
import { loadBinding, LogState } from '../binding.js'
import type { Answer, Binding, LogHandle, NativeError, NativeRead, OpenedLog, StoreHandle } from '../binding.js'
import { LentMemory, type BorrowedRead } from './borrowed-read.js'
import { checkLogOptions } from './check-options.js'
import {
  LogError,
  type BackendChoice, type EntryLayout, type EntryTimestamp, type FlushPolicy, type Log, type LogErrorCode, type LogOptions, type LogRead, type LogStore,
  type PendingAppend, type ReadOptions, type SegmentCompression, type SegmentInfo, type SegmentVerification, type StorageBackend, type StoreSharing
} from './log.js'
import { readSegmentOf, verifySegmentOf } from './one-segment.js'

export interface NativeStoreOptions {
  /** Default: io_uring where it works; see `BACKEND_CHOICES`. */
  readonly backend?: Exclude<BackendChoice, 'auto' | 'node:fs'>
  /** For logs that are opened without one. Default `each`. */
  readonly flushPolicy?: FlushPolicy
  /**
   * Several threads of the process use the store: whoever opens the folder with `shared` joins the store that is open. Logs can be open in
   * several threads, with the same settings; a log and the store are closed by the last one. Who joins asks for the same limits and
   * backend as the first one, or for none. Default false: the store belongs to this thread, and the folder is locked for others.
   */
  readonly shared?: boolean
  /** Bytes of recent entries kept in memory for readers, all logs together. Default 64 MiB. */
  readonly tailBytesMax?: number
  /** Bytes of all logs together that a start after a crash may have to scan. Default 64 MiB. */
  readonly uncoveredBytesMax?: number
  /** For logs that are opened without one. Default `none`. */
  readonly segmentCompression?: SegmentCompression
  /** Called once, before this returns, when io_uring cannot be used although it was not asked to be left out. */
  readonly onFallback?: (reason: string) => void
}

const SEGMENT_BYTES_MAX_DEFAULT = 1024 * 1024 * 1024
const SEGMENT_BYTES_MAX_LIMIT = Number.MAX_SAFE_INTEGER

/** Opens the store in `dir`, making it if it is missing. Rejects with `LogError` 'locked', 'denied', 'corrupt', 'failed'. */
export async function openNativeStore (dir: string, options: NativeStoreOptions = {}): Promise<LogStore> {
  const loaded = loadBinding()
  if ('reason' in loaded) throw new LogError('failed', loaded.reason)
  const store = new NativeStore(loaded.binding, resolvePath(dir), options)
  const wantsUring = options.backend === undefined || options.backend.startsWith('io_uring')
  if (wantsUring && !store.backend.name.startsWith('io_uring')) options.onFallback?.(store.backend.reason)
  return store
}

/** The engine's CRC-32C, for those who check entries before they append them; undefined where the addon does not load. */
export function nativeCrc32c (): ((bytes: Uint8Array) => number) | undefined {
  const loaded = loadBinding()
  return 'binding' in loaded ? loaded.binding.crc32c : undefined
}

interface Request {
  readonly resolve: (value: never) => void
  readonly reject: (error: LogError) => void
}

class NativeStore implements LogStore {
  readonly backend: StorageBackend
  readonly flushPolicy: FlushPolicy
  readonly sharing?: StoreSharing
  private readonly shared: boolean
  private readonly segmentCompression: SegmentCompression
  private readonly handle: StoreHandle
  private readonly logs = new Map<number, NativeLog>()
  private readonly requests = new Map<number, Request>()
  private readonly lent = new LentMemory((loan) => { this.binding.giveBack(this.handle, loan) })
  private requestCount = 0
  private closed: Promise<void> | undefined

  constructor (private readonly binding: Binding, private readonly dir: string, options: NativeStoreOptions) {
    this.flushPolicy = options.flushPolicy ?? { kind: 'each' }
    this.shared = options.shared ?? false
    this.segmentCompression = options.segmentCompression ?? 'none'
    this.handle = guard(() => binding.openStore(dir, options.backend ?? 'auto', options.tailBytesMax, options.uncoveredBytesMax, this.shared, (changed, results) => {
      this.onEvents(changed, results)
    }, this.lent.regions, this.lent.numbers))
    this.backend = binding.backend(this.handle)
    if (this.shared) this.sharing = sharingOf(binding, this.handle)
  }

  bytesFree (): number {
    return guard(() => this.binding.bytesFree(this.handle))
  }

  async names (): Promise<readonly string[]> {
    return await this.request(id => this.binding.names(this.handle, id))
  }

  async open (name: string, options: LogOptions): Promise<Log> {
    checkLogOptions(options)
    const segmentBytesMax = Math.min(options.segmentBytesMax ?? SEGMENT_BYTES_MAX_DEFAULT, SEGMENT_BYTES_MAX_LIMIT)
    const policy = options.flushPolicy ?? this.flushPolicy
    const opened = await this.request<OpenedLog>(id =>
      this.binding.openLog(this.handle, id, name, numbersOf(options.layout), segmentBytesMax, policy.kind, options.segmentEntriesMax, options.segmentAgeMsMax, options.segmentCompression ?? this.segmentCompression))
    const log = new NativeLog(this.binding, name, join(this.dir, name), options.layout, opened, this.shared, policy, this.request, this.borrow, () => this.logs.delete(opened.tag))
    this.logs.set(opened.tag, log)
    return log
  }

  async remove (name: string): Promise<void> {
    const log = [...this.logs.values()].find(log => log.name === name)
    await log?.close().catch(() => {})
    await this.request(id => this.binding.removeLog(this.handle, id, name))
  }

  async rename (from: string, to: string): Promise<void> {
    await this.request(id => this.binding.renameLog(this.handle, id, from, to))
  }

  async close (): Promise<void> {
    this.closed ??= this.closeOnce()
    await this.closed
  }

  private async closeOnce (): Promise<void> {
    const results = await Promise.allSettled([...this.logs.values()].map(async log => await log.close()))
    await this.request<void>(id => {
      this.binding.closeStore(this.handle, id)
      return undefined
    })
    const failed = results.find(result => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  /** Bound, so that logs can use it as it is. */
  private readonly request = async <T>(call: (id: number) => Answer<T>): Promise<T> => {
    const id = this.requestCount++
    const answer = call(id)
    if (answer !== undefined) {
      const [error, value] = answer
      if (error !== null) throw new LogError(error.code, error.message)
      return value
    }
    return await this.late(id)
  }

  /** Bound, too. */
  private readonly borrow: BorrowFunction = (log, offset, bytesMax, atLeastOneEntry, endOffset) => {
    const id = this.requestCount++
    const answer = this.binding.borrow(log, id, offset, bytesMax, atLeastOneEntry, endOffset)
    if (answer === undefined) return this.late<Float64Array | NativeRead>(id).then(lent => this.lent.readOf(lent))
    if (typeof answer === 'object' && 'code' in answer) return Promise.reject(new LogError(answer.code, answer.message))
    return this.lent.readOf(answer)
  }

  private async late<T> (id: number): Promise<T> {
    return await new Promise<T>((resolve, reject) => this.requests.set(id, { resolve, reject }))
  }

  private onEvents (changed: readonly number[], results: readonly unknown[]): void {
    for (const tag of changed) this.logs.get(tag)?.onChange()
    for (let i = 0; i < results.length; i += 3) {
      const id = results[i] as number
      const error = results[i + 1] as NativeError | null
      const request = this.requests.get(id)
      this.requests.delete(id)
      if (error === null) request?.resolve(results[i + 2] as never)
      else request?.reject(new LogError(error.code, error.message))
    }
  }
}

function sharingOf (binding: Binding, store: StoreHandle): StoreSharing {
  return {
    claim: (name) => binding.claim(store, name),
    release: (name) => { binding.releaseClaim(store, name) },
    hide: (log, offset) => { binding.hide((log as NativeLog).handle, offset) },
    reveal: (log, offset) => { binding.reveal((log as NativeLog).handle, offset) },
    onChange: (log, listener) => { (log as NativeLog).listener = listener }
  }
}

type RequestFunction = <T>(call: (id: number) => Answer<T>) => Promise<T>
type BorrowFunction = (log: LogHandle, offset: number, bytesMax: number, atLeastOneEntry: boolean, endOffset: number) => BorrowedRead | Promise<BorrowedRead>

interface WaitingAppend {
  readonly endOffset: number
  readonly resolve: () => void
  readonly reject: (error: LogError) => void
}

const COMMITTED = Promise.resolve()

class NativeLog implements Log {
  readonly handle: LogHandle
  listener: (() => void) | undefined
  private readonly state: Float64Array
  /** In order of offsets. Everything before `waitingFrom` is settled. */
  private waiting: WaitingAppend[] = []
  private waitingFrom = 0
  private unflushedBytes = 0
  private flushTimer: NodeJS.Timeout | undefined
  private closed: Promise<void> | undefined

  constructor (
    private readonly binding: Binding, readonly name: string, private readonly folder: string, private readonly layout: EntryLayout, opened: OpenedLog, private readonly shared: boolean, private readonly policy: FlushPolicy,
    private readonly request: RequestFunction, private readonly borrowPart: BorrowFunction, private readonly onClosed: () => void
  ) {
    this.handle = opened.handle
    this.state = opened.state
  }

  get startOffset (): number { return this.now(LogState.start) }
  get endOffset (): number { return this.now(LogState.end) }
  get committedEndOffset (): number { return this.now(LogState.committedEnd) }
  get bytes (): number { return this.now(LogState.bytes) }

  /** Other threads move the numbers of a shared log without telling this one at once. */
  private now (number: number): number {
    if (this.shared) this.binding.refresh(this.handle)
    return this.state[number]!
  }

  append (entry: Uint8Array): PendingAppend {
    const endOffset = guard(() => this.binding.append(this.handle, entry))
    const baseOffset = this.state[LogState.appended]!
    if (this.policy.kind !== 'each') this.planFlush(entry.byteLength)
    if (this.state[LogState.committedEnd]! >= endOffset) return { baseOffset, committed: COMMITTED }
    const committed = new Promise<void>((resolve, reject) => this.waiting.push({ endOffset, resolve, reject }))
    // Whoever wants to know of a failure has the promise; nobody has to.
    committed.catch(() => {})
    return { baseOffset, committed }
  }

  async read (offset: number, options: ReadOptions): Promise<LogRead> {
    if (!Number.isSafeInteger(offset)) throw notWhole(offset)
    const endOffset = this.readableEnd(options)
    const parts: Buffer[] = []
    let bytes = 0
    let nextOffset = offset
    for (;;) {
      const left = Math.max(0, options.bytesMax - bytes)
      const from = nextOffset
      const whole = bytes === 0 && options.atLeastOneEntry === true
      const read = await this.request<NativeRead>(id => this.binding.read(this.handle, id, from, left, whole, endOffset))
        // What was read before damage is served first; the next read begins with the damage, and says so.
        .catch((error: unknown) => { if (bytes === 0) throw error })
      if (read === undefined) break
      parts.push(...read.parts)
      bytes += read.bytes
      nextOffset = read.nextOffset
      if (!goesOn(read, endOffset)) break
    }
    return { parts, bytes, nextOffset, release: () => this.binding.release(parts) }
  }

  borrow (offset: number, options: ReadOptions): LogRead | Promise<LogRead> {
    if (!Number.isSafeInteger(offset)) return Promise.reject(notWhole(offset))
    const endOffset = this.readableEnd(options)
    const first = this.borrowPart(this.handle, offset, options.bytesMax, options.atLeastOneEntry === true, endOffset)
    return first instanceof Promise || goesOn(first, endOffset) ? this.borrowOn(first, options, endOffset) : first
  }

  private async borrowOn (first: BorrowedRead | Promise<BorrowedRead>, { bytesMax, atLeastOneEntry = false }: ReadOptions, endOffset: number): Promise<LogRead> {
    const read = await first
    while (goesOn(read, endOffset)) {
      try {
        read.add(await this.borrowPart(this.handle, read.nextOffset, Math.max(0, bytesMax - read.bytes), atLeastOneEntry && read.bytes === 0, endOffset))
      } catch (error) {
        // What was read before damage is served first; the next read begins with the damage, and says so.
        if (read.bytes === 0) throw error
        break
      }
    }
    return read
  }

  private readableEnd ({ endOffset = Number.MAX_SAFE_INTEGER }: ReadOptions): number {
    return Math.min(endOffset, this.committedEndOffset)
  }

  async entryAtTimestamp (timestampMs: number): Promise<EntryTimestamp | null> {
    return await this.request(id => this.binding.findTimestamp(this.handle, id, timestampMs))
  }

  async entryWithTimestampMax (): Promise<EntryTimestamp | null> {
    return await this.request(id => this.binding.findTimestamp(this.handle, id))
  }

  async flush (): Promise<void> {
    this.unflushedBytes = 0
    await this.request(id => this.binding.flush(this.handle, id))
  }

  async roll (): Promise<void> {
    await this.request(id => this.binding.roll(this.handle, id))
  }

  async truncateFront (offset: number): Promise<void> {
    await this.request(id => this.binding.truncateFront(this.handle, id, offset))
  }

  segments (): readonly SegmentInfo[] {
    return this.binding.segments(this.handle)
  }

  readSegment (baseOffset: number, { bytesMax }: { readonly bytesMax?: number } = {}): AsyncIterable<LogRead> {
    return readSegmentOf(this, baseOffset, bytesMax)
  }

  async verifySegment (baseOffset: number): Promise<SegmentVerification> {
    return await verifySegmentOf(this, this.folder, this.layout, baseOffset)
  }

  async close (): Promise<void> {
    this.closed ??= this.closeOnce()
    await this.closed
  }

  /** The committed end moved, or the log failed. */
  onChange (): void {
    const committedEndOffset = this.committedEndOffset
    while (this.waitingFrom < this.waiting.length && this.waiting[this.waitingFrom]!.endOffset <= committedEndOffset) {
      this.waiting[this.waitingFrom++]!.resolve()
    }
    if (this.state[LogState.failed] !== 0) {
      const failure = this.binding.failure(this.handle)
      this.rejectWaiting('failed', failure?.message ?? `log ${this.name} failed`)
    } else if (this.waitingFrom === this.waiting.length || this.waitingFrom >= 1024) {
      this.waiting = this.waiting.slice(this.waitingFrom)
      this.waitingFrom = 0
    }
    this.listener?.()
  }

  private rejectWaiting (code: LogErrorCode, message: string): void {
    const rejected = this.waiting.slice(this.waitingFrom)
    this.waiting = []
    this.waitingFrom = 0
    for (const append of rejected) append.reject(new LogError(code, message))
  }

  private planFlush (bytes: number): void {
    this.unflushedBytes += bytes
    if (this.policy.kind === 'bytes' && this.unflushedBytes >= this.policy.bytes) void this.flush().catch(() => {})
    if (this.policy.kind !== 'interval' || this.flushTimer !== undefined) return
    this.flushTimer = setTimeout(() => {
      this.flushTimer = undefined
      // A failure shows at the next append.
      if (this.closed === undefined) void this.flush().catch(() => {})
    }, this.policy.intervalMs).unref()
  }

  private async closeOnce (): Promise<void> {
    clearTimeout(this.flushTimer)
    try {
      await this.request(id => this.binding.closeLog(this.handle, id))
    } finally {
      this.onChange()
      this.rejectWaiting('closed', `log ${this.name} was closed`)
      this.onClosed()
    }
  }
}

/** A native read ends with its segment. */
function goesOn ({ segmentEnded, nextOffset }: { readonly segmentEnded: boolean, readonly nextOffset: number }, endOffset: number): boolean {
  return segmentEnded && nextOffset < endOffset
}

function notWhole (offset: number): LogError {
  return new LogError('out-of-range', `offset ${offset} is not a whole number`)
}

function numbersOf (layout: EntryLayout): readonly number[] {
  return [
    layout.headerBytes, layout.baseOffsetAt, layout.lengthAt, layout.lengthExtraBytes, layout.magicAt, layout.magic, layout.checksumAt,
    layout.checksumFrom, layout.lastOffsetDeltaAt, layout.timestampMaxAt
  ]
}

/** Errors thrown by the engine carry a `LogErrorCode`; everybody else sees `LogError`. */
function guard<T> (call: () => T): T {
  try {
    return call()
  } catch (error) {
    const code = (error as { code?: LogErrorCode }).code
    if (!(error instanceof Error) || code === undefined) throw error
    throw new LogError(code, error.message)
  }
}
