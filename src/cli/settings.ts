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
import { BACKEND_CHOICES, SEGMENT_COMPRESSIONS, type BackendChoice, type FlushPolicy, type SegmentCompression } from '../log/log.js'
import { isOn } from '../raw/options.js'

export interface GivenOptions {
  readonly port?: number
  readonly host?: string
  readonly metricsPort?: number
  readonly dataDir?: string
  readonly createIfMissing?: boolean
  readonly storage?: 'memory' | 'disk'
  readonly backend?: BackendChoice
  readonly flush?: string
  readonly segmentCompression?: string
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
  /** What the user should know but may have meant. */
  readonly warnings: readonly string[]
}

type Environment = Readonly<Record<string, string | undefined>>

const PORT_DEFAULT = 9092
const DATA_DIR_DEFAULT = './haulout-data'

/** Environment names of the image that are no settings. */
const NOT_SETTINGS = new Set(['KAFKA_VERSION', 'KAFKA_HEAP_OPTS', 'KAFKA_LOG4J_OPTS', 'KAFKA_OPTS', 'KAFKA_JMX_OPTS', 'KAFKA_JVM_PERFORMANCE_OPTS',
  'KAFKA_GC_LOG_OPTS', 'KAFKA_LOG4J_ROOT_LOGLEVEL', 'KAFKA_LOG4J_LOGGERS', 'KAFKA_TOOLS_LOG4J_LOGLEVEL', 'KAFKA_JMX_HOSTNAME', 'KAFKA_JMX_PORT', 'KAFKA_HOME'])

/** What says how Kafka's own processes find each other: there is one process here. */
const CLUSTER_ONLY = /^(process\.roles|controller\..*|inter\.broker\.listener\.name|zookeeper\..*|broker\.id\.generation\.enable|metadata\.log\.dir)$/

/** HAULOUT_PORT is --port and so on. */
const OWN_NAMES = ['PORT', 'HOST', 'METRICS_PORT', 'DATA_DIR', 'CREATE_IF_MISSING', 'STORAGE', 'BACKEND', 'FLUSH', 'SEGMENT_COMPRESSION', 'CONFIG', 'LOG_LEVEL'].map((name) => `HAULOUT_${name}`)

export function gatherSettings (given: GivenOptions, environment: Environment): GatheredSettings {
  const file = given.config ?? environment['HAULOUT_CONFIG']
  const settings: Record<string, string> = {
    ...(file !== undefined && readProperties(file)),
    ...kafkaEnvironment(environment),
    ...given.override
  }
  const take = (name: string): string | undefined => {
    const value = settings[name]
    delete settings[name]
    return value
  }
  const controllers = namesOf(settings['controller.listener.names'])
  const passedOver = Object.keys(settings).filter((name) => CLUSTER_ONLY.test(name))
  for (const name of passedOver) delete settings[name]
  const kafkaListeners = {
    listeners: withoutListeners(take('listeners'), controllers),
    advertisedListeners: withoutListeners(take('advertised.listeners'), controllers)
  }
  checkProtocols(take('listener.security.protocol.map'), kafkaListeners.listeners)
  const nodeId = take('node.id') ?? take('broker.id')
  const logDirs = [take('log.dirs'), take('log.dir')].find((value) => value !== undefined)
  const flush = given.flush ?? environment['HAULOUT_FLUSH']
  const compression = given.segmentCompression ?? environment['HAULOUT_SEGMENT_COMPRESSION']
  const backend = backendOf(given, environment)
  const metricsPort = portOf('METRICS_PORT', given.metricsPort, environment)
  const clusterId = environment['CLUSTER_ID']
  const { address, warnings } = addressOf(given, environment, kafkaListeners)
  const options: BrokerOptions = {
    ...address,
    ...(metricsPort !== undefined && { metricsPort }),
    ...folderOf(given, environment, logDirs),
    ...(backend !== undefined && { storageBackend: backend }),
    ...(flush !== undefined && { flushPolicy: flushPolicyOf(flush) }),
    ...(compression !== undefined && { segmentCompression: compressionOf(compression) }),
    ...(nodeId !== undefined && { nodeId: integer('node.id', nodeId) }),
    ...(clusterId !== undefined && clusterId !== '' && { clusterId }),
    config: settings
  }
  return { options, passedOver, warnings: [...warnings, ...unknownOwnNames(environment)] }
}

interface KafkaListeners {
  readonly listeners: string | undefined
  readonly advertisedListeners: string | undefined
}

/** A port or an address of the user's own stands for all that a file says about listeners. */
function addressOf (given: GivenOptions, environment: Environment, { listeners, advertisedListeners }: KafkaListeners): { address: BrokerOptions, warnings: string[] } {
  const port = portOf('PORT', given.port, environment)
  const host = given.host ?? environment['HAULOUT_HOST']
  if (port === undefined && host === undefined) {
    const address = listeners === undefined ? { port: PORT_DEFAULT } : { listeners }
    return { address: { ...address, ...(advertisedListeners !== undefined && { advertisedListeners }) }, warnings: [] }
  }
  const warnings = listeners === undefined && advertisedListeners === undefined ? [] : ['a port or host was given: listeners and advertised.listeners have no effect']
  return { address: { port: port ?? PORT_DEFAULT, ...(host !== undefined && { host }) }, warnings }
}

