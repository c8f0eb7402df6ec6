/** What `Broker.start` takes, and what it refuses. */
import type { Logger } from 'pino'
import { BACKEND_CHOICES, SEGMENT_COMPRESSIONS, type BackendChoice, type FlushPolicy, type SegmentCompression } from '../log/log.js'
import type { Clock } from './clock.js'
import { nearestName } from './config/definition.js'
import { DEFAULT_LIMITS, type Limits } from './limits.js'

export interface ListenerOptions {
  /** Kafka's listener name, e.g. 'PLAINTEXT'. */
  readonly name: string
  /** Address to bind. */
  readonly host: string
  /** TCP port; 0 takes a free one. */
  readonly port: number
  /** What clients are told, where it is not the bound address. */
  readonly advertisedHost?: string
  readonly advertisedPort?: number
}

export interface BrokerOptions {
  /** TCP port of the only listener; 0 (the default) takes a free one. */
  readonly port?: number
  /** Address that the only listener binds. Default 127.0.0.1. */
  readonly host?: string
  /** Several listeners instead of `host` and `port`, as objects or in Kafka's form 'PLAINTEXT://127.0.0.1:9092,OUTSIDE://0.0.0.0:9093'. */
  readonly listeners?: readonly ListenerOptions[] | string
  /** What clients of each listener are told, in Kafka's form (`advertised.listeners`). */
  readonly advertisedListeners?: string
  /** 'memory' (the default without `dataDir`): nothing survives the broker. */
  readonly storage?: 'memory' | 'disk'
  /** Serves metrics and health over HTTP on this port of the first listener's address; 0 takes a free one. Default: not at all. */
  readonly metricsPort?: number
  /** Folder of the broker's data: made if missing, locked while open. Implies storage 'disk'. */
  readonly dataDir?: string
  /** False: a data folder that has no data yet is refused, because its disk may not be mounted. Default true. */
  readonly createIfMissing?: boolean
  /** I/O of the store on disk. Default 'auto': the best that works here. */
  readonly storageBackend?: BackendChoice
  /** What accepts and serves connections. Default 'auto': the addon, where there is one, else Node's net, which 'node' asks for. */
  readonly sockets?: 'auto' | 'node'
  /** When an acknowledgement may be sent. Default `{ kind: 'each' }`: when the records are on stable storage. */
  readonly flushPolicy?: FlushPolicy
  /**
   * What sealed segments are compressed with in the background, whatever producers compress: 'zstd' or 'lz4'. Default 'none'. Offsets, sizes
   * that limits are about (retention.bytes) and what clients read stay as they are.
   */
  readonly segmentCompression?: SegmentCompression
  /** Settings under Kafka's server.properties names. */
  readonly config?: Readonly<Record<string, string | number | boolean>>
  /** Kafka's `node.id`. Default 1. */
  readonly nodeId?: number
  /** Default: the one that the data folder has, else a new one. */
  readonly clusterId?: string
  /** A pino logger. Default: silent. */
  readonly logger?: Logger
  /**
   * Whether the process runs as long as the broker is open. Default: with `dataDir` yes, as any server; in memory no, so that a
   * test that forgets `close()` ends all the same.
   */
  readonly keepsProcessAlive?: boolean
  /** Default: the system's. */
  readonly clock?: Clock
  /** Limits that have no name in Kafka's settings; for tests. */
  readonly limits?: Partial<Limits>
}

/** An option of `Broker.start` that cannot be: a mistake of the caller's. */
export class OptionError extends TypeError {
  override readonly name = 'OptionError'
}

type Check = (value: unknown) => boolean

const isText: Check = (value) => typeof value === 'string' && value !== ''
const isPort: Check = (value) => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65535
const isObject: Check = (value) => typeof value === 'object' && value !== null && !Array.isArray(value)
const isOneOf = (...values: readonly string[]): Check => (value) => values.includes(value as string)
const hasFunctions = (...names: readonly string[]): Check => (value) => isObject(value) && names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function')

/** Each option: how it is checked, and what is told when it is something else. */
const CHECKS: Readonly<Record<keyof BrokerOptions, readonly [check: Check, expected: string]>> = {
  port: [isPort, 'a number from 0 (any free port) to 65535'],
  host: [(value) => typeof value === 'string', 'an address to bind, e.g. 127.0.0.1'],
  listeners: [(value) => isText(value) || (Array.isArray(value) && value.length > 0), "a list of { name, host, port }, or text like 'PLAINTEXT://127.0.0.1:9092'"],
  advertisedListeners: [isText, "text like 'PLAINTEXT://broker.lan:9092'"],
  storage: [isOneOf('memory', 'disk'), "'memory' or 'disk'"],
  metricsPort: [isPort, 'a number from 0 (any free port) to 65535'],
  dataDir: [isText, 'the name of a folder'],
  createIfMissing: [(value) => typeof value === 'boolean', 'true or false'],
  storageBackend: [isOneOf(...BACKEND_CHOICES), `one of ${BACKEND_CHOICES.map((name) => `'${name}'`).join(', ')}`],
  sockets: [isOneOf('auto', 'node'), "'auto' or 'node'"],
  flushPolicy: [isFlushPolicy, "{ kind: 'each' }, { kind: 'none' }, { kind: 'interval', intervalMs } or { kind: 'bytes', bytes }"],
  segmentCompression: [isOneOf(...SEGMENT_COMPRESSIONS), `one of ${SEGMENT_COMPRESSIONS.map((name) => `'${name}'`).join(', ')}`],
  config: [isObject, "settings by name, e.g. { 'num.partitions': 4 }"],
  nodeId: [(value) => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 2 ** 31 - 1, 'a whole number from 0 to 2147483647'],
  clusterId: [(value) => typeof value === 'string' && /^[\w-]{1,255}$/.test(value), 'letters, digits, - and _, e.g. 4L6g3nShT-eMCtK--X86sw'],
  logger: [hasFunctions('debug', 'info', 'warn', 'error'), 'a pino logger'],
  keepsProcessAlive: [(value) => typeof value === 'boolean', 'true or false'],
  clock: [hasFunctions('now', 'monotonic', 'setTimer'), 'an object with now, monotonic and setTimer'],
  limits: [(value) => isObject(value) && Object.entries(value as object).every(([name, limit]) => name in DEFAULT_LIMITS && typeof limit === 'number' && limit >= 0),
    `numbers by name: ${Object.keys(DEFAULT_LIMITS).join(', ')}`]
}

