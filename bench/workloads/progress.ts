/** A bar on the terminal that moves with time: the work runs in other processes. Elsewhere a line per step. */
import { Presets, SingleBar } from 'cli-progress'
import type { Step } from './workloads.js'

const TICK_MS = 200

export async function withProgress (steps: readonly Step[], quiet: boolean, run: (step: Step) => Promise<void>): Promise<void> {
  const bar = process.stderr.isTTY && !quiet
    ? new SingleBar({ format: '{bar} {percentage}% {step}', stream: process.stderr, clearOnComplete: true, hideCursor: true }, Presets.shades_classic)
    : undefined
  const allSeconds = steps.reduce((sum, { seconds }) => sum + seconds, 0)
  bar?.start(allSeconds, 0, { step: '' })
  let done = 0
  for (const step of steps) {
    const startedAtMs = performance.now()
    if (bar === undefined && !quiet) process.stderr.write(`${step.title}\n`)
    const tick = (): void => { bar?.update(done + Math.min(step.seconds, (performance.now() - startedAtMs) / 1000), { step: step.title }) }
    const timer = setInterval(tick, TICK_MS)
    try {
      await run(step)
    } finally {
      clearInterval(timer)
    }
    done += step.seconds
  }
  bar?.stop()
}
