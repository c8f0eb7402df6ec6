/**
 * The only file that loads the native addon. Importing it never fails and loads nothing; `loadBinding()` returns the addon's functions or,
 * where there is none for this platform or it cannot be loaded, a sentence that says why.
 *
 * The functions are thin: src/log/native-log.ts makes a `LogStore` of them. A request carries an id. What completes before the
 * call returns is the call's value, `[error, value]`; everything else comes with the store's events, many answers in one call.
 */
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

declare const storeBrand: unique symbol
declare const logBrand: unique symbol
/** A store, or a log, of the engine. Garbage collection of one that is not closed does no harm. */
export interface StoreHandle { readonly [storeBrand]: true }
export interface LogHandle { readonly [logBrand]: true }
declare const socketsBrand: unique symbol
export interface SocketsHandle { readonly [socketsBrand]: true }

export type NativeBackend = 'io_uring' | 'io_uring-buffered' | 'threads' | 'mmap'

/** What went wrong; `code` is one of `LogErrorCode`. Of a kind with the interfaces of src/log/log.ts, which this file may not import. */
export interface NativeError {
  readonly code: 'full' | 'failed' | 'corrupt' | 'closed' | 'too-large' | 'malformed' | 'out-of-range' | 'locked' | 'denied'
  readonly message: string
}

export interface NativeRead {
  readonly parts: readonly Buffer[]
  readonly bytes: number
  readonly nextOffset: number
  /** It ended where the segment does: more may follow in the next one. */
  readonly segmentEnded: boolean
}

export interface NativeEntryTimestamp {
  readonly baseOffset: number
  readonly timestampMaxMs: number
}

export interface NativeSegment {
  readonly baseOffset: number
  readonly endOffset: number
  readonly bytes: number
  readonly timestampMaxMs: number
  readonly sealed: boolean
  readonly compression: 'none' | 'zstd' | 'lz4'
  readonly storedBytes: number
}

/** Answer of a request that completed at once; undefined when the answer comes with the events. */
export type Answer<T> = readonly [error: NativeError | null, value: T] | undefined

/** Positions in `OpenedLog.state`. */
export const LogState = { start: 0, end: 1, committedEnd: 2, bytes: 3, failed: 4, appended: 5 } as const

export interface OpenedLog {
  readonly handle: LogHandle
  /** Names the log in `StoreEvents`. */
  readonly tag: number
  /**
   * Offsets and bytes, kept up to date by the engine; read without a call. In a shared store they are as of the last call or
   * event, and refresh() makes them new. `appended` is the base offset that the last append through this handle got.
   */
  readonly state: Float64Array
}

/**
 * `changed` are the tags of the logs whose committed end moved or that failed; `results` is a flat list of request id, error or null, value.
 */
export type StoreEvents = (changed: readonly number[], results: readonly unknown[]) => void

export interface Binding {
  /** This build can use io_uring (whether the system allows it shows when a store is opened). */
  readonly hasUring: boolean
  /**
   * `shared`: joins the store that another thread has open so, or opens one that others may join. A limit that is undefined is the
   * default, or what the store has that is joined. `regions` and `lent` are where borrow() says what it lends.
   */
  openStore (
    directory: string, backend: 'auto' | NativeBackend, tailBytesMax: number | undefined, uncoveredBytesMax: number | undefined, shared: boolean,
    events: StoreEvents, regions: ArrayBuffer[], lent: Float64Array
  ): StoreHandle
  backend (store: StoreHandle): { readonly name: NativeBackend, readonly direct: boolean, readonly reason: string }
  bytesFree (store: StoreHandle): number
  names (store: StoreHandle, id: number): Answer<readonly string[]>
  openLog (store: StoreHandle, id: number, name: string, layout: readonly number[], segmentBytesMax: number, flushPolicy: 'each' | 'interval' | 'bytes' | 'none', segmentEntriesMax?: number, segmentAgeMsMax?: number, compression?: NativeSegment['compression']): Answer<OpenedLog>
  removeLog (store: StoreHandle, id: number, name: string): Answer<void>
  renameLog (store: StoreHandle, id: number, from: string, to: string): Answer<void>
  /** Always answers with the last events of the store. */
  closeStore (store: StoreHandle, id: number): void
  /** Returns the new end offset; throws an error with a `LogErrorCode` as its code. */
  append (log: LogHandle, entry: Uint8Array): number
  read (log: LogHandle, id: number, offset: number, bytesMax: number, atLeastOneEntry: boolean, endOffset: number): Answer<NativeRead>
  /**
   * Lends what was read, as native/js_lending.h describes: how many numbers of `lent` say what, or the numbers themselves when they come with
   * the events. Where it cannot be lent, it is read.
   */
  borrow (log: LogHandle, id: number, offset: number, bytesMax: number, atLeastOneEntry: boolean, endOffset: number): number | NativeRead | NativeError | undefined
  giveBack (store: StoreHandle, loan: number): void
  /** Without a timestamp: the entry with the largest one. */
  findTimestamp (log: LogHandle, id: number, timestampMs?: number): Answer<NativeEntryTimestamp | null>
  flush (log: LogHandle, id: number): Answer<void>
  roll (log: LogHandle, id: number): Answer<void>
  truncateFront (log: LogHandle, id: number, offset: number): Answer<void>
  closeLog (log: LogHandle, id: number): Answer<void>
  segments (log: LogHandle): readonly NativeSegment[]
  refresh (log: LogHandle): void
  /** Of a shared store: false when another user holds the name. */
  claim (store: StoreHandle, name: string): boolean
  releaseClaim (store: StoreHandle, name: string): void
  /** Of a shared store: the other users do not see what is at `offset` and behind it, until it is revealed and then committed. */
  hide (log: LogHandle, offset: number): void
  reveal (log: LogHandle, offset: number): void
  failure (log: LogHandle): NativeError | null
  /** CRC-32C of the bytes, with the processor's instruction where it has one. */
  crc32c (bytes: Uint8Array): number
  /** Gives the memory of what a read brought back at once: the Buffers are empty from here on. */
  release (parts: readonly Buffer[]): void
  readonly sockets: SocketsBinding
}

