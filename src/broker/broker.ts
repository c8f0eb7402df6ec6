/**
 * The broker: the one place that builds every part and hands each what it needs. `Broker.start` resolves when clients are served;
 * `close` leaves no handle, timer, file or thread behind.
 */
import { randomUUID } from 'node:crypto'
import path from 'node:path'
import type { Logger } from 'pino'
import type { LogStore, StorageBackend } from '../log/log.js'
import { MemoryLogStore } from '../log/memory-log.js'
import { nativeCrc32c } from '../log/native-log.js'
import { openStore } from '../log/open-store.js'
import { useCrc32c } from '../crc32c.js'
import type { Cluster } from './cluster.js'
import { AppendStatistics } from './append-statistics.js'
import { systemClock, type Clock } from './clock.js'
import { parseBrokerConfig, type BrokerConfig } from './config/broker-config.js'
import { Dispatcher, supportedVersions } from './dispatcher.js'
import { FetchMemory } from './fetch/fetch-memory.js'
import { createFetchSessions } from './fetch/sessions.js'
import { openGroupCoordinator } from './groups/group-coordinator.js'
import { HANDLERS } from './handlers/index.js'
import { healthFacts, judgeHealth, type Health, type HealthSources } from './health.js'
import { LimitedLog } from './limited-log.js'
import { DEFAULT_LIMITS, type Limits } from './limits.js'
import { connectionsWithin, openFilesMax } from './open-files.js'
import { Listeners } from './listener.js'
import { logDirOf } from './log-dir.js'
import type { MetricsSources } from './metrics.js'
import type { MetricsServer } from './metrics-server.js'
import { checkOptions, OptionError, resolveListeners, type BrokerOptions } from './options.js'
import { ProducerSnapshotLog } from './partitions/producer-snapshot-log.js'
import { ProducerSnapshots } from './partitions/producer-snapshots.js'
import { ProducerIds } from './producer-ids.js'
import { Retention } from './retention.js'
import type { Services } from './services.js'
import { SILENT_LOGGER } from './silent-logger.js'
import { MetadataLog } from './topics/metadata-log.js'
import { clusterRecord } from './topics/metadata-state.js'
import { openTopics } from './topics/topic-registry.js'

/** What closes, in the order in which it was opened; closed in the reverse order. */
type Closeable = () => Promise<void>

/** What a broker is built of. */
interface Parts {
  readonly listeners: Listeners
  /** Closed from the last to the first. */
  readonly closeables: Closeable[]
  readonly storage: StorageBackend
  readonly dataDir: string | undefined
  readonly cluster: Cluster
  readonly retention: Retention
  /** What health and metrics are read from. */
  readonly sources: HealthSources & Omit<MetricsSources, 'health'>
}

export class Broker {
  private phase: 'serving' | 'closing' | 'closed' = 'serving'
  private closing: Promise<void> | undefined
  private metricsServer: MetricsServer | undefined

  private constructor (private readonly parts: Parts) {}

  /**
   * Starts a broker and resolves when it serves clients. Rejects with `LogError` (folder locked by another broker, no permission,
   * damaged data), `ConfigError` (a setting that cannot be), `OptionError` (a TypeError: options that cannot be) or the error of listen(2)
   * (EADDRINUSE, EACCES); nothing stays open then.
   */
  static async start (options: BrokerOptions = {}): Promise<Broker> {
    const closeables: Closeable[] = []
    try {
      const broker = new Broker(await build(options, closeables))
      if (options.metricsPort !== undefined) await broker.openMetrics(options, options.metricsPort)
      return broker
    } catch (error) {
      // The reason is what went wrong first.
      await closeAll(closeables).catch(() => {})
      throw error
    }
  }

  /** I/O that keeps the records, and why. */
  get storage (): StorageBackend { return this.parts.storage }
  /** Folder of the data; undefined in memory. */
  get dataDir (): string | undefined { return this.parts.dataDir }
  get clusterId (): string { return this.parts.cluster.clusterId }
  get nodeId (): number { return this.parts.cluster.nodeId }

  /** What clients are told: '127.0.0.1:41234', or '[::1]:41234'. With several listeners, the address of each, separated by commas. */
  get bootstrapServers (): string { return this.brokers.join(',') }

  /** The same as a list, the way kafkajs takes it. */
  get brokers (): string[] {
    const { listeners } = this.parts
    return listeners.names.map((name) => {
      const { host, port } = listeners.endpoint(name)
      return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
    })
  }

