/** The workloads' settings, by the environment names of the benchmarking guide. Pure: text in, settings or a sentence out. */
import type { FlushPolicy } from '../../src/log/log.js'
import type { BackendChoice } from '../../src/log/open-store.js'
import { isOn } from '../../src/raw/options.js'

export interface WorkloadSettings {
  /** Every schedule to measure. */
  readonly flushPolicies: readonly FlushPolicy[]
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
  /** What BACKEND says, for walrus. */
  readonly walrusBackend: 'fd' | 'mmap'
}

export type Environment = Readonly<Record<string, string | undefined>>

/** The guide's scenarios: what they set unless the environment says otherwise. */
export const PRESETS = {
  analytics: { FSYNC: '5000ms', THREADS: '16', ENTRY_SIZE: '1024', WALRUS_DURATION: '10m' },
  'financial-transactions': { FSYNC: 'sync-each', THREADS: '4', ENTRY_SIZE: '512' },
  'message-queue': { FSYNC: '1000ms', THREADS: '8', ENTRY_SIZE: '10240' }
} as const satisfies Readonly<Record<string, Environment>>
export type Preset = keyof typeof PRESETS

export interface Defaults {
  readonly fsync: string
  readonly threads: string
  readonly batch: string
}

const SECONDS_DEFAULT = '10s'
/** Walrus has two; of ours, 'fd' is the one that suits the machine. */
const BACKENDS: Readonly<Record<string, BackendChoice>> = {
  fd: 'auto', auto: 'auto', mmap: 'mmap', io_uring: 'io_uring', 'io_uring-buffered': 'io_uring-buffered', threads: 'threads', 'node:fs': 'node:fs'
}

const HOURS_MAX = 24

/** Throws an error whose message names the variable, its value and what it takes. */
export function settingsFrom (environment: Environment, defaults: Defaults, preset?: Preset): WorkloadSettings {
  const values: Environment = { ...(preset !== undefined && PRESETS[preset]), ...withoutEmpty(environment) }
  // Most variables have two names; the longer one wins, as in the library, and refusals name the one that was used.
  const read = <T>(names: readonly string[], otherwise: string, parse: (name: string, text: string) => T): T => {
    const name = names.find((one) => values[one] !== undefined) ?? names[0]!
    return parse(name, values[name] ?? otherwise)
  }
  const duration = values.WALRUS_DURATION ?? SECONDS_DEFAULT
  const seconds = secondsFrom('WALRUS_DURATION', duration)
  const [bytesMin, bytesMax] = sizes(values.ENTRY_SIZE)
  return {
    flushPolicies: read(['WALRUS_FSYNC', 'FSYNC'], defaults.fsync, flushPoliciesFrom),
    threads: read(['WALRUS_THREADS', 'THREADS'], defaults.threads, threadCounts),
    seconds,
    writeSeconds: secondsFrom('WALRUS_WRITE_DURATION', values.WALRUS_WRITE_DURATION ?? duration),
    readSeconds: secondsFrom('WALRUS_READ_DURATION', values.WALRUS_READ_DURATION ?? duration),
    batch: read(['WALRUS_BATCH_SIZE', 'BATCH'], defaults.batch, (name, text) => whole(name, text, 2_000)),
    bytesMin,
    bytesMax,
    dataDir: values.WALRUS_DATA_DIR ?? '/var/tmp',
    quiet: isOn(values.WALRUS_QUIET),
    ...read(['WALRUS_BACKEND', 'BACKEND'], 'fd', (name, text) => backends(name, text, isOn(values.WALRUS_DISABLE_IO_URING)))
  }
}

function backends (name: string, text: string, isUringDisabled: boolean): Pick<WorkloadSettings, 'backend' | 'walrusBackend'> {
  const backend = BACKENDS[text]
  if (backend === undefined) throw refusal(name, text, Object.keys(BACKENDS).join(', '))
  return { backend: isUringDisabled && backend === 'auto' ? 'threads' : backend, walrusBackend: text === 'mmap' ? 'mmap' : 'fd' }
}

/** One, or several behind commas. */
export function flushPoliciesFrom (name: string, text: string): FlushPolicy[] {
  return text.split(',').map((one) => {
    const policy = flushPolicyFrom(one.trim())
    if (policy === undefined) throw refusal(name, text, 'sync-each, no-fsync, async, milliseconds such as 500ms, or several such as no-fsync,sync-each')
    return policy
  })
}

/** 'sync-each', 'no-fsync' or 'none', 'async' (every second), '500ms', '500'. */
export function flushPolicyFrom (text: string): FlushPolicy | undefined {
  if (text === 'sync-each') return { kind: 'each' }
  if (text === 'no-fsync' || text === 'none') return { kind: 'none' }
  if (text === 'async') return { kind: 'interval', intervalMs: 1000 }
  const match = /^([1-9]\d*)(ms)?$/.exec(text)
  const intervalMs = Number(match?.[1])
  return intervalMs <= HOURS_MAX * 3_600_000 ? { kind: 'interval', intervalMs } : undefined
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
export function threadCounts (name: string, text: string): number[] {
  const takes = 'a count such as 8, a range such as 1-16, or a list such as 1,2,4, up to 1024'
  const range = /^(\d+)-(\d+)$/.exec(text)
  if (range !== null) {
    const [from, to] = [Number(range[1]), Number(range[2])]
    if (from < 1 || from > to || to > 1024) throw refusal(name, text, takes)
    return Array.from({ length: to - from + 1 }, (_, at) => from + at)
  }
  const counts = text.split(',').map((count) => /^\s*\d+\s*$/.test(count) ? Number(count) : 0)
  if (!counts.every((count) => count >= 1 && count <= 1024)) throw refusal(name, text, takes)
  return counts
}

/** '30s', '2m', '1h', '500ms', '30' (seconds). */
export function secondsFrom (name: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text)
  const seconds = match === null ? 0 : Number(match[1]) * { ms: 0.001, s: 1, m: 60, h: 3600 }[(match[2] ?? 's') as 'ms' | 's' | 'm' | 'h']
  if (!(seconds > 0 && seconds <= HOURS_MAX * 3600)) throw refusal(name, text, `a time above 0 such as 30s, 2m or 1h, up to ${HOURS_MAX}h`)
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