function isFlushPolicy (value: unknown): boolean {
  const { kind, intervalMs, bytes } = (value ?? {}) as Record<string, unknown>
  if (kind === 'interval') return typeof intervalMs === 'number' && intervalMs > 0
  if (kind === 'bytes') return typeof bytes === 'number' && bytes > 0
  return kind === 'each' || kind === 'none'
}

/** Throws OptionError for an option that does not exist or cannot be what it is: not everybody writes TypeScript. */
export function checkOptions (options: BrokerOptions): void {
  if (!isObject(options)) throw new OptionError(`Broker.start takes an object of options, not ${printed(options)}`)
  for (const [name, value] of Object.entries(options)) {
    const known = CHECKS[name as keyof BrokerOptions]
    if (known === undefined) {
      const nearest = nearestName(name, Object.keys(CHECKS))
      throw new OptionError(`there is no option ${name}${nearest === undefined ? '' : `; did you mean ${nearest}?`} Kafka's settings go into config`)
    }
    if (value !== undefined && !known[0](value)) throw new OptionError(`option ${name} is ${printed(value)}: ${known[1]} expected`)
  }
  if (options.listeners !== undefined && (options.port !== undefined || options.host !== undefined)) {
    throw new OptionError('listeners says where to listen: leave out port and host')
  }
  if (options.storage === 'memory' && options.dataDir !== undefined) throw new OptionError("storage 'memory' keeps nothing in a folder: leave out dataDir, or storage")
  if (options.storage === 'disk' && options.dataDir === undefined) throw new OptionError("storage 'disk' needs a folder: give dataDir")
}

function printed (value: unknown): string {
  if (typeof value === 'string') return `'${value}'`
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return String(value)
  return Array.isArray(value) ? 'a list' : typeof value === 'object' ? 'an object with something else' : `a ${typeof value}`
}

function checkListener (listener: ListenerOptions): void {
  if (!isObject(listener) || !isText(listener.name) || typeof listener.host !== 'string' || !isPort(listener.port)) {
    throw new OptionError("each of listeners is { name: 'PLAINTEXT', host: '127.0.0.1', port: 9092 }, with advertisedHost and advertisedPort if clients are told others")
  }
}

const LISTENER = /^([A-Za-z][A-Za-z0-9_.-]*):\/\/(?:\[([0-9a-fA-F:]+)\]|([^:[\]/]*)):(\d{1,5})$/

/** Parses Kafka's `listeners`: 'NAME://host:port,NAME://host:port'. Throws TypeError that says what is wrong. */
export function parseListeners (value: string): ListenerOptions[] {
  const listeners = value.split(',').map((item) => parseListener(item.trim()))
  checkNames(listeners, `listeners '${value}'`)
  return listeners
}

function checkNames (listeners: readonly ListenerOptions[], what: string): void {
  if (new Set(listeners.map(({ name }) => name)).size < listeners.length) throw new OptionError(`${what}: each name may stand once only`)
}

function parseListener (item: string): ListenerOptions {
  const match = LISTENER.exec(item)
  if (match === null) throw new OptionError(`listener '${item}' is not of the form NAME://host:port, e.g. PLAINTEXT://127.0.0.1:9092`)
  const port = Number(match[4])
  if (port > 65535) throw new OptionError(`listener '${item}': a port is at most 65535`)
  return { name: match[1]!.toUpperCase(), host: match[2] ?? match[3]!, port }
}

/** The listeners of a broker with what clients of each are told. */
export function resolveListeners (options: BrokerOptions): ListenerOptions[] {
  const listeners = options.listeners === undefined
    ? [{ name: 'PLAINTEXT', host: options.host ?? '127.0.0.1', port: options.port ?? 0 }]
    : typeof options.listeners === 'string' ? parseListeners(options.listeners) : [...options.listeners]
  for (const listener of listeners) checkListener(listener)
  checkNames(listeners, 'listeners')
  if (options.advertisedListeners === undefined) return listeners
  const advertised = new Map(parseListeners(options.advertisedListeners).map((listener) => [listener.name, listener]))
  for (const name of advertised.keys()) {
    if (!listeners.some((listener) => listener.name === name)) throw new OptionError(`advertised.listeners names ${name}, which is no listener`)
  }
  return listeners.map((listener) => {
    const told = advertised.get(listener.name)
    return told === undefined ? listener : { ...listener, advertisedHost: told.host, ...(told.port !== 0 && { advertisedPort: told.port }) }
  })
}