function portOf (name: 'PORT' | 'METRICS_PORT', given: number | undefined, environment: Environment): number | undefined {
  const text = environment[`HAULOUT_${name}`]
  return given ?? (text === undefined ? undefined : integer(`HAULOUT_${name}`, text))
}

function folderOf (given: GivenOptions, environment: Environment, logDirs: string | undefined): BrokerOptions {
  const storage = given.storage ?? environment['HAULOUT_STORAGE'] ?? 'disk'
  if (storage !== 'disk' && storage !== 'memory') throw new UsageError(`HAULOUT_STORAGE is '${storage}': disk or memory expected`)
  if (storage === 'memory') {
    if (given.dataDir !== undefined) throw new UsageError('--storage memory keeps nothing: leave out --data-dir, or --storage')
    return { storage }
  }
  const dataDir = given.dataDir ?? environment['HAULOUT_DATA_DIR'] ?? logDirs ?? DATA_DIR_DEFAULT
  if (dataDir.includes(',')) throw new UsageError(`log.dirs '${dataDir}': this broker keeps its data in one folder`)
  if (dataDir === '') throw new UsageError('the data folder has no name: give one with --data-dir')
  return { dataDir, ...(createsIfMissing(given, environment) ? {} : { createIfMissing: false }) }
}

function createsIfMissing (given: GivenOptions, environment: Environment): boolean {
  const text = environment['HAULOUT_CREATE_IF_MISSING'] ?? 'true'
  if (text !== 'true' && text !== 'false') throw new UsageError(`HAULOUT_CREATE_IF_MISSING is '${text}': true or false expected`)
  return given.createIfMissing !== false && text === 'true'
}

function unknownOwnNames (environment: Environment): string[] {
  return Object.keys(environment)
    .filter((name) => name.startsWith('HAULOUT_') && !OWN_NAMES.includes(name))
    .map((name) => `${name} in the environment has no effect: there are ${OWN_NAMES.join(', ')}`)
}

function namesOf (list: string | undefined): ReadonlySet<string> {
  return new Set((list ?? '').split(',').map((name) => name.trim().toUpperCase()).filter((name) => name !== ''))
}

/** WALRUS_DISABLE_IO_URING is the name that the store's ancestors know: it decides where nobody named a backend. */
function backendOf (given: GivenOptions, environment: Environment): BackendChoice | undefined {
  const backend = given.backend ?? environment['HAULOUT_BACKEND']
  const choice = BACKEND_CHOICES.find((each) => each === backend)
  if (backend !== undefined && choice === undefined) throw new UsageError(`HAULOUT_BACKEND is '${backend}': one of ${BACKEND_CHOICES.join(', ')} expected`)
  const isOpen = choice === undefined || choice === 'auto'
  return isOpen && isOn(environment['WALRUS_DISABLE_IO_URING']) ? 'threads' : choice
}

/** Values may have spaces around them, as Kafka takes them. */
function readProperties (file: string): Record<string, string> {
  try {
    const read = parse(readFileSync(file, 'utf8')) as Record<string, string>
    return Object.fromEntries(Object.entries(read).map(([name, value]) => [name, value.trim()]))
  } catch (error) {
    throw new UsageError(`cannot read the settings in ${file}: ${(error as Error).message}`)
  }
}

export function kafkaEnvironment (environment: Environment): Record<string, string> {
  const settings: Record<string, string> = {}
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined || !/^KAFKA_./.test(name) || NOT_SETTINGS.has(name)) continue
    const marks: Readonly<Record<number, string>> = { 1: '.', 2: '_', 3: '-' }
    settings[name.slice('KAFKA_'.length).toLowerCase().replace(/_{1,3}/g, (run) => marks[run.length]!)] = value
  }
  return settings
}

/** Listeners for Kafka's controller are no listeners of this broker. */
function withoutListeners (value: string | undefined, names: ReadonlySet<string>): string | undefined {
  const left = value?.split(',').filter((item) => !names.has(item.split('://')[0]!.trim().toUpperCase()))
  return left === undefined || left.length === 0 ? undefined : left.join(',')
}

/** Only plaintext is served so far; a listener that should be safe must not be open. */
function checkProtocols (map: string | undefined, listeners: string | undefined): void {
  const protocols = new Map((map ?? '').split(',').filter((item) => item !== '').map((item) => item.split(':').map((part) => part.trim().toUpperCase()) as [string, string]))
  for (const item of listeners?.split(',') ?? []) {
    const name = item.split('://')[0]!.trim().toUpperCase()
    const protocol = protocols.get(name) ?? (/^(SSL|SASL_PLAINTEXT|SASL_SSL)$/.test(name) ? name : 'PLAINTEXT')
    if (protocol !== 'PLAINTEXT') throw new UsageError(`listener ${name} asks for ${protocol}: this broker serves PLAINTEXT only so far`)
  }
}

function compressionOf (text: string): SegmentCompression {
  const found = SEGMENT_COMPRESSIONS.find((name) => name === text)
  if (found === undefined) throw new UsageError(`segment compression '${text}': ${SEGMENT_COMPRESSIONS.join(', ')} expected`)
  return found
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
