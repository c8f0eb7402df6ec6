/**
 * `bench-reads`: topics are written once, and then read by every number of threads, through cursors: in batches of 1 MiB and record by record, in both
 * consistency modes. A cursor that is at the end begins again.
 */
import path from 'node:path'
import { haulout } from '../store/sides/haulout.js'
import type { Reading } from '../store/target.js'
import { awaitEvery, common, inThreads, inWords, outcomeOf, type Step, type StepOutcome, type StepSettings } from './steps.js'

const READ_BYTES = 2 ** 20
/** As the walrus side of bench/store. */
const PERSIST_EVERY = 5000

/** The guide's `read` is that by which reads are usually judged: in batches, at least once. */
const READ_PHASES: readonly (Reading & { readonly phase: string })[] = [
  { phase: 'read', records: 'batches', persistEvery: PERSIST_EVERY },
  { phase: 'read-strictly-at-once', records: 'batches', persistEvery: 1 },
  { phase: 'read-single', records: 'single', persistEvery: PERSIST_EVERY },
  { phase: 'read-single-strictly-at-once', records: 'single', persistEvery: 1 }
]

export const READS_IN_WORDS = `batches of ${READ_BYTES / 2 ** 20} MiB, or single records; at least once, the position stored every ${PERSIST_EVERY} records, or strictly at once`

export function reads (settings: StepSettings): Step[] {
  const topics = Math.max(...settings.threads)
  const folder = path.join(settings.dataDir, 'reads')
  const write: Step = {
    title: `write phase, ${inWords(topics)}`,
    seconds: settings.writeSeconds,
    async run () {
      const figures = await haulout({
        kind: 'write', ...common(settings, topics), dataDir: folder, writers: topics, seconds: settings.writeSeconds, batch: 1, awaitEvery: awaitEvery(settings, 1), threads: inThreads(settings)
      })
      return outcomeOf(['write', topics], figures)
    }
  }
  const read = async (phase: string, threads: number, reading: Reading): Promise<StepOutcome> => outcomeOf([phase, threads], await haulout({
    kind: 'read', ...common(settings, topics), dataDir: folder, readers: threads, batchBytes: READ_BYTES, dropCaches: false, seconds: settings.readSeconds, threads: inThreads(settings), reading
  }))
  return [write, ...READ_PHASES.flatMap(({ phase, ...reading }) => settings.threads.map((threads) => ({
    title: `${phase.replaceAll('-', ' ').replace('read', 'read phase,').replace(/,$/, '')}, ${inWords(threads)}`,
    seconds: settings.readSeconds,
    run: async () => await read(phase, threads, reading)
  })))]
}
