/**
 * Whether clients may append: so much of the disk stays free for what the broker has to write itself (groups, topics, indexes, the start of a
 * log that retention moves) and for everybody else on it. Producers are refused before the disk is full, and go on by themselves
 * when there is room again. Looked at once a second at most.
 */
import { LogError, type LogStore } from '../log/log.js'
import type { Clock } from './clock.js'

const LOOK_INTERVAL_MS = 1_000

export class FreeSpace {
  private lookedMs = -Infinity
  private error: LogError | undefined

  constructor (private readonly store: LogStore, private readonly bytesMin: number, private readonly clock: Clock) {}

  /** Why nothing may be appended; undefined while there is room. */
  get lack (): LogError | undefined {
    const nowMs = this.clock.monotonic()
    if (this.bytesMin > 0 && nowMs - this.lookedMs >= LOOK_INTERVAL_MS) {
      this.lookedMs = nowMs
      this.error = this.look()
    }
    return this.error
  }

  private look (): LogError | undefined {
    try {
      const bytes = this.store.bytesFree()
      if (bytes >= this.bytesMin) return undefined
      return new LogError('full', `the disk has ${bytes} bytes left, and haulout.min.free.bytes (${this.bytesMin}) of it stay free: delete records or topics, shorten retention, or make room`)
    } catch {
      // Nobody can say; a disk that is full refuses by itself.
      return undefined
    }
  }
}
