/** Latencies in a histogram, so that a percentile costs no memory per sample; histograms of several threads can be added up. */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'

/** Those that are told; enough to draw a distribution. */
export const LATENCY_PERCENTILES = [1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9, 99.99, 100] as const

/** 'latencyUsP50'. */
export function latencyFigure (percentile: number): string {
  return `latencyUsP${percentile}`
}

export class LatencyHistogram {
  /** Can be sent to another thread. */
  readonly nanoseconds: RecordableHistogram = createHistogram({ figures: 3 })

  record (ms: number): void {
    this.nanoseconds.record(Math.max(1, Math.round(ms * 1e6)))
  }

  /** Of another thread: what it was sent. */
  add (nanoseconds: RecordableHistogram): void {
    this.nanoseconds.add(nanoseconds)
  }

  /** Microseconds; nothing where nothing was recorded. */
  figures (): Record<string, number> {
    if (this.nanoseconds.count === 0) return {}
    return Object.fromEntries(LATENCY_PERCENTILES.map((percentile) => [latencyFigure(percentile), this.nanoseconds.percentile(percentile) / 1000]))
  }
}
