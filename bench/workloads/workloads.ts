/**
 * The workloads that the benchmarking guide documents, by its names, each a table of the guide's columns. A thread of the guide is a worker
 * thread on the shared store, with a topic of its own.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import path from 'node:path'
import type { CsvValue } from '../store/csv.js'
import { LeftOut, type Figures } from '../store/measurement.js'
import { haulout } from '../store/sides/haulout.js'
import { rocksdb } from '../store/sides/rocksdb.js'
import { walrus } from '../store/sides/walrus.js'
import { fsyncMode, type Defaults, type WorkloadSettings } from './settings.js'
import type { FlushPolicy } from '../../src/log/log.js'

export interface Workload {
  /** The CSV's name is `<name>_benchmark_<time>.csv`. */
  readonly name: string
  readonly title: string
  readonly defaults: Defaults
  readonly columns: readonly string[]
  steps (settings: StepSettings): readonly Step[]
}

/** Those of one schedule at a time. `dataDir` is empty, and somebody else removes it. */
export type StepSettings = Omit<WorkloadSettings, 'flushPolicies'> & { readonly flushPolicy: FlushPolicy }

export interface Step {
  readonly title: string
  readonly seconds: number
  /** One or more rows of the table. Rejects with `LeftOut` where a peer cannot be had. */
  run (): Promise<readonly (readonly CsvValue[])[]>
}

const MEGABYTE = 1e6
const READ_BYTES = 2 ** 20
const UNAWAITED_BYTES_MAX = 64 * 2 ** 20

export const WORKLOADS = {
  writes: {
    name: 'write',
    title: 'Writes',
    defaults: { threads: '1,2,4,8', batch: '1' },
    columns: ['threads', 'fsync_mode', 'ops_per_sec', 'mb_per_sec', 'avg_latency_us'],
    steps: (settings) => eachThreads(settings, async (threads) => {
      const figures = await written(settings, { threads })
      return [[threads, fsyncMode(settings.flushPolicy), ...speed(figures)]]
    })
  },
  reads: {
    name: 'read',
    title: 'Reads after a write phase',
    defaults: { threads: '1,8', batch: '64' },
    columns: ['phase', 'threads', 'ops_per_sec', 'mb_per_sec', 'avg_latency_us'],
    steps: reads
  },
  scaling: {
    name: 'scaling',
    title: 'Writes by the number of threads',
    defaults: { threads: '1-10', batch: '1' },
    columns: ['threads', 'ops_per_sec', 'mb_per_sec', 'cpu_usage'],
    steps: (settings) => eachThreads(settings, async (threads) => {
      const figures = await written(settings, { threads })
      return [[threads, ...speed(figures).slice(0, 2), cpuUsage(figures)]]
    })
  },
  batch: {
    name: 'batch',
    title: 'Atomic batches',
    defaults: { threads: '10', batch: '256' },
    columns: ['threads', 'batch_size', 'fsync_mode', 'ops_per_sec', 'mb_per_sec', 'avg_latency_us'],
    steps: (settings) => eachThreads(settings, async (threads) => {
      const figures = await written(settings, { threads, batch: settings.batch })
      return [[threads, settings.batch, fsyncMode(settings.flushPolicy), ...speed(figures)]]
    })
  },
  'batch-scaling': {
    name: 'batch_scaling',
    title: 'Atomic batches by the number of threads',
    defaults: { threads: '1-10', batch: '256' },
    columns: ['threads', 'batch_size', 'ops_per_sec', 'mb_per_sec', 'cpu_usage'],
    steps: (settings) => eachThreads(settings, async (threads) => {
      const figures = await written(settings, { threads, batch: settings.batch })
      return [[threads, settings.batch, ...speed(figures).slice(0, 2), cpuUsage(figures)]]
    })
  },
  vs: {
    name: 'vs',
    title: 'All stores',
    defaults: { threads: '10', batch: '1' },
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
    backend: chosen,
    aThread: inThreads(settings) ? 'a worker thread with a topic of its own' : 'an asynchronous function of one thread with a topic of its own: node:fs cannot be shared'
  }
}

const BATCHED: ReadonlySet<WorkloadName> = new Set(['batch', 'batch-scaling', 'vs'])

const inWords = (threads: number): string => `${threads} thread${threads === 1 ? '' : 's'}`

function eachThreads (settings: StepSettings, run: (threads: number) => ReturnType<Step['run']>): Step[] {
  return settings.threads.map((threads) => ({ title: inWords(threads), seconds: settings.seconds, run: async () => await run(threads) }))
}

