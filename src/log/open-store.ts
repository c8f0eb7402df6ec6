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
}

/** Rejects with `LogError` 'locked', 'denied', 'corrupt', 'failed'. A missing addon is no error, but `backend.reason` in the store. */
export async function openStore ({ dataDir, backend = 'auto', flushPolicy }: OpenStoreOptions): Promise<LogStore> {
  const policy = flushPolicy === undefined ? {} : { flushPolicy }
  if (backend === 'node:fs') return await openFileStore(dataDir, policy)
  const loaded = loadBinding()
  if ('reason' in loaded) return await openFileStore(dataDir, { ...policy, reason: loaded.reason })
  return await openNativeStore(dataDir, { ...policy, ...(backend !== 'auto' && { backend }) })
}
