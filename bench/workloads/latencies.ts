/**
 * How the latencies of calls are distributed: a second CSV beside that of the workload, whose columns the guide fixes. A row is a percentile of a row there.
 * Where an append that has returned is accepted, only those are recorded that a writer waits for.
 */
import { toCsv } from '../store/csv.js'
import { LATENCY_PERCENTILES, latencyFigure } from '../store/latency.js'
import type { StepOutcome } from './steps.js'

export const LATENCY_ENDING = '.latency.csv'
/** The first column that does not name a row but says what was measured. */
const FIRST_MEASURED = 'ops_per_sec'

export function latenciesCsv (columns: readonly string[], outcomes: readonly StepOutcome[]): string {
  const names = columns.slice(0, columns.indexOf(FIRST_MEASURED))
  const rows = outcomes.flatMap(({ row, figures }) => LATENCY_PERCENTILES.flatMap((percentile) => {
    const us = figures[latencyFigure(percentile)]
    return us === undefined ? [] : [[...row.slice(0, names.length), percentile, us]]
  }))
  return toCsv([...names, 'percentile', 'latency_us'], rows)
}