/** Kinds of events, as native/sockets.h numbers and describes them. An event is (kind, id, value, bytes). */
export const SocketEvent = { accepted: 0, received: 1, filled: 2, ended: 3, sent: 4, failed: 5, acceptFailed: 6 } as const

/** TCP connections: native/sockets.h. Numbers less than 0 are errors, as -errno. */
export interface SocketsBinding {
  /** Events of one call at most, and numbers per event. */
  readonly eventsMax: number
  readonly eventNumbers: number
  open (receiveBuffer: Buffer, events: Float64Array, onEvents: (count: number) => void): SocketsHandle | number
  /** Accepts from a listening socket; returns its id. */
  listen (sockets: SocketsHandle, file: number): number
  acceptAgain (sockets: SocketsHandle, listener: number): void
  /** Of the event at `index`, while it is told. */
  acceptedAddress (sockets: SocketsHandle, index: number): string
  /** The parts must stay as they are until they have left. Returns the bytes that have not yet. */
  send (sockets: SocketsHandle, id: number, parts: readonly Buffer[]): number
  readInto (sockets: SocketsHandle, id: number, target: Buffer): void
  setReading (sockets: SocketsHandle, id: number, reading: boolean): void
  shutdown (sockets: SocketsHandle, id: number): number
  close (sockets: SocketsHandle, id: number): void
  closeAll (sockets: SocketsHandle): void
  /** Whether it keeps the event loop running. */
  keepAlive (sockets: SocketsHandle, alive: boolean): void
}

type Loaded = { readonly binding: Binding } | { readonly reason: string }

let loaded: Loaded | undefined

/** Loads the addon on the first call; later calls return the same. */
export function loadBinding (): Loaded {
  loaded ??= load()
  return loaded
}

function load (): Loaded {
  const require = createRequire(import.meta.url)
  try {
    const packagePath = findPackage(dirname(fileURLToPath(import.meta.url)))
    const binding = loadQuickly(require, packagePath)
    if (binding !== undefined) return { binding }
    const { find } = require('@mapbox/node-pre-gyp') as { find: (packagePath: string) => string }
    const path = find(packagePath)
    if (!existsSync(path)) {
      return { reason: `there is no native addon for ${process.platform}-${process.arch} in this package (looked for ${path})` }
    }
    return { binding: require(path) as Binding }
  } catch (error) {
    return { reason: `the native addon cannot be loaded: ${error instanceof Error ? error.message : String(error)}` }
  }
}

/**
 * node-pre-gyp's find() costs 35 ms, a tenth of what the broker's start may take. So the paths that it could name are tried
 * first, from the same template; where none loads, find() decides and its error is the one that is told.
 */
function loadQuickly (require: NodeJS.Require, packagePath: string): Binding | undefined {
  for (const path of candidatePaths(packagePath)) {
    if (!existsSync(path)) continue
    try {
      return require(path) as Binding
    } catch {
      // Built for the other C library.
    }
  }
  return undefined
}

export function candidatePaths (packagePath: string): readonly string[] {
  const { binary } = JSON.parse(readFileSync(packagePath, 'utf8')) as {
    binary: { module_name: string, module_path: string, napi_versions: readonly number[] }
  }
  return ['glibc', 'musl'].map(libc => {
    const numbers: Record<string, string> = {
      platform: process.platform, arch: process.arch, libc, napi_build_version: String(Math.max(...binary.napi_versions))
    }
    const folder = binary.module_path.replace(/\{(\w+)\}/g, (all, name: string) => numbers[name] ?? all)
    return join(dirname(packagePath), folder, `${binary.module_name}.node`)
  })
}

/** The package.json above this file, wherever it was compiled to. */
export function findPackage (folder: string): string {
  const path = join(folder, 'package.json')
  if (existsSync(path)) return path
  const parent = dirname(folder)
  if (parent === folder) throw new Error('the package.json of haulout is missing')
  return findPackage(parent)
}
