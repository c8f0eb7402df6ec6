/** Chooses the store for a folder: the native engine where its binary fits, else the same format in plain TypeScript. */
import type { FlushPolicy, LogStore } from './log.js'
import { openNativeStore } from './native-log.js'

export type BackendChoice = 'auto' | 'io_uring' | 'threads' | 'node:fs'

export interface OpenStoreOptions {
  readonly dataDir: string
  /** Default 'auto'. */
  readonly backend?: BackendChoice
  readonly flushPolicy?: FlushPolicy
}

/** Rejects with `LogError` 'locked', 'denied', 'corrupt', 'failed'. */
export async function openStore ({ dataDir, backend = 'auto', flushPolicy }: OpenStoreOptions): Promise<LogStore> {
  return await openNativeStore(dataDir, {
    ...(backend !== 'auto' && backend !== 'node:fs' && { backend }),
    ...(flushPolicy !== undefined && { flushPolicy })
  })
}
