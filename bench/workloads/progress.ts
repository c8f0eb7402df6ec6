/** A bar on the terminal that moves with time: the work runs in other processes. Elsewhere a line per step. */
import { Presets, SingleBar } from 'cli-progress'
import type { Step } from './steps.js'

const TICK_MS = 200
/** With its percentage and the longest step it fits into a terminal of 60 columns. */
const BAR_COLUMNS = 24

export interface Progress {
  /** Shows the step while `work` runs. */
  during<T> (step: Step, work: () => Promise<T>): Promise<T>
  /** Clears the bar and gives the cursor back. Stopping twice does nothing. */
  stop (): void
}

export function progressOf (steps: readonly Step[], quiet: boolean): Progress {
  if (quiet) return { during: async (_, work) => await work(), stop () {} }
  if (!process.stderr.isTTY) {
    return {
      async during ({ title }, work) {
        process.stderr.write(`${title}\n`)
        return await work()
      },
      stop () {}
    }
  }
  return barOf(steps.reduce((sum, { seconds }) => sum + seconds, 0))
}

function barOf (allSeconds: number): Progress {
  const bar = new SingleBar({ format: '{bar} {percentage}% {step}', barsize: BAR_COLUMNS, stream: process.stderr, clearOnComplete: true, hideCursor: true }, Presets.shades_classic)
  let doneSeconds = 0
  bar.start(allSeconds, 0, { step: '' })
  return {
    async during ({ title, seconds }, work) {
      const startedAtMs = performance.now()
      const tick = (): void => { bar.update(doneSeconds + Math.min(seconds, (performance.now() - startedAtMs) / 1000), { step: title }) }
      tick()
      const timer = setInterval(tick, TICK_MS)
      try {
        return await work()
      } finally {
        clearInterval(timer)
        doneSeconds += seconds
      }
    },
    stop () {
      if (bar.isActive) bar.stop()
    }
  }
}
