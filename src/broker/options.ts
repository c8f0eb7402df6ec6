/** What `Broker.start` takes. */
import type { Logger } from 'pino'
import type { FlushPolicy } from '../log/log.js'
import type { Clock } from './clock.js'
import type { Limits } from './limits.js'

export interface ListenerOptions {
  /** Kafka's listener name. Default 'PLAINTEXT'. */
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
  /** Folder of the broker's data: made if missing, locked while open. Implies storage 'disk'. */
  readonly dataDir?: string
  /** I/O of the store on disk. Default 'auto': the best that works here. */
  readonly storageBackend?: 'auto' | 'io_uring' | 'threads' | 'node:fs'
  /** When an acknowledgement may be sent. Default `{ kind: 'each' }`: when the records are on stable storage. */
  readonly flushPolicy?: FlushPolicy
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

const LISTENER = /^([A-Za-z][A-Za-z0-9_.-]*):\/\/(?:\[([0-9a-fA-F:]+)\]|([^:[\]/]*)):(\d{1,5})$/

/** Parses Kafka's `listeners`: 'NAME://host:port,NAME://host:port'. Throws TypeError that says what is wrong. */
export function parseListeners (value: string): ListenerOptions[] {
  const listeners = value.split(',').map((item) => parseListener(item.trim()))
  const names = new Set(listeners.map(({ name }) => name))
  if (names.size < listeners.length) throw new TypeError(`listeners '${value}': each name may stand once only`)
  return listeners
}

function parseListener (item: string): ListenerOptions {
  const match = LISTENER.exec(item)
  if (match === null) throw new TypeError(`listener '${item}' is not of the form NAME://host:port, e.g. PLAINTEXT://127.0.0.1:9092`)
  const port = Number(match[4])
  if (port > 65535) throw new TypeError(`listener '${item}': a port is at most 65535`)
  return { name: match[1]!.toUpperCase(), host: match[2] ?? match[3]!, port }
}

/** The listeners of a broker with what clients of each are told. */
export function resolveListeners (options: BrokerOptions): ListenerOptions[] {
  const listeners = options.listeners === undefined
    ? [{ name: 'PLAINTEXT', host: options.host ?? '127.0.0.1', port: options.port ?? 0 }]
    : typeof options.listeners === 'string' ? parseListeners(options.listeners) : [...options.listeners]
  if (options.advertisedListeners === undefined) return listeners
  const advertised = new Map(parseListeners(options.advertisedListeners).map((listener) => [listener.name, listener]))
  for (const name of advertised.keys()) {
    if (!listeners.some((listener) => listener.name === name)) throw new TypeError(`advertised.listeners names ${name}, which is no listener`)
  }
  return listeners.map((listener) => {
    const told = advertised.get(listener.name)
    return told === undefined ? listener : { ...listener, advertisedHost: told.host, ...(told.port !== 0 && { advertisedPort: told.port }) }
  })
}
