/** Waits until a partition moves, for long polls. */
import type { Clock, Timer } from '../clock.js'
import type { Partition } from '../partitions/partition.js'

/**
 * Watches a set of partitions. What happens between two waits is not lost: `wait` then returns at once. Every listener and the
 * timer are gone after `close`.
 */
export class AdvanceWatch {
  readonly #unsubscribes: (() => void)[] = []
  readonly #signal: AbortSignal
  readonly #timer: Timer
  #moved = false
  #ended = false
  #wake: (() => void) | undefined

  constructor (partitions: Iterable<Partition>, clock: Clock, maxWaitMs: number, closed: AbortSignal) {
    const moved = (): void => {
      this.#moved = true
      this.#wake?.()
    }
    for (const partition of partitions) this.#unsubscribes.push(partition.onAdvance(moved))
    this.#signal = closed
    this.#timer = clock.setTimer(maxWaitMs, this.#end)
    if (closed.aborted) this.#ended = true
    else closed.addEventListener('abort', this.#end)
  }

  /** The time is over or the client is gone. */
  get ended (): boolean { return this.#ended }

  /** Resolves once a partition moved since the last time, or the watch ended. */
  async wait (): Promise<void> {
    if (!this.#moved && !this.#ended) await new Promise<void>((resolve) => { this.#wake = resolve })
    this.#wake = undefined
    this.#moved = false
  }

  close (): void {
    this.#timer.cancel()
    this.#signal.removeEventListener('abort', this.#end)
    for (const unsubscribe of this.#unsubscribes) unsubscribe()
  }

  readonly #end = (): void => {
    this.#ended = true
    this.#wake?.()
  }
}
