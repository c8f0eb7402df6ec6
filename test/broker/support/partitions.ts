/** A partition over a scripted log, with a topic's default settings. */
import { pino } from 'pino'
import { parseBrokerConfig } from '../../../src/broker/config/broker-config.js'
import { parseTopicConfig, type TopicConfig } from '../../../src/broker/config/topic-config.js'
import { openPartition, type Appended, type AppendRefusal, type Partition } from '../../../src/broker/partitions/partition.js'
import type { PartitionSnapshots } from '../../../src/broker/partitions/producer-snapshots.js'
import type { Topic, Topics } from '../../../src/broker/topics/topics.js'
import { ManualClock } from './manual-clock.js'
import { ScriptedLogStore, type ScriptedLog } from './scripted-log-store.js'

export const silent = pino({ level: 'silent' })

export const TOPIC_DEFAULTS: TopicConfig = parseTopicConfig(new Map(), parseBrokerConfig({}).config)

export interface TestPartition {
  readonly partition: Partition
  readonly log: ScriptedLog
  readonly store: ScriptedLogStore
  readonly clock: ManualClock
  readonly config: { -readonly [K in keyof TopicConfig]: TopicConfig[K] }
  reopen (): Promise<TestPartition>
}

export async function testPartition (store = new ScriptedLogStore(), clock = new ManualClock(), config = { ...TOPIC_DEFAULTS },
  topicName = 't', index = 0, snapshots?: PartitionSnapshots): Promise<TestPartition> {
  const partition = await openPartition({ store, topicName, index, config: () => config, clock, logger: silent, ...(snapshots === undefined ? {} : { snapshots }) })
  const log = store.logs.get(`${topicName}-${index}`)!
  return { partition, log, store, clock, config, reopen: () => testPartition(store, clock, config, topicName, index) }
}

export function accepted (outcome: Appended | AppendRefusal): Appended {
  if ('errorCode' in outcome) throw new Error(`refused with ${outcome.errorCode}: ${outcome.errorMessage}`)
  return outcome
}

export function errorCodeOf (outcome: object | null | undefined): number | undefined {
  return outcome !== null && outcome !== undefined && 'errorCode' in outcome ? outcome.errorCode as number : undefined
}

/** Topics with fixed partitions; a topic can be taken away. */
export function fixedTopics (...topics: readonly Topic[]): Topics & { drop (name: string): void } {
  const byName = new Map(topics.map((topic) => [topic.name, topic]))
  return {
    get: (name: string) => byName.get(name),
    getById: (id: string) => [...byName.values()].find((topic) => topic.id === id),
    all: () => [...byName.values()],
    drop: (name: string) => { byName.delete(name) }
  } as unknown as Topics & { drop (name: string): void }
}

export function topicOf (name: string, partitions: readonly Partition[], more: Partial<Topic> = {}): Topic {
  return { name, id: `id-of-${name}`, partitions, config: TOPIC_DEFAULTS, internal: false, replicationFactor: 1, ...more }
}
