/**
 * The topics on their metadata log. A change is first durable there, then done: partitions are opened after a creation is on
 * stable storage, and logs of a deleted topic are removed after the deletion is, so that a crash at any point leaves the old state or
 * the new one. A removal that a crash cut short is finished at the next start, before anything is opened.
 */
import { randomBytes } from 'node:crypto'
import type { Logger } from 'pino'
import type { LogStore } from '../../log/log.js'
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'
import type { BrokerConfig } from '../config/broker-config.js'
import { ConfigError } from '../config/definition.js'
import { parseTopicConfig, type TopicConfig } from '../config/topic-config.js'
import type { AppendStatistics } from '../append-statistics.js'
import type { Clock } from '../clock.js'
import { FreeSpace } from '../free-space.js'
import { openPartition, partitionLogNames, type Partition } from '../partitions/partition.js'
import { storageRefusal } from '../partitions/storage-refusal.js'
import { PRODUCER_SNAPSHOTS_TOPIC } from '../partitions/producer-snapshot-log.js'
import type { ProducerSnapshots } from '../partitions/producer-snapshots.js'
import { METADATA_TOPIC, type MetadataLog } from './metadata-log.js'
import { removalRecord, topicDeletedRecord, topicRecord, type RemovalRecord, type TopicRecord } from './metadata-state.js'
import { checkPartitionCount, checkReplicationFactor, checkTopicName, foldedName, INTERNAL_TOPICS, refuse } from './topic-validation.js'
import type { NewTopic, Topic, TopicChange, Topics } from './topics.js'

export interface TopicRegistryOptions {
  readonly store: LogStore
  readonly metadata: MetadataLog
  readonly config: BrokerConfig
  readonly clock: Clock
  readonly logger: Logger
  /** Where partitions keep what they know of producers; without it every start reads all records. */
  readonly snapshots?: ProducerSnapshots
  /** Where appends are counted. */
  readonly statistics?: AppendStatistics
}

/** How many partitions are opened or removed at the same time. */
const OPENING_COUNT_MAX = 64

class RegisteredTopic implements Topic {
  readonly partitions: Partition[] = []
  constructor (public record: TopicRecord, public config: TopicConfig) {}
  get name (): string { return this.record.name }
  get id (): string { return this.record.id }
  get internal (): boolean { return this.record.internal }
  get replicationFactor (): number { return this.record.replicationFactor }
}

/** Opens every topic that the metadata log has. Rejects with `LogError` when one cannot be opened. */
export async function openTopics (options: TopicRegistryOptions): Promise<TopicRegistry> {
  const registry = new TopicRegistry(options)
  await registry.open()
  return registry
}

export class TopicRegistry implements Topics {
  private readonly byName = new Map<string, RegisteredTopic>()
  private readonly byId = new Map<string, RegisteredTopic>()
  private readonly listeners = new Set<(change: TopicChange) => void>()
  /** By folded name: changes wait for each other; the promise resolves when the last one asked for is done. */
  private readonly busy = new Map<string, Promise<unknown>>()
  private readonly creating = new Map<string, Promise<Topic | Refusal>>()

  readonly freeSpace: FreeSpace

  constructor (private readonly options: TopicRegistryOptions) {
    this.freeSpace = new FreeSpace(options.store, options.config['haulout.min.free.bytes'], options.clock)
  }

  async open (): Promise<void> {
    const { metadata, config } = this.options
    for (const [id, removal] of [...metadata.state.removals]) {
      const refusal = await this.finishRemoval(id, removal)
      if (refusal !== undefined) throw new Error(`the logs of the deleted topic ${removal.name} cannot be removed: ${refusal.errorMessage}`)
    }
    await this.setAsideStrays()
    for (const record of metadata.state.topics.values()) {
      this.add(new RegisteredTopic(record, parseTopicConfig(new Map(Object.entries(record.configs)), config)))
    }
    await forEach([...this.byName.values()], OPENING_COUNT_MAX, (topic) => this.openPartitions(topic, topic.record.partitionCount))
    await this.options.snapshots?.dropUnclaimed()
  }

  get (name: string): Topic | undefined { return this.byName.get(name) }
  getById (id: string): Topic | undefined { return this.byId.get(id) }