  /** Port that the first listener is bound to. */
  get port (): number { return this.parts.listeners.boundPort(this.parts.listeners.names[0]!) }

  /** Port that metrics and health are served on; undefined where they are not. */
  get metricsPort (): number | undefined { return this.metricsServer?.port }

  /** Clients connected now. */
  get connectionCount (): number { return this.parts.listeners.connectionCount }

  /** How the broker is now, and what to do about it. Looks at what is known; touches no disk but for the space that is left. */
  health (): Health {
    switch (this.phase) {
      case 'serving': return judgeHealth(healthFacts(this.parts.sources))
      case 'closing': return { status: 'degraded', reasons: ['the broker is closing: it takes no more connections'] }
      case 'closed': return { status: 'failed', reasons: ['the broker is closed: start it again'] }
    }
  }

  /** Removes what topics keep no longer, now instead of at the next log.retention.check.interval.ms. For tests. */
  async applyRetention (): Promise<void> {
    await this.parts.retention.runNow()
  }

  /** Finishes the requests in work, makes everything durable and releases every resource. Idempotent. */
  async close (): Promise<void> {
    if (this.phase === 'serving') this.phase = 'closing'
    await (this.closing ??= closeAll(this.parts.closeables).finally(() => { this.phase = 'closed' }))
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.close()
  }

  /** They are answered until all else is closed. */
  private async openMetrics (options: BrokerOptions, port: number): Promise<void> {
    const { MetricsServer } = await import('./metrics-server.js')
    const server = await MetricsServer.open({
      ...this.parts.sources,
      health: () => this.health(),
      isServing: () => this.phase === 'serving',
      host: resolveListeners(options)[0]!.host,
      port,
      keepsProcessAlive: keepsProcessAlive(options),
      logger: options.logger ?? SILENT_LOGGER
    })
    this.metricsServer = server
    this.parts.closeables.unshift(async () => { await server.close() })
  }
}

async function build (options: BrokerOptions, closeables: Closeable[]): Promise<Parts> {
  checkOptions(options)
  const logger = options.logger ?? SILENT_LOGGER
  const clock = options.clock ?? systemClock
  const listenerOptions = resolveListeners(options)
  const nodeId = options.nodeId ?? 1
  const { config, unknown } = parseBrokerConfig({
    ...options.config,
    // Given by options of their own; DescribeConfigs tells them under Kafka's names.
    'node.id': nodeId,
    ...(options.dataDir !== undefined && { 'log.dirs': path.resolve(options.dataDir) })
  })
  for (const { name, nearest } of unknown) {
    logger.warn(`unknown setting ${name}: it has no effect${nearest === undefined ? '' : `; did you mean ${nearest}?`}`)
  }
  const store = await openStoreFor(options)
  closeables.push(async () => { await store.close() })
  const statistics = new AppendStatistics(logger)
  const metadata = await MetadataLog.open({ store, config, clock, logger, statistics })
  closeables.push(async () => { await metadata.close() })
  const clusterId = await rememberedClusterId(metadata, options.clusterId)
  const snapshotLog = await openSnapshotLog({ store, config, clock, logger, statistics }, closeables)
  const snapshots = snapshotLog === undefined ? undefined : new ProducerSnapshots(snapshotLog, logger)
  const topics = await openTopics({ store, metadata, config, clock, logger, statistics, ...(snapshots !== undefined && { snapshots }) })
  closeables.push(async () => { await topics.close() })
  // Before the partitions close: what they know of producers is stored, so that the next start reads no records.
  closeables.push(async () => { await snapshots?.close() })
  const retention = new Retention({ topics, config, clock, logger })
  closeables.push(async () => { await retention.close() })
  const groups = await openGroupCoordinator({ topics, config, clock, logger })
  let listeners: Listeners
  const cluster: Cluster = { clusterId, nodeId, rack: config['broker.rack'], endpoint: (name) => listeners.endpoint(name) }
  const services: Services = {
    clock,
    logger,
    config,
    cluster,
    topics,
    logDir: logDirOf(options.dataDir),
    fetchSessions: createFetchSessions({ clock, slotsMax: config['max.incremental.fetch.session.cache.slots'] }),
    fetchMemory: new FetchMemory(),
    groups,
    producerIds: new ProducerIds(metadata),
    supportedApis: HANDLERS.map(supportedVersions)
  }
  const log = new LimitedLog(logger, clock)
  const dispatcher = new Dispatcher(HANDLERS, services, log)
  listeners = new Listeners({ dispatcher, limits: limitsOf(config, options, logger), clock, log, keepsProcessAlive: keepsProcessAlive(options), sockets: options.sockets ?? 'auto' })
  closeables.push(async () => { await closeClients(listeners, groups) })
  for (const listener of listenerOptions) await listeners.open(listener)
  const ownLogs = [metadata.partition, ...(snapshotLog === undefined ? [] : [snapshotLog.partition])]
  const sources = { topics, ownLogs, groups, dispatcher, listeners, statistics, store, clock, freeSpace: topics.freeSpace, place: services.logDir.path }
  return { listeners, closeables, storage: store.backend, dataDir: options.dataDir, cluster, retention, sources }
}

