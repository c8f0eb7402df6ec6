/** Chooses the store for a folder: the native engine where its binary fits, else the same format in plain TypeScript. */
import { access } from 'node:fs/promises'
import path from 'node:path'
import { loadBinding } from '../binding.js'
import { checkBackend, checkDataDir, checkStoreOptions } from './check-options.js'
import { openFileStore } from './file-log-store.js'
import { FORMAT_NAME } from './folder.js'
import { LogError, type BackendChoice, type FlushPolicy, type LogStore, type SegmentCompression } from './log.js'
import { openNativeStore } from './native-log.js'

export type { BackendChoice } from './log.js'

export interface OpenStoreOptions {
  readonly dataDir: string
  /** False: a folder that has no data yet is refused, because its disk may not be mounted. Default true. */
  readonly createIfMissing?: boolean
  /** Default 'auto'. */
  readonly backend?: BackendChoice
  readonly flushPolicy?: FlushPolicy
  /** Memory for the youngest entries of all logs together, which readers are served from; node:fs has none. Default 64 MiB. */
  readonly tailBytesMax?: number
  /** Bytes of all logs together that a start after a crash may have to scan. Default 64 MiB. */
  readonly uncoveredBytesMax?: number
  /** For logs that are opened without one. Default `none`. */
  readonly segmentCompression?: SegmentCompression
  /** Several worker threads of the process use the store; see `NativeStoreOptions`. Only the native engine can. Default false. */
  readonly shared?: boolean
}

/** Rejects with `LogError` 'malformed', 'locked', 'denied', 'corrupt', 'failed'. A missing addon is no error, but `backend.reason` in the store. */
export async function openStore ({ dataDir, createIfMissing = true, backend = 'auto', flushPolicy, tailBytesMax, uncoveredBytesMax, segmentCompression, shared = false }: OpenStoreOptions): Promise<LogStore> {
  checkDataDir(dataDir)
  checkBackend(backend)
  const common = { ...(flushPolicy !== undefined && { flushPolicy }), ...(tailBytesMax !== undefined && { tailBytesMax }), ...(uncoveredBytesMax !== undefined && { uncoveredBytesMax }), ...(segmentCompression !== undefined && { segmentCompression }) }
  checkStoreOptions(common)
  if (!createIfMissing) await checkThere(dataDir)
  if (backend === 'node:fs') {
    if (shared) throw notShared('node:fs was asked for')
    return await openFileStore(dataDir, common)
  }
  const loaded = loadBinding()
  if ('reason' in loaded && shared) throw notShared(loaded.reason)
  if ('reason' in loaded) return await openFileStore(dataDir, { ...common, reason: loaded.reason })
  return await openNativeStore(dataDir, { ...common, ...(backend !== 'auto' && { backend }), shared })
}

async function checkThere (dataDir: string): Promise<void> {
  await access(path.join(dataDir, FORMAT_NAME)).catch((error: unknown) => {
    throw new LogError('denied', `folder ${dataDir} has no data (there is no ${FORMAT_NAME} in it) and is not to be made: is its disk mounted?`, { cause: error })
  })
}

function notShared (reason: string): LogError {
  return new LogError('denied', `only the native engine shares a store between threads: in plain JavaScript every thread has memory of its own, and could not see what another one appended (${reason})`)
}
