/** What the steps of all workloads share: their settings, writing through the store, and the guide's columns from figures. */
import { mkdtempSync, rmSync } from 'node:fs'
import path from 'node:path'
import type { FlushPolicy } from '../../src/log/log.js'
import type { CsvValue } from '../store/csv.js'
import type { Figures } from '../store/measurement.js'
import { haulout } from '../store/sides/haulout.js'
import type { WorkloadSettings } from './settings.js'

/** Those of one schedule at a time. `dataDir` is empty, and somebody else removes it. */
export type StepSettings = Omit<WorkloadSettings, 'flushPolicies'> & { readonly flushPolicy: FlushPolicy }

export interface Step {
  readonly title: string
  readonly seconds: number
  /** Rejects with `LeftOut` where a peer cannot be had. */
  run (): Promise<StepOutcome>
}

export interface StepOutcome {
  /** Of the table. */
  readonly row: readonly CsvValue[]
  /** All that was measured; the percentiles of latencies are told apart from the table. */
  readonly figures: Figures
}

const MEGABYTE = 1e6
const UNAWAITED_BYTES_MAX = 64 * 2 ** 20

export const inWords = (threads: number): string => `${threads} thread${threads === 1 ? '' : 's'}`

export function eachThreads (settings: StepSettings, run: (threads: number) => ReturnType<Step['run']>): Step[] {
  return settings.threads.map((threads) => ({ title: inWords(threads), seconds: settings.seconds, run: async () => await run(threads) }))
}

/** What names a row, and the guide's last three columns. */
export function outcomeOf (names: readonly CsvValue[], figures: Figures): StepOutcome {
  return { row: [...names, ...speed(figures)], figures }
}

/** Writes to a topic for each thread, in a folder of their own. */
export async function written (settings: StepSettings, { threads, batch = 1 }: { readonly threads: number, readonly batch?: number }): Promise<Figures> {
  return await inFolder(settings, async (dataDir) => await haulout({
    kind: 'write', ...common(settings, threads), dataDir, writers: threads, seconds: settings.seconds, batch, awaitEvery: awaitEvery(settings, batch), threads: inThreads(settings)
  }))
}

/** In plain JavaScript threads cannot share a store: there writers are asynchronous functions of one thread. */
export function inThreads ({ backend }: Pick<WorkloadSettings, 'backend'>): boolean {
  return backend !== 'node:fs'
}

/** Where an append that has returned is accepted, waiting for every so-manieth lets the disk keep up; of large ones for more, which would fill the memory. */
export function awaitEvery ({ flushPolicy, bytesMax }: Pick<StepSettings, 'flushPolicy' | 'bytesMax'>, batch: number): number {
  return flushPolicy.kind === 'each' ? 1 : Math.max(1, Math.min(32, Math.floor(UNAWAITED_BYTES_MAX / (bytesMax * batch))))
}

export function common ({ flushPolicy, bytesMin, bytesMax, backend }: StepSettings, logs: number) {
  return { api: 'topics', logs, flushPolicy, bytesMin, bytesMax, backend } as const
}

/** The guide's last three columns. */
export function speed ({ entries, bytes, seconds, perSecond, megabytesPerSecond, latencyUsMean }: Figures): number[] {
  if (perSecond !== undefined) return [Math.round(perSecond), megabytesPerSecond!, latencyUsMean!]
  return [Math.round(entries! / seconds!), bytes! / seconds! / MEGABYTE, latencyUsMean!]
}

/** Per cent of one processor. */
export function cpuUsage ({ cpuSeconds, seconds }: Figures): number {
  return 100 * cpuSeconds! / seconds!
}

export async function inFolder (settings: Pick<StepSettings, 'dataDir'>, run: (dataDir: string) => Promise<Figures>): Promise<Figures> {
  const folder = mkdtempSync(path.join(settings.dataDir, 'step-'))
  try {
    return await run(path.join(folder, 'data'))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
