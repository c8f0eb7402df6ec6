/**
 * The workloads that the benchmarking guide documents, by its names, each a table of the guide's columns. A thread of the guide is a worker
 * thread on the shared store, with a topic of its own.
 */
import { everybody, BROKERS_IN_WORDS } from './peers.js'
import { reads, READS_IN_WORDS } from './reads.js'
import { fsyncMode, type Defaults, type WorkloadSettings } from './settings.js'
import { cpuUsage, eachThreads, inThreads, outcomeOf, speed, written, type Step, type StepSettings } from './steps.js'

export interface Workload {
  /** The CSV's name is `<name>_benchmark_<time>.csv`. */
  readonly name: string
  readonly title: string
  readonly defaults: Defaults
  readonly columns: readonly string[]
  steps (settings: StepSettings): readonly Step[]
}

export const WORKLOADS = {
  writes: {
    name: 'write',
    title: 'Writes',
    defaults: { fsync: 'async', threads: '1,2,4,8', batch: '1' },
    columns: ['threads', 'fsync_mode', 'ops_per_sec', 'mb_per_sec', 'avg_latency_us'],
    steps: (settings) => eachThreads(settings, async (threads) => {
      const figures = await written(settings, { threads })
      return outcomeOf([threads, fsyncMode(settings.flushPolicy)], figures)
    })
  },
  reads: {
    name: 'read',
    title: 'Reads after a write phase',
    defaults: { fsync: 'async', threads: '1,8', batch: '64' },
    columns: ['phase', 'threads', 'ops_per_sec', 'mb_per_sec', 'avg_latency_us'],
    steps: reads
  },
  scaling: {
    name: 'scaling',
    title: 'Writes by the number of threads',
    defaults: { fsync: 'async', threads: '1-10', batch: '1' },
    columns: ['threads', 'ops_per_sec', 'mb_per_sec', 'cpu_usage'],
    steps: (settings) => eachThreads(settings, async (threads) => {
      const figures = await written(settings, { threads })
      return { row: [threads, ...speed(figures).slice(0, 2), cpuUsage(figures)], figures }
    })
  },
  batch: {
    name: 'batch',
    title: 'Atomic batches',
    defaults: { fsync: 'async', threads: '10', batch: '256' },
    columns: ['threads', 'batch_size', 'fsync_mode', 'ops_per_sec', 'mb_per_sec', 'avg_latency_us'],
    steps: (settings) => eachThreads(settings, async (threads) => {
      const figures = await written(settings, { threads, batch: settings.batch })
      return outcomeOf([threads, settings.batch, fsyncMode(settings.flushPolicy)], figures)
    })
  },
  'batch-scaling': {
    name: 'batch_scaling',
    title: 'Atomic batches by the number of threads',
    defaults: { fsync: 'async', threads: '1-10', batch: '256' },
    columns: ['threads', 'batch_size', 'ops_per_sec', 'mb_per_sec', 'cpu_usage'],
    steps: (settings) => eachThreads(settings, async (threads) => {
      const figures = await written(settings, { threads, batch: settings.batch })
      return { row: [threads, settings.batch, ...speed(figures).slice(0, 2), cpuUsage(figures)], figures }
    })
  },
  vs: {
    name: 'vs',
    title: 'Everybody',
    defaults: { fsync: 'no-fsync,sync-each', threads: '10', batch: '1' },
    columns: ['system', 'threads', 'fsync_mode', 'ops_per_sec', 'mb_per_sec', 'avg_latency_us'],
    steps: everybody
  }
} as const satisfies Readonly<Record<string, Workload>>
export type WorkloadName = keyof typeof WORKLOADS

/** Throws an error in a sentence where several schedules are asked for and the workload's columns cannot tell them apart. */
export function stepsOf (name: WorkloadName, { flushPolicies, ...settings }: WorkloadSettings): Step[] {
  const workload: Workload = WORKLOADS[name]
  if (flushPolicies.length === 1) return [...workload.steps({ ...settings, flushPolicy: flushPolicies[0]! })]
  if (!workload.columns.includes('fsync_mode')) throw new Error(`FSYNC takes one schedule for bench-${name}: its columns do not say which one a line is of`)
  return flushPolicies.flatMap((flushPolicy) =>
    workload.steps({ ...settings, flushPolicy }).map((step) => ({ ...step, title: `${fsyncMode(flushPolicy)}, ${step.title}` })))
}

/** What a workload was told, of that which it uses. `chosen`: what the backend 'auto' is here. */
export function settingsInWords (name: WorkloadName, settings: WorkloadSettings, chosen: string): Readonly<Record<string, string>> {
  const { flushPolicies, threads, seconds, writeSeconds, readSeconds, bytesMin, bytesMax, batch } = settings
  return {
    fsync: flushPolicies.map(fsyncMode).join(' '),
    threads: threads.join(' '),
    duration: name === 'reads' ? `${writeSeconds} s of writing, ${readSeconds} s of reading each` : `${seconds} s each`,
    entries: bytesMin === bytesMax ? `${bytesMin} bytes` : `random, ${bytesMin} to ${bytesMax} bytes`,
    ...(BATCHED.has(name) && { batch: batch === 1 ? 'none' : `${batch} entries` }),
    ...(name === 'reads' && { reads: READS_IN_WORDS }),
    ...(name === 'vs' && { brokers: BROKERS_IN_WORDS }),
    backend: chosen,
    aThread: inThreads(settings) ? 'a worker thread with a topic of its own' : 'an asynchronous function of one thread with a topic of its own: node:fs cannot be shared'
  }
}

const BATCHED: ReadonlySet<WorkloadName> = new Set(['batch', 'batch-scaling', 'vs'])
