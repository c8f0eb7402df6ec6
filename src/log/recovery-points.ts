/**
 * Decides when logs write recovery points, so that a start after a crash scans little whatever the size and number of logs: all
 * together have at most about `bytesMax` that no point covers. When there are more, the logs with the most write one, one after the
 * other, until half is left. Many logs may leave more, up to 16 times as much: a point costs a file, a sync and a rename, which must
 * stay cheap against the bytes that it spares a scan. The native engine has the same in native/store.cc.
 */

/** What a log shows of itself. */
export interface Coverable {
  /** Bytes that would be scanned if the process were killed now. */
  readonly bytesUncovered: number
  /** Writes a recovery point. Never rejects: one that cannot be written costs time after a crash and nothing else. */
  cover (): Promise<void>
}

export const UNCOVERED_BYTES_MAX = 64 * 1024 * 1024

export class RecoveryPoints {
  private unseenBytes = 0
  private covering = false

  constructor (private readonly logs: () => Iterable<Coverable>, private readonly bytesMax = UNCOVERED_BYTES_MAX) {}

  /** Looking at every log for every write would be dear; the bound need not be kept to the byte. */
  wrote (bytes: number): void {
    this.unseenBytes += bytes
    if (this.covering || this.unseenBytes <= this.bytesMax / 8) return
    this.unseenBytes = 0
    this.covering = true
    void this.cover().finally(() => { this.covering = false })
  }

  private async cover (): Promise<void> {
    for (const log of chooseLogs([...this.logs()], this.bytesMax)) await log.cover()
  }
}

/** The logs to cover, in order; none while the bound is kept. */
export function chooseLogs<T extends { readonly bytesUncovered: number }> (logs: readonly T[], bytesMax: number): readonly T[] {
  const uncovered = logs.filter(({ bytesUncovered }) => bytesUncovered > 0)
  const bound = bytesMax * Math.min(16, Math.max(1, Math.floor(uncovered.length / 128)))
  let left = uncovered.reduce((sum, { bytesUncovered }) => sum + bytesUncovered, 0)
  if (left <= bound) return []
  const chosen: T[] = []
  for (const log of uncovered.sort((a, b) => b.bytesUncovered - a.bytesUncovered)) {
    if (left <= bound / 2) break
    left -= log.bytesUncovered
    chosen.push(log)
  }
  return chosen
}
