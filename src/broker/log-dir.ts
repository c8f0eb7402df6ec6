/** The folder of the data as clients are told of it: its path, and how much the device under it holds. */
import { statfs } from 'node:fs/promises'
import path from 'node:path'

/** Kafka's UNKNOWN_VOLUME_BYTES. */
const UNKNOWN_BYTES = -1

export interface LogDir {
  readonly path: string
  /** -1 where there is no device (in memory) or it does not tell. */
  space (): Promise<{ readonly totalBytes: number, readonly usableBytes: number }>
}

/** `dataDir` undefined: in memory. */
export function logDirOf (dataDir: string | undefined): LogDir {
  if (dataDir === undefined) return { path: 'memory', space: async () => ({ totalBytes: UNKNOWN_BYTES, usableBytes: UNKNOWN_BYTES }) }
  return {
    path: path.resolve(dataDir),
    async space () {
      try {
        const { bsize, blocks, bavail } = await statfs(dataDir)
        return { totalBytes: bsize * blocks, usableBytes: bsize * bavail }
      } catch {
        return { totalBytes: UNKNOWN_BYTES, usableBytes: UNKNOWN_BYTES }
      }
    }
  }
}