async function written (settings: StepSettings, { threads, batch = 1 }: { readonly threads: number, readonly batch?: number }): Promise<Figures> {
  return await inFolder(settings, async (dataDir) => await haulout({
    kind: 'write', ...common(settings, threads), dataDir, writers: threads, seconds: settings.seconds, batch, awaitEvery: awaitEvery(settings, batch), threads: inThreads(settings)
  }))
}

/** In plain JavaScript threads cannot share a store: there writers are asynchronous functions of one thread. */
function inThreads ({ backend }: Pick<WorkloadSettings, 'backend'>): boolean {
  return backend !== 'node:fs'
}

/** Where an append that has returned is accepted, waiting for every so-manieth lets the disk keep up; of large ones for more, which would fill the memory. */
export function awaitEvery ({ flushPolicy, bytesMax }: Pick<StepSettings, 'flushPolicy' | 'bytesMax'>, batch: number): number {
  return flushPolicy.kind === 'each' ? 1 : Math.max(1, Math.min(32, Math.floor(UNAWAITED_BYTES_MAX / (bytesMax * batch))))
}

function common ({ flushPolicy, bytesMin, bytesMax, backend }: StepSettings, logs: number) {
  return { api: 'topics', logs, flushPolicy, bytesMin, bytesMax, backend } as const
}

/** One folder for the whole workload: written once, then read by every number of threads. */
function reads (settings: StepSettings): Step[] {
  const topics = Math.max(...settings.threads)
  const folder = path.join(settings.dataDir, 'reads')
  return [
    {
      title: `write phase, ${inWords(topics)}`,
      seconds: settings.writeSeconds,
      async run () {
        const figures = await haulout({
          kind: 'write', ...common(settings, topics), dataDir: folder, writers: topics, seconds: settings.writeSeconds, batch: 1, awaitEvery: awaitEvery(settings, 1), threads: inThreads(settings)
        })
        return [['write', topics, ...speed(figures)]]
      }
    },
    ...settings.threads.map((threads) => ({
      title: `read phase, ${inWords(threads)}`,
      seconds: settings.readSeconds,
      async run () {
        const figures = await haulout({
          kind: 'read', ...common(settings, topics), dataDir: folder, readers: threads, batchBytes: READ_BYTES, dropCaches: false, seconds: settings.readSeconds, threads: inThreads(settings)
        })
        return [['read', threads, ...speed(figures)]]
      }
    }))
  ]
}

function everybody (settings: StepSettings): Step[] {
  const mode = fsyncMode(settings.flushPolicy)
  const fsync = { each: 'each', none: 'none', interval: 'intervalMs' in settings.flushPolicy ? settings.flushPolicy.intervalMs : 0, bytes: 'none' }[settings.flushPolicy.kind]
  return settings.threads.flatMap((threads) => {
    const step = (system: string, run: (dataDir: string) => Promise<Figures>): Step => ({
      title: `${system}, ${inWords(threads)}`, seconds: settings.seconds,
      run: async () => [[system, threads, mode, ...speed(await inFolder(settings, run))]]
    })
    return [
      step('haulout', async () => await written(settings, { threads, batch: settings.batch })),
      step('walrus', async (dataDir) => await walrus('write', dataDir, {
        writers: threads, topics: threads, seconds: settings.seconds, fsync, batch: settings.batch, backend: settings.walrusBackend,
        'bytes-min': settings.bytesMin, 'bytes-max': settings.bytesMax
      })),
      step('rocksdb', async (dataDir) => {
        if (settings.flushPolicy.kind === 'interval') throw new LeftOut('RocksDB has no fsync by interval; FSYNC=sync-each or no-fsync compares all three')
        return await rocksdb({
          dataDir, sync: settings.flushPolicy.kind === 'each', threads, seconds: settings.seconds, batch: settings.batch,
          bytesMin: settings.bytesMin, bytesMax: settings.bytesMax
        })
      })
    ]
  })
}

/** The guide's last three columns. */
function speed ({ entries, bytes, seconds, perSecond, megabytesPerSecond, latencyUsMean }: Figures): number[] {
  if (perSecond !== undefined) return [Math.round(perSecond), megabytesPerSecond!, latencyUsMean!]
  return [Math.round(entries! / seconds!), bytes! / seconds! / MEGABYTE, latencyUsMean!]
}

/** Per cent of one processor. */
function cpuUsage ({ cpuSeconds, seconds }: Figures): number {
  return 100 * cpuSeconds! / seconds!
}

async function inFolder (settings: StepSettings, run: (dataDir: string) => Promise<Figures>): Promise<Figures> {
  const folder = mkdtempSync(path.join(settings.dataDir, 'step-'))
  try {
    return await run(path.join(folder, 'data'))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