  all (): readonly Topic[] {
    return [...this.byName.values()].sort((one, other) => one.name < other.name ? -1 : 1)
  }

  async create (topic: NewTopic): Promise<Topic | Refusal> {
    return await this.exclusively(topic.name, async () => {
      const record = this.planned(topic)
      if ('errorCode' in record) return record
      const registered = new RegisteredTopic(record, parseTopicConfig(new Map(Object.entries(record.configs)), this.options.config))
      if (topic.validateOnly === true) return registered
      return await this.finishRemovalsOf(topic.name) ?? await this.write([topicRecord(record)]) ?? await this.opened(registered)
    })
  }

  async getOrCreate (name: string): Promise<Topic | Refusal> {
    const existing = this.byName.get(name)
    if (existing !== undefined) return existing
    if (!this.options.config['auto.create.topics.enable']) return refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, `There is no topic ${name}, and auto.create.topics.enable is false`)
    let creation = this.creating.get(name)
    if (creation === undefined) {
      creation = this.create({ name, partitionCount: -1, replicationFactor: -1 }).finally(() => this.creating.delete(name))
      this.creating.set(name, creation)
    }
    return await creation
  }

  async delete (topic: Topic): Promise<Refusal | undefined> {
    return await this.exclusively(topic.name, async () => {
      const registered = this.byId.get(topic.id)
      if (registered === undefined) return refuse(ErrorCode.UNKNOWN_TOPIC_ID, `The topic ${topic.name} is deleted already`)
      const { name, id, partitionCount } = registered.record
      const refusal = await this.write([topicDeletedRecord(name), removalRecord(id, { name, partitionCount })])
      if (refusal !== undefined) return refusal
      this.byName.delete(name)
      this.byId.delete(id)
      this.tell({ kind: 'deleted', topic: registered })
      await Promise.allSettled(registered.partitions.map((partition) => partition.close()))
      // The topic is gone whether or not its logs are: what is left of them goes at the next start, or before the name is used again.
      const failure = await this.finishRemoval(id, { name, partitionCount })
      if (failure !== undefined) this.options.logger.warn({ topic: name }, `the logs of the deleted topic ${name} are still there: ${failure.errorMessage}`)
      return undefined
    })
  }

  async addPartitions (topic: Topic, partitionCount: number, validateOnly = false): Promise<Refusal | undefined> {
    return await this.exclusively(topic.name, async () => {
      const registered = this.byId.get(topic.id)
      if (registered === undefined) return refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, `There is no topic ${topic.name}`)
      const now = registered.partitions.length
      if (partitionCount <= now) {
        return refuse(ErrorCode.INVALID_PARTITIONS, partitionCount === now
          ? `Topic already has ${now} partition(s).`
          : `The topic ${topic.name} currently has ${now} partition(s); ${partitionCount} would not be an increase.`)
      }
      const refusal = checkPartitionCount(partitionCount)
      if (refusal !== undefined || validateOnly) return refusal
      const failure = await this.change(registered, { partitionCount })
      if (failure !== undefined) return failure
      try {
        await this.openPartitions(registered, partitionCount)
      } catch (error) {
        await this.change(registered, { partitionCount: now })
        return storageRefusal(error)
      }
      this.tell({ kind: 'grown', topic: registered })
      return undefined
    })
  }

  async alterConfigs (topic: Topic, change: (overrides: ReadonlyMap<string, string>) => ReadonlyMap<string, string> | Refusal, validateOnly = false): Promise<Refusal | undefined> {
    return await this.exclusively(topic.name, async () => {
      const registered = this.byId.get(topic.id)
      if (registered === undefined) return refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, `There is no topic ${topic.name}`)
      const configs = change(registered.config.overrides)
      if ('errorCode' in configs) return configs
      const parsed = this.parseConfigs(configs)
      if ('errorCode' in parsed) return parsed
      if (validateOnly) return undefined
      const refusal = await this.change(registered, { configs: Object.fromEntries(configs) })
      if (refusal !== undefined) return refusal
      registered.config = parsed
      this.tell({ kind: 'configured', topic: registered })
      return undefined
    })
  }

  onChange (listener: (change: TopicChange) => void): () => void {
    this.listeners.add(listener)
    return () => { this.listeners.delete(listener) }
  }

  /** Closes every partition: those that wait for records learn it. */
  async close (): Promise<void> {
    await Promise.all(this.busy.values())
    await Promise.all([...this.byName.values()].flatMap((topic) => topic.partitions.map((partition) => partition.close())))
  }

  /** Runs changes of one topic one after the other, and those of names that collide. */
  private async exclusively<T> (topicName: string, change: () => Promise<T>): Promise<T> {
    const name = foldedName(topicName)
    const before = this.busy.get(name) ?? Promise.resolve()
    const mine = before.then(change)
    const settled = mine.catch(() => {}).finally(() => { if (this.busy.get(name) === settled) this.busy.delete(name) })
    this.busy.set(name, settled)
    return await mine
  }

  /** The record of a topic that may be created, or why it may not. */
  private planned (topic: NewTopic): TopicRecord | Refusal {
    const { config } = this.options
    const clamp = config['haulout.replication.factor.clamp']
    const refusal = checkTopicName(topic.name) ?? this.checkCollision(topic) ??
      checkPartitionCount(topic.partitionCount) ?? checkReplicationFactor(topic.replicationFactor, clamp)
    if (refusal !== undefined) return refusal
    const replicationFactor = topic.replicationFactor === -1 ? config['default.replication.factor'] : topic.replicationFactor
    const defaultRefusal = checkReplicationFactor(replicationFactor, clamp)
    if (defaultRefusal !== undefined) return defaultRefusal
    const configs = topic.configs ?? new Map<string, string | null>()
    const parsed = this.parseConfigs(configs)
    if ('errorCode' in parsed) return parsed
    return {
      name: topic.name,
      id: newTopicId(),
      partitionCount: topic.partitionCount === -1 ? config['num.partitions'] : topic.partitionCount,
      replicationFactor: 1,
      internal: topic.internal ?? false,
      configs: Object.fromEntries(parsed.overrides)
    }
  }

  private checkCollision ({ name, internal }: NewTopic): Refusal | undefined {
    if (this.byName.has(name)) return refuse(ErrorCode.TOPIC_ALREADY_EXISTS, `Topic '${name}' already exists.`)
    if (INTERNAL_TOPICS.has(name) && internal !== true) return refuse(ErrorCode.INVALID_TOPIC_EXCEPTION, `${name} is a name that the broker keeps for itself.`)
    const folded = foldedName(name)
    for (const existing of this.byName.keys()) {
      if (foldedName(existing) === folded) return refuse(ErrorCode.INVALID_TOPIC_EXCEPTION, `Topic '${name}' collides with existing topic: ${existing}`)
    }
    return undefined
  }

  private parseConfigs (configs: ReadonlyMap<string, string | null>): TopicConfig | Refusal {
    for (const [name, value] of configs) {
      if (value === null) return refuse(ErrorCode.INVALID_CONFIG, `Null value not supported for topic configs: ${name}`)
    }
    try {
      return parseTopicConfig(configs, this.options.config)
    } catch (error) {
      if (error instanceof ConfigError) return refuse(ErrorCode.INVALID_CONFIG, error.message)
      throw error
    }
  }

  private async change (topic: RegisteredTopic, change: Partial<TopicRecord>): Promise<Refusal | undefined> {
    const record = { ...topic.record, ...change }
    const refusal = await this.write([topicRecord(record)])
    if (refusal === undefined) topic.record = record
    return refusal
  }

  private async write (records: Parameters<MetadataLog['write']>[0]): Promise<Refusal | undefined> {
    return await this.options.metadata.write(records)
  }

  private async opened (topic: RegisteredTopic): Promise<Topic | Refusal> {
    const { name, id, partitionCount } = topic.record
    try {
      await this.openPartitions(topic, partitionCount)
    } catch (error) {
      const removal = { name, partitionCount }
      await this.write([topicDeletedRecord(name), removalRecord(id, removal)]) ?? await this.finishRemoval(id, removal)
      return storageRefusal(error)
    }
    this.add(topic)
    this.tell({ kind: 'created', topic })
    return topic
  }

  private add (topic: RegisteredTopic): void {
    this.byName.set(topic.name, topic)
    this.byId.set(topic.id, topic)
  }

  private async openPartitions (topic: RegisteredTopic, partitionCount: number): Promise<void> {
    const first = topic.partitions.length
    const indexes = Array.from({ length: partitionCount - first }, (_, index) => first + index)
    const opened: Partition[] = []
    const { store, clock, logger, snapshots, config, statistics } = this.options
    try {
      await forEach(indexes, OPENING_COUNT_MAX, async (index) => {
        opened[index - first] = await openPartition({
          store,
          clock,
          logger,
          topicName: topic.name,
          index,
          freeSpace: this.freeSpace,
          ...(statistics !== undefined && { statistics }),
          ...(snapshots !== undefined && { snapshots: snapshots.of(topic.id, index) }),
          config: () => topic.config,
          producerIdExpirationMs: config['producer.id.expiration.ms']
        })
      })
    } catch (error) {
      await Promise.allSettled(opened.map((partition) => partition.close()))
      throw error
    }
    topic.partitions.push(...opened)
  }

  /** A new topic must find no records of an earlier one, nor lose its own to the removal of the earlier one's. */
  private async finishRemovalsOf (name: string): Promise<Refusal | undefined> {
    for (const [id, removal] of [...this.options.metadata.state.removals]) {
      const refusal = removal.name === name ? await this.finishRemoval(id, removal) : undefined
      if (refusal !== undefined) return refusal
    }
    return undefined
  }

  private async finishRemoval (id: string, { name, partitionCount }: RemovalRecord): Promise<Refusal | undefined> {
    const indexes = Array.from({ length: partitionCount }, (_, index) => index)
    try {
      await forEach(indexes, OPENING_COUNT_MAX, async (index) => {
        for (const logName of partitionLogNames(name, index)) await this.options.store.remove(logName)
      })
      await this.options.snapshots?.forget(id, partitionCount)
    } catch (error) {
      return storageRefusal(error)
    }
    return await this.write([removalRecord(id, null)])
  }

  /** Logs that no topic owns are not deleted, lest a mistake cost data, nor adopted by a later topic of the name: they are renamed. */
  private async setAsideStrays (): Promise<void> {
    const { store, metadata, logger } = this.options
    const owned = new Set([METADATA_TOPIC, PRODUCER_SNAPSHOTS_TOPIC].flatMap((topicName) => partitionLogNames(topicName, 0)))
    for (const { name, partitionCount } of metadata.state.topics.values()) {
      for (let index = 0; index < partitionCount; index++) for (const logName of partitionLogNames(name, index)) owned.add(logName)
    }
    for (const name of await store.names()) {
      if (owned.has(name) || name.endsWith('.stray')) continue
      const aside = `${name.slice(0, 230)}.${randomBytes(6).toString('hex')}.stray`
      await store.rename(name, aside)
      logger.warn({ log: name, aside }, `the log ${name} belongs to no topic: renamed to ${aside}`)
    }
  }

  private tell (change: TopicChange): void {
    for (const listener of this.listeners) listener(change)
  }
}

/** As Kafka's Uuid.randomUuid: random, and never beginning with '-', which command lines would take for an option. */
export function newTopicId (): string {
  for (;;) {
    const bytes = randomBytes(16)
    bytes[6] = bytes[6]! & 0x0f | 0x40
    bytes[8] = bytes[8]! & 0x3f | 0x80
    const id = bytes.toString('base64url')
    if (!id.startsWith('-')) return id
  }
}

async function forEach<T> (items: Iterable<T>, atATime: number, work: (item: T) => Promise<void>): Promise<void> {
  const iterator = items[Symbol.iterator]()
  const worker = async (): Promise<void> => {
    for (let next = iterator.next(); next.done !== true; next = iterator.next()) await work(next.value)
  }
  // Nothing is in work any more when this ends, also where it fails.
  const ended = await Promise.allSettled(Array.from({ length: atATime }, worker))
  for (const end of ended) if (end.status === 'rejected') throw end.reason
}
