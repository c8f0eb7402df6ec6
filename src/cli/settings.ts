/**
 * Gathers what the user said in a file, in the environment and on the command line into options for a broker. Pure but for reading the
 * file: the environment is a parameter.
 *
 * Environment names are those of Kafka's official image: KAFKA_ is dropped, the rest lower-cased, '_' becomes '.', '__' becomes '_' and
 * '___' becomes '-', so that a compose file for that image starts this broker, too.
 */
import { readFileSync } from 'node:fs'
import { parse } from 'dot-properties'
import type { BrokerOptions } from '../broker/options.js'
import type { FlushPolicy } from '../log/log.js'

export interface GivenOptions {
  readonly port?: number
  readonly host?: string
  readonly dataDir?: string
  readonly storage?: 'memory' | 'disk'
  readonly backend?: 'auto' | 'io_uring' | 'threads' | 'node:fs'
  readonly flush?: string
  readonly config?: string
  readonly override?: Readonly<Record<string, string>>
}

/** A mistake of the user's: printed without a stack. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

export interface GatheredSettings {
  readonly options: BrokerOptions
  /** Settings of a Kafka cluster that mean nothing here and are passed over. */
  readonly passedOver: readonly string[]
}

const PORT_DEFAULT = 9092
const DATA_DIR_DEFAULT = './haulout-data'

/** Environment names of the image that are no settings. */
const NOT_SETTINGS = new Set(['KAFKA_VERSION', 'KAFKA_HEAP_OPTS', 'KAFKA_LOG4J_OPTS', 'KAFKA_OPTS', 'KAFKA_JMX_OPTS', 'KAFKA_JVM_PERFORMANCE_OPTS',
  'KAFKA_GC_LOG_OPTS', 'KAFKA_LOG4J_ROOT_LOGLEVEL', 'KAFKA_LOG4J_LOGGERS', 'KAFKA_TOOLS_LOG4J_LOGLEVEL', 'KAFKA_JMX_HOSTNAME', 'KAFKA_JMX_PORT', 'KAFKA_HOME'])

/** What says how Kafka's own processes find each other: there is one process here. */
const CLUSTER_ONLY = /^(process\.roles|controller\..*|inter\.broker\.listener\.name|zookeeper\..*|broker\.id\.generation\.enable|metadata\.log\.dir)$/

export function gatherSettings (given: GivenOptions, environment: Readonly<Record<string, string | undefined>>): GatheredSettings {
  const settings: Record<string, string> = {
    ...(given.config !== undefined && readProperties(given.config)),
    ...kafkaEnvironment(environment),
    ...given.override
  }
  const passedOver = Object.keys(settings).filter((name) => CLUSTER_ONLY.test(name))
  for (const name of passedOver) delete settings[name]
  const take = (name: string): string | undefined => {
    const value = settings[name]
    delete settings[name]
    return value
  }
  const controllerListeners = new Set((passedOver.includes('controller.listener.names') ? 'CONTROLLER' : '').split(','))
  const listeners = withoutListeners(take('listeners'), controllerListeners)
  const advertisedListeners = withoutListeners(take('advertised.listeners'), controllerListeners)
  checkProtocols(take('listener.security.protocol.map'), listeners)
  const nodeId = take('node.id') ?? take('broker.id')
  const dataDir = given.dataDir ?? environment['HAULOUT_DATA_DIR'] ?? take('log.dirs') ?? take('log.dir') ?? DATA_DIR_DEFAULT
  delete settings['log.dirs']
  delete settings['log.dir']
  if (dataDir.includes(',')) throw new UsageError(`log.dirs '${dataDir}': this broker keeps its data in one folder`)
  const storage = given.storage ?? environment['HAULOUT_STORAGE'] ?? 'disk'
  if (storage !== 'disk' && storage !== 'memory') throw new UsageError(`HAULOUT_STORAGE is '${storage}': disk or memory expected`)
  const flush = given.flush ?? environment['HAULOUT_FLUSH']
  const backend = given.backend ?? backendOf(environment)
  const clusterId = environment['CLUSTER_ID']
  const options: BrokerOptions = {
    ...addressOf(given, environment, listeners),
    ...(advertisedListeners !== undefined && { advertisedListeners }),
    ...(storage === 'memory' ? { storage } : { dataDir }),
    ...(backend !== undefined && { storageBackend: backend }),
    ...(flush !== undefined && { flushPolicy: flushPolicyOf(flush) }),
    ...(nodeId !== undefined && { nodeId: integer('node.id', nodeId) }),
    ...(clusterId !== undefined && { clusterId }),
    config: settings
  }
  return { options, passedOver }
}

