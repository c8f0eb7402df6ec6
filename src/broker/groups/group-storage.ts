/**
 * Where groups and offsets live: the internal topic `__consumer_offsets`, one partition per hash of the group id as in Kafka. Made when
 * the first group is looked for. What is read here is what was durable; what is written is durable when its promise resolves.
 */
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'
import type { BrokerConfig } from '../config/broker-config.js'
import type { Clock } from '../clock.js'
import { StateLog, type StateRecord } from '../state-log.js'
import type { Topic, Topics } from '../topics/topics.js'
import { decodeGroupRecord, type GroupRecord } from './records.js'

export const OFFSETS_TOPIC = '__consumer_offsets'

export interface GroupStorageOptions {
  readonly topics: Topics
  readonly config: BrokerConfig
  readonly clock: Clock
  /** The live state of one partition, for compaction. */
  readonly live: (partition: number) => Iterable<StateRecord>
}

export class GroupStorage {
  private logs: StateLog[] = []
  private creating: Promise<Refusal | undefined> | undefined

  constructor (private readonly options: GroupStorageOptions) {}

  /** Calls `apply` with every record that is stored, oldest first within a partition. */
  async load (apply: (record: GroupRecord) => void): Promise<void> {
    const topic = this.options.topics.get(OFFSETS_TOPIC)
    if (topic === undefined) return
    this.use(topic)
    for (const log of this.logs) {
      await log.replay((record) => {
        const decoded = decodeGroupRecord(record)
        if (decoded !== null) apply(decoded)
      })
    }
  }

  /** Makes the topic if it is missing; concurrent calls share one creation. */
  async ensure (): Promise<Refusal | undefined> {
    if (this.logs.length > 0) return undefined
    this.creating ??= this.create().finally(() => { this.creating = undefined })
    return await this.creating
  }

  /** Which partition keeps a group: Java's hash, so that it is the one where Kafka's tools look. Before there is a topic, the one that it will be. */
  partitionOf (groupId: string): number {
    const count = this.logs.length > 0 ? this.logs.length : this.options.config['offsets.topic.num.partitions']
    return (javaHash(groupId) & 0x7fffffff) % count
  }

  /** Writes records of one group as one batch; `apply` puts them into the live state when they are durable. */
  async write (groupId: string, records: readonly StateRecord[], apply: () => void): Promise<Refusal | undefined> {
    // Where the topic exists nothing is waited for: the order of calls is the order of records.
    const refusal = this.logs.length > 0 ? undefined : await this.ensure()
    if (refusal !== undefined) return refusal
    const partition = this.partitionOf(groupId)
    const log = this.logs[partition]!
    const failure = await log.append(records, apply)
    if (failure === undefined) void log.compactIfLong(() => this.options.live(partition))
    return failure
  }

  /** Resolves when no topic is being made. */
  async close (): Promise<void> {
    await this.creating
  }

  private async create (): Promise<Refusal | undefined> {
    const { topics, config } = this.options
    const created = await topics.create({
      name: OFFSETS_TOPIC,
      partitionCount: config['offsets.topic.num.partitions'],
      replicationFactor: 1,
      internal: true,
      configs: new Map([
        ['cleanup.policy', 'compact'],
        ['compression.type', 'producer'],
        ['segment.bytes', String(Math.max(config['offsets.topic.segment.bytes'], 1024 * 1024))]
      ])
    })
    if (!('errorCode' in created)) {
      this.use(created)
      return undefined
    }
    const existing = topics.get(OFFSETS_TOPIC)
    if (created.errorCode !== ErrorCode.TOPIC_ALREADY_EXISTS || existing === undefined) return created
    this.use(existing)
    return undefined
  }

  private use (topic: Topic): void {
    this.logs = topic.partitions.map((partition) => new StateLog(partition, this.options.clock))
  }
}

/** java.lang.String.hashCode: over UTF-16 units, which JavaScript's strings have too. */
function javaHash (text: string): number {
  let hash = 0
  for (let index = 0; index < text.length; index++) hash = (Math.imul(hash, 31) + text.charCodeAt(index)) | 0
  return hash
}
