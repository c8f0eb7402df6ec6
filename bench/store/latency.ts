/** Latencies in a histogram, so that a percentile costs no memory per sample. */
import { createHistogram } from 'node:perf_hooks'

export interface LatencyHistogram {
  record (ms: number): void
  /** In microseconds; `q` from 0 to 1. */
  us (q: number): number
}

export function histogram (): LatencyHistogram {
  const nanoseconds = createHistogram({ figures: 3 })
  return {
    record: (ms) => nanoseconds.record(Math.max(1, Math.round(ms * 1e6))),
    us: (q) => nanoseconds.count === 0 ? 0 : nanoseconds.percentile(q * 100) / 1000
  }
}