function addressOf (given: GivenOptions, environment: Readonly<Record<string, string | undefined>>, listeners: string | undefined): BrokerOptions {
  const port = given.port ?? (environment['HAULOUT_PORT'] === undefined ? undefined : integer('HAULOUT_PORT', environment['HAULOUT_PORT']))
  const host = given.host ?? environment['HAULOUT_HOST']
  if (port === undefined && host === undefined && listeners !== undefined) return { listeners }
  return { port: port ?? PORT_DEFAULT, ...(host !== undefined && { host }) }
}

/** WALRUS_DISABLE_IO_URING is the name that the store's ancestors know. */
function backendOf (environment: Readonly<Record<string, string | undefined>>): GivenOptions['backend'] {
  const backend = environment['HAULOUT_BACKEND']
  if (backend === undefined) return environment['WALRUS_DISABLE_IO_URING'] === '1' ? 'threads' : undefined
  if (!['auto', 'io_uring', 'threads', 'node:fs'].includes(backend)) throw new UsageError(`HAULOUT_BACKEND is '${backend}': auto, io_uring, threads or node:fs expected`)
  return backend as GivenOptions['backend']
}

function readProperties (file: string): Record<string, string> {
  try {
    return parse(readFileSync(file, 'utf8')) as Record<string, string>
  } catch (error) {
    throw new UsageError(`cannot read the settings in ${file}: ${(error as Error).message}`)
  }
}

export function kafkaEnvironment (environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const settings: Record<string, string> = {}
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined || !name.startsWith('KAFKA_') || NOT_SETTINGS.has(name)) continue
    const marks: Readonly<Record<number, string>> = { 1: '.', 2: '_', 3: '-' }
    settings[name.slice('KAFKA_'.length).toLowerCase().replace(/_{1,3}/g, (run) => marks[run.length]!)] = value
  }
  return settings
}

/** Listeners for Kafka's controller are no listeners of this broker. */
function withoutListeners (value: string | undefined, names: ReadonlySet<string>): string | undefined {
  return value?.split(',').filter((item) => !names.has(item.split('://')[0]!.trim())).join(',')
}

/** Only plaintext is served so far; a listener that should be safe must not be open. */
function checkProtocols (map: string | undefined, listeners: string | undefined): void {
  const protocols = new Map((map ?? '').split(',').filter((item) => item !== '').map((item) => item.split(':').map((part) => part.trim()) as [string, string]))
  for (const item of listeners?.split(',') ?? []) {
    const name = item.split('://')[0]!.trim().toUpperCase()
    const protocol = protocols.get(name) ?? (/^(SSL|SASL_PLAINTEXT|SASL_SSL)$/.test(name) ? name : 'PLAINTEXT')
    if (protocol !== 'PLAINTEXT') throw new UsageError(`listener ${name} asks for ${protocol}: this broker serves PLAINTEXT only so far`)
  }
}

export function flushPolicyOf (text: string): FlushPolicy {
  if (text === 'each' || text === 'none') return { kind: text }
  const match = /^(\d+) ?(ms|bytes)$/.exec(text)
  if (match === null) throw new UsageError(`flush policy '${text}': each, none, or a number with its unit (200ms, 65536bytes) expected`)
  const count = Number(match[1])
  return match[2] === 'ms' ? { kind: 'interval', intervalMs: count } : { kind: 'bytes', bytes: count }
}

function integer (name: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`${name} is '${text}': a number expected`)
  return Number(text)
}
