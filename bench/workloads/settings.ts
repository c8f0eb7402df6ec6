/** The workloads' settings, by the environment names of the benchmarking guide. Pure: text in, settings or a sentence out. */
import type { FlushPolicy } from '../../src/log/log.js'
import type { BackendChoice } from '../../src/log/open-store.js'

export interface WorkloadSettings {
  readonly flushPolicy: FlushPolicy
  /** Every count of writers or readers to measure. */
  readonly threads: readonly number[]
  readonly seconds: number
  readonly writeSeconds: number
  readonly readSeconds: number
  readonly batch: number
  readonly bytesMin: number
  readonly bytesMax: number
  readonly dataDir: string
  readonly quiet: boolean
  readonly backend: BackendChoice
  /** As BACKEND says it, for walrus. */
  readonly walrusBackend: 'fd' | 'mmap'
}

export type Environment = Readonly<Record<string, string | undefined>>

/** The guide's scenarios: what they set unless the environment says otherwise. */
export const PRESETS = {
  analytics: { FSYNC: '5000ms', THREADS: '16', ENTRY_SIZE: '1024' },
  'financial-transactions': { FSYNC: 'sync-each', THREADS: '4', ENTRY_SIZE: '512' },
  'message-queue': { FSYNC: '1000ms', THREADS: '8', ENTRY_SIZE: '10240' }
} as const satisfies Readonly<Record<string, Environment>>
export type Preset = keyof typeof PRESETS

export interface Defaults {
  readonly threads: string
  readonly batch: string
}

const SECONDS_DEFAULT = '10s'
/** Walrus has two; of ours, 'fd' is the one that suits the machine. */
const BACKENDS: Readonly<Record<string, BackendChoice>> = {
  fd: 'auto', auto: 'auto', mmap: 'mmap', io_uring: 'io_uring', 'io_uring-buffered': 'io_uring-buffered', threads: 'threads', 'node:fs': 'node:fs'
}

/** Throws an error whose message names the variable, its value and what it takes. */
export function settingsFrom (environment: Environment, defaults: Defaults, preset?: Preset): WorkloadSettings {
  const values: Environment = { ...(preset !== undefined && PRESETS[preset]), ...withoutEmpty(environment) }
  const duration = values.WALRUS_DURATION ?? SECONDS_DEFAULT
  const [bytesMin, bytesMax] = sizes(values.ENTRY_SIZE)
  const backend = values.BACKEND ?? values.WALRUS_BACKEND ?? 'fd'
  if (BACKENDS[backend] === undefined) throw refusal('BACKEND', backend, Object.keys(BACKENDS).join(', '))
  return {
    flushPolicy: flushPolicyFrom(values.FSYNC ?? values.WALRUS_FSYNC ?? 'async'),
    threads: threadCounts(values.THREADS ?? values.WALRUS_THREADS ?? defaults.threads),
    seconds: secondsFrom('WALRUS_DURATION', duration),
    writeSeconds: secondsFrom('WALRUS_WRITE_DURATION', values.WALRUS_WRITE_DURATION ?? duration),
    readSeconds: secondsFrom('WALRUS_READ_DURATION', values.WALRUS_READ_DURATION ?? duration),
    batch: whole('WALRUS_BATCH_SIZE', values.WALRUS_BATCH_SIZE ?? values.BATCH ?? defaults.batch, 2_000),
    bytesMin,
    bytesMax,
    dataDir: values.WALRUS_DATA_DIR ?? '/var/tmp',
    quiet: values.WALRUS_QUIET !== undefined && values.WALRUS_QUIET !== '0',
    backend: BACKENDS[backend],
    walrusBackend: backend === 'mmap' ? 'mmap' : 'fd'
  }
}

/** 'sync-each', 'no-fsync' or 'none', 'async' (every second), '500ms', '500'. */
export function flushPolicyFrom (text: string): FlushPolicy {
  if (text === 'sync-each') return { kind: 'each' }
  if (text === 'no-fsync' || text === 'none') return { kind: 'none' }
  if (text === 'async') return { kind: 'interval', intervalMs: 1000 }
  const match = /^([1-9]\d*)(ms)?$/.exec(text)
  if (match === null) throw refusal('FSYNC', text, 'sync-each, no-fsync, async, or milliseconds such as 500ms')
  return { kind: 'interval', intervalMs: Number(match[1]) }
}

/** The word of the CSV's column fsync_mode. */
export function fsyncMode (policy: FlushPolicy): string {
  switch (policy.kind) {
    case 'each': return 'sync-each'
    case 'none': return 'no-fsync'
    case 'interval': return `${policy.intervalMs}ms`
    case 'bytes': return `${policy.bytes}B`
  }
}

/** '8', '1-16' (each of them), '1,2,4,8'. */
export function threadCounts (text: string): number[] {
  const takes = 'a count such as 8, a range such as 1-16, or a list such as 1,2,4'
  const range = /^(\d+)-(\d+)$/.exec(text)
  if (range !== null) {
    const [from, to] = [Number(range[1]), Number(range[2])]
    if (from < 1 || from > to || to > 1024) throw refusal('THREADS', text, takes)
    return Array.from({ length: to - from + 1 }, (_, at) => from + at)
  }
  const counts = text.split(',').map(Number)
  if (!counts.every((count) => Number.isSafeInteger(count) && count >= 1 && count <= 1024)) throw refusal('THREADS', text, takes)
  return counts
}

/** '30s', '2m', '1h', '500ms', '30' (seconds). */
export function secondsFrom (name: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text)
  const seconds = match === null ? 0 : Number(match[1]) * { ms: 0.001, s: 1, m: 60, h: 3600 }[(match[2] ?? 's') as 'ms' | 's' | 'm' | 'h']
  if (!(seconds > 0)) throw refusal(name, text, 'a time above 0 such as 30s, 2m or 1h')
  return seconds
}

function sizes (text: string | undefined): [number, number] {
  if (text === undefined) return [500, 1024]
  const bytes = whole('ENTRY_SIZE', text, 512 * 2 ** 20)
  return [bytes, bytes]
}

function whole (name: string, text: string, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : 0
  if (value < 1 || value > max) throw refusal(name, text, `a whole number from 1 to ${max}`)
  return value
}

function refusal (name: string, text: string, takes: string): Error {
  return new Error(`${name}=${text} is not understood: it takes ${takes}`)
}

function withoutEmpty (environment: Environment): Environment {
  return Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== undefined && value !== ''))
}