function keepsProcessAlive ({ keepsProcessAlive, dataDir }: BrokerOptions): boolean {
  return keepsProcessAlive ?? dataDir !== undefined
}

/** Groups first: members that wait for others are told to look for another coordinator, so that their connections can drain. */
async function closeClients (listeners: Listeners, groups: { close: () => Promise<void> }): Promise<void> {
  listeners.stopAccepting()
  await groups.close()
  await listeners.close()
}

/** Memory survives nothing, so there is nothing to start faster from. */
async function openSnapshotLog (options: Parameters<typeof ProducerSnapshotLog.open>[0], closeables: Closeable[]): Promise<ProducerSnapshotLog | undefined> {
  if (options.store.backend.name === 'memory') return undefined
  const log = await ProducerSnapshotLog.open(options)
  closeables.push(async () => { await log.close() })
  return log
}

async function openStoreFor (options: BrokerOptions): Promise<LogStore> {
  const { dataDir } = options
  if (dataDir === undefined) return new MemoryLogStore()
  const faster = nativeCrc32c()
  if (faster !== undefined) useCrc32c(faster)
  return await openStore({
    dataDir,
    ...(options.createIfMissing !== undefined && { createIfMissing: options.createIfMissing }),
    ...(options.storageBackend !== undefined && { backend: options.storageBackend }),
    ...(options.flushPolicy !== undefined && { flushPolicy: options.flushPolicy }),
    ...(options.segmentCompression !== undefined && { segmentCompression: options.segmentCompression })
  })
}

/** The id that the data has for ever; made at the first start. */
async function rememberedClusterId (metadata: MetadataLog, wanted: string | undefined): Promise<string> {
  const known = metadata.state.clusterId
  if (known !== undefined) {
    if (wanted !== undefined && wanted !== known) throw new OptionError(`the data belongs to the cluster ${known}, not to ${wanted}`)
    return known
  }
  const clusterId = wanted ?? Buffer.from(randomUUID().replaceAll('-', ''), 'hex').toString('base64url')
  const refusal = await metadata.write([clusterRecord(clusterId)])
  if (refusal !== undefined) throw new Error(`cannot write to the data folder: ${refusal.errorMessage}`)
  return clusterId
}

function limitsOf (config: BrokerConfig, options: BrokerOptions, logger: Logger): Limits {
  const { given } = config
  const limits = {
    ...DEFAULT_LIMITS,
    requestBytesMax: config['socket.request.max.bytes'],
    idleMsMax: config['connections.max.idle.ms'],
    ...(given.has('max.connections') && { connectionsMax: config['max.connections'] }),
    ...(given.has('max.connections.per.ip') && { connectionsPerAddressMax: config['max.connections.per.ip'] }),
    ...options.limits
  }
  const filesMax = openFilesMax()
  const connectionsMax = connectionsWithin(limits.connectionsMax, filesMax)
  if (connectionsMax < limits.connectionsMax) {
    logger.warn(`max.connections is ${connectionsMax} and not ${limits.connectionsMax}: this process may have only ${filesMax} files and sockets open (ulimit -n)`)
  }
  return { ...limits, connectionsMax }
}

/** What cannot be closed in order, on a disk that failed, keeps nothing else open; the first error is told at the end. */
async function closeAll (closeables: readonly Closeable[]): Promise<void> {
  const errors: unknown[] = []
  for (const close of [...closeables].reverse()) await close().catch((error: unknown) => errors.push(error))
  if (errors.length > 0) throw errors[0]
}

export type { Clock, Logger }
