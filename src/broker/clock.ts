/** Time as a parameter: the broker reads no clock and sets no timer but through this. */
export interface Clock {
  /** Wall time in ms since the epoch: for timestamps that are stored or sent. */
  now (): number
  /** Monotonic time in ms: for sessions, deadlines and everything that measures how long. */
  monotonic (): number
  /** Calls `callback` once, after `delayMs`. The timer keeps no process alive. */
  setTimer (delayMs: number, callback: () => void): Timer
}

export interface Timer {
  /** Idempotent; no effect once the callback ran. */
  cancel (): void
}

const TIMER_DELAY_MS_MAX = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer (delayMs, callback) {
    const timer = setTimeout(callback, Math.min(delayMs, TIMER_DELAY_MS_MAX))
    timer.unref()
    return { cancel: () => clearTimeout(timer) }
  }
}
