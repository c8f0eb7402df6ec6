/**
 * A `LogStore` in plain TypeScript over node:fs: for where no binary of the native engine fits. Same contract, same folder
 * (docs/storage.md): what one has written the other opens. The logs themselves are in file-log.ts.
 */
import { statfsSync } from 'node:fs'
import { readdir, rename, stat } from 'node:fs/promises'
import path from 'node:path'
import { checkLogOptions } from './check-options.js'
import { checkCodec } from './compressed-segment.js'
import { checkLogName, isLogName } from './entry.js'
import { FileLog } from './file-log.js'
import { allowCompressed, deleteLogFolder, fileError, isMissing, isOutOfDescriptors, syncFolder, takeFolder, type TakenFolder } from './folder.js'
import { replayJournal } from './journal.js'
import { LogError, type FlushPolicy, type Log, type LogOptions, type LogStore, type SegmentCompression, type StorageBackend } from './log.js'
import { recoverLog } from './recovery.js'
import { RecoveryPoints } from './recovery-points.js'
import { SegmentCompressor } from './segment-compressor.js'
import { Turns } from './turns.js'

export interface FileStoreOptions {
  /** For logs that are opened without one. Default `each`. */
  readonly flushPolicy?: FlushPolicy
  /** Bytes of all logs together that a start after a crash may have to scan. Default 64 MiB. */
  readonly uncoveredBytesMax?: number
  /** For logs that are opened without one. Default `none`. */
  readonly segmentCompression?: SegmentCompression
  /** Why this store and not the native one: a sentence for the start-up message. */
  readonly reason?: string
}

/** Kept free for indexes and what else must still be written when appends are refused. */
const RESERVE_BYTES = 16 * 1024 * 1024
const SPACE_LOOK_EVERY_MS = 1_000
const FOLDER_LOOK_EVERY_MS = 1_000
/** Logs that change, and logs that are opened. Each has a few files open that no other can take from it. */
const LOGS_WORKING_MAX = 16
const READING_MAX = 16
/** Logs that keep their file open though they do nothing. */
const IDLE_FILES_MAX = 256

/** Opens the store in `dir`, making it if it is missing. Rejects with `LogError` 'locked', 'denied', 'corrupt', 'failed'. */
export async function openFileStore (dir: string, options: FileStoreOptions = {}): Promise<LogStore> {
  const folder = path.resolve(dir)
  const taken = await takeFolder(folder)
  try {
    await replayJournal(folder)
  } catch (error) {
    await taken.release()
    throw error
  }
  return new FileLogStore(folder, options, taken)
}

class FileLogStore implements LogStore {
  readonly backend: StorageBackend
  readonly flushPolicy: FlushPolicy
  /** Open logs, and null for names that are being opened, moved or deleted. */
  private readonly logs = new Map<string, FileLog | null>()
  private readonly busy = new Set<Promise<unknown>>()
  private closed: Promise<void> | undefined
  private readonly points: RecoveryPoints
  private readonly segmentCompression: SegmentCompression
  /** The folder's format is being changed. */
  private allowed: Promise<void> | undefined
  private readonly compressor = new SegmentCompressor((bytes) => this.bytesFree() - bytes >= RESERVE_BYTES)
  private bytesLeft = 0
  private lookedAtMs = -Infinity
  /** What every log's folder shows is on stable storage. Ends with the first log that fails. */
  private allClosed: boolean
  /** Those whose file may be open, the one that had its turn last at the end. */
  private readonly withFile = new Set<FileLog>()
  private readonly turns = new Turns(LOGS_WORKING_MAX)
  private readonly openTurns = new Turns(LOGS_WORKING_MAX)
  private readonly readTurns = new Turns(READING_MAX)
  private folderLookedAtMs = performance.now()
  /** Once the folder is no longer where it was. */
  private gone: LogError | undefined
  /** The names of logs are. */
  private namesSynced = true

  constructor (private readonly folder: string, options: FileStoreOptions, private readonly taken: TakenFolder) {
    this.allClosed = taken.wasReleased
    this.backend = { name: 'node:fs', direct: false, reason: options.reason ?? 'node:fs was asked for' }
    this.flushPolicy = options.flushPolicy ?? { kind: 'each' }
    this.segmentCompression = options.segmentCompression ?? 'none'
    this.points = new RecoveryPoints(() => [...this.logs.values()].filter((log) => log !== null), options.uncoveredBytesMax)
  }

  bytesFree (): number {
    try {
      const { bavail, bsize } = statfsSync(this.folder)
      return bavail * bsize
    } catch (error) {
      throw fileError(`look at ${this.folder}`, error)
    }
  }

  async names (): Promise<readonly string[]> {
    this.checkOpen()
    try {
      const folders = (await readdir(this.folder, { withFileTypes: true })).filter((entry) => entry.isDirectory() && isLogName(entry.name)).map(({ name }) => name)
      const open = [...this.logs].filter(([, log]) => log !== null).map(([name]) => name)
      return [...new Set([...folders, ...open])].sort()
    } catch (error) {
      throw fileError(`list ${this.folder}`, error)
    }
  }

