/** A clock that a test moves. */
import type { Clock } from '../../../src/broker/clock.js'

export class ManualClock implements Clock {
  nowMs = 1_000_000
  readonly timers = new Set<{ readonly atMs: number, readonly callback: () => void }>()

  now (): number { return this.nowMs }
  monotonic (): number { return this.nowMs }

  setTimer (delayMs: number, callback: () => void): { cancel: () => void } {
    const timer = { atMs: this.nowMs + delayMs, callback }
    this.timers.add(timer)
    return { cancel: () => { this.timers.delete(timer) } }
  }

  advance (ms: number): void {
    this.nowMs += ms
    for (const timer of [...this.timers].sort((a, b) => a.atMs - b.atMs)) {
      if (timer.atMs > this.nowMs || !this.timers.delete(timer)) continue
      timer.callback()
    }
  }
}
