/**
 * Log lines that a client can cause: so many per cause and minute, then a count of those held back. A flood of connections, or of
 * garbage, must not become a flood of the log, and one client's lines must not hide another cause's.
 */
import type { Logger } from 'pino'
import type { Clock } from './clock.js'

/** A closed set, so that what is remembered is bounded, whatever clients do. */
export type Cause = 'too many connections' | 'too many connections from one address' | 'malformed request' | 'slow request' | 'slow reader' |
  'memory for requests' | 'cannot accept' | 'bug in the broker'

const WINDOW_MS = 60_000
const LINES_PER_WINDOW_MAX = 10

interface Window {
  readonly startedMs: number
  lines: number
  heldBack: number
}

export class LimitedLog {
  readonly #windows = new Map<Cause, Window>()

  constructor (readonly logger: Logger, private readonly clock: Clock) {}

  warn (cause: Cause, fields: object, message: string): void {
    if (this.#admits(cause)) this.logger.warn({ ...fields, cause }, message)
  }

  error (cause: Cause, fields: object, message: string): void {
    if (this.#admits(cause)) this.logger.error({ ...fields, cause }, message)
  }

  /** Tells how many lines were held back in windows that are over. Called about once a second; `all` at the end. */
  tellHeldBack (all = false): void {
    const nowMs = this.clock.monotonic()
    for (const [cause, { startedMs, heldBack }] of this.#windows) {
      if (!all && nowMs - startedMs < WINDOW_MS) continue
      this.#windows.delete(cause)
      if (heldBack > 0) this.logger.warn({ cause }, `${heldBack} more of this kind in the minute before: ${cause}`)
    }
  }

  #admits (cause: Cause): boolean {
    let window = this.#windows.get(cause)
    if (window === undefined) {
      window = { startedMs: this.clock.monotonic(), lines: 0, heldBack: 0 }
      this.#windows.set(cause, window)
    }
    if (window.lines === LINES_PER_WINDOW_MAX) {
      window.heldBack++
      return false
    }
    window.lines++
    return true
  }
}