  async open (name: string, options: LogOptions): Promise<Log> {
    this.checkOpen()
    checkLogOptions(options)
    checkLogName(name)
    if (this.logs.has(name)) throw new LogError('locked', `log ${name} is open already`)
    return await this.exclusively([name], async () => {
      const folder = path.join(this.folder, name)
      const compression = options.segmentCompression ?? this.segmentCompression
      if (compression !== 'none') {
        checkCodec(compression)
        await (this.allowed ??= allowCompressed(this.folder).finally(() => { this.allowed = undefined }))
      }
      await this.syncNames()
      const recovered = await this.openTurns.take(async () => await this.withDescriptors(async () => await recoverLog(folder, options.layout, this.allClosed)))
      return new FileLog({
        name,
        folder,
        options,
        flushPolicy: options.flushPolicy ?? this.flushPolicy,
        recovered,
        hasSpace: this.hasSpace,
        onWrote: (bytes) => this.points.wrote(bytes),
        takeTurn: this.takeTurn,
        readTurns: this.readTurns,
        withDescriptors: this.withDescriptors,
        onClosed: (log, hasFailed) => {
          this.withFile.delete(log)
          this.logs.delete(name)
          if (hasFailed) this.allClosed = this.namesSynced = false
        },
        compression,
        compressor: this.compressor
      })
    }, (log) => this.logs.set(name, log))
  }

  async remove (name: string): Promise<void> {
    this.checkOpen()
    checkLogName(name)
    const log = this.logs.get(name)
    if (log === null) throw new LogError('locked', `log ${name} is being opened or moved`)
    // Whether its last entries could be written does not matter any more.
    await log?.close().catch(() => {})
    await this.exclusively([name], async () => await this.changeNames(async () => await deleteLogFolder(this.folder, name)))
  }

  async rename (from: string, to: string): Promise<void> {
    this.checkOpen()
    for (const name of [from, to]) {
      checkLogName(name)
      if (this.logs.has(name)) throw new LogError('locked', `log ${name} is open`)
    }
    if (from === to) return
    await this.exclusively([from, to], async () => await this.changeNames(async () => {
      if (await isThere(path.join(this.folder, to))) throw new LogError('denied', `log ${to} exists already`)
      await rename(path.join(this.folder, from), path.join(this.folder, to)).catch((error: unknown) => {
        if (!isMissing(error)) throw error // a log that is not there is an empty one
      })
      await syncFolder(this.folder)
    }))
  }

  async close (): Promise<void> {
    this.closed ??= this.closeOnce()
    await this.closed
  }

  private async closeOnce (): Promise<void> {
    await Promise.allSettled(this.busy)
    const results = await Promise.allSettled([...this.logs.values()].map(async (log) => await log?.close()))
    await this.taken.release()
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  /** What may have been changed and not synced is seen by whoever opens a log next, and must last from then on. */
  private async syncNames (): Promise<void> {
    if (this.namesSynced) return
    await syncFolder(this.folder)
    this.namesSynced = true
  }

  private async changeNames (change: () => Promise<void>): Promise<void> {
    try {
      await change()
    } catch (error) {
      this.namesSynced = false
      throw error
    }
  }

  /** Keeps everybody else from these names until `work` is done. `then` runs in the same turn in which they become free. */
  private async exclusively<T> (names: readonly string[], work: () => Promise<T>, then?: (result: T) => void): Promise<T> {
    for (const name of names) this.logs.set(name, null)
    const running = work()
    this.busy.add(running)
    try {
      const result = await running
      for (const name of names) this.logs.delete(name)
      then?.(result)
      return result
    } catch (error) {
      for (const name of names) this.logs.delete(name)
      throw fileError(`change ${names.join(' and ')} in ${this.folder}`, error)
    } finally {
      this.busy.delete(running)
    }
  }

  private readonly takeTurn = async (log: FileLog, work: () => Promise<void>): Promise<void> => {
    await this.turns.take(async () => {
      this.lookForFolder()
      await work()
    })
    this.withFile.delete(log)
    this.withFile.add(log)
    const [longestIdle] = this.withFile
    if (this.withFile.size <= IDLE_FILES_MAX || longestIdle === undefined) return
    this.withFile.delete(longestIdle)
    // Whoever waits for this turn need not wait for that, and it never rejects.
    void longestIdle.releaseFile()
  }

  private readonly withDescriptors = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      if (!isOutOfDescriptors(error instanceof LogError ? error.cause : error)) throw error
      await Promise.all([...this.logs.values()].map(async (log) => await log?.releaseFile()))
      return await work()
    }
  }

  /** What is written to files that nobody finds any more must not be acknowledged for long. While something is going on, the store looks once a second. */
  private lookForFolder (): void {
    const nowMs = performance.now()
    if (this.gone !== undefined || nowMs - this.folderLookedAtMs < FOLDER_LOOK_EVERY_MS) return
    this.folderLookedAtMs = nowMs
    if (this.taken.isInPlace()) return
    this.gone = new LogError('failed', `folder ${this.folder} is not the one that was opened any more: it was removed, replaced or unmounted, or its .lock was. Bring it back, and open the store again`)
    for (const log of this.logs.values()) log?.fail(this.gone)
  }

  /** Looks at the device once in a while, and whenever what it said then is used up. */
  private readonly hasSpace = (bytes: number): boolean => {
    this.lookForFolder()
    if (this.gone !== undefined) throw this.gone
    this.bytesLeft -= bytes
    const nowMs = performance.now()
    if (this.bytesLeft < RESERVE_BYTES || nowMs - this.lookedAtMs > SPACE_LOOK_EVERY_MS) {
      this.bytesLeft = this.bytesFree() - bytes
      this.lookedAtMs = nowMs
    }
    return this.bytesLeft >= RESERVE_BYTES
  }

  private checkOpen (): void {
    if (this.closed !== undefined) throw new LogError('closed', 'the store is closed')
    this.lookForFolder()
    if (this.gone !== undefined) throw this.gone
  }
}

async function isThere (file: string): Promise<boolean> {
  try {
    await stat(file)
    return true
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}
