/** Chooses the store for a folder: the native engine where its binary fits, else the same format in plain TypeScript. */
import { loadBinding } from '../binding.js'
import { openFileStore } from './file-log-store.js'
import type { FlushPolicy, LogStore } from './log.js'
import { openNativeStore } from './native-log.js'

export type BackendChoice = 'auto' | 'io_uring' | 'threads' | 'node:fs'

export interface OpenStoreOptions {
  readonly dataDir: string
  /** Default 'auto'. */
  readonly backend?: BackendChoice
  readonly flushPolicy?: FlushPolicy
  /** Bytes of all logs together that a start after a crash may have to scan. Default 64 MiB. */
  readonly uncoveredBytesMax?: number
}

/** Rejects with `LogError` 'locked', 'denied', 'corrupt', 'failed'. A missing addon is no error, but `backend.reason` in the store. */
export async function openStore ({ dataDir, backend = 'auto', flushPolicy, uncoveredBytesMax }: OpenStoreOptions): Promise<LogStore> {
  const common = { ...(flushPolicy !== undefined && { flushPolicy }), ...(uncoveredBytesMax !== undefined && { uncoveredBytesMax }) }
  if (backend === 'node:fs') return await openFileStore(dataDir, common)
  const loaded = loadBinding()
  if ('reason' in loaded) return await openFileStore(dataDir, { ...common, reason: loaded.reason })
  return await openNativeStore(dataDir, { ...common, ...(backend !== 'auto' && { backend }) })
}
