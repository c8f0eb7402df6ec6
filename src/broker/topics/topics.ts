/**
 * The topics of this broker: names, ids, partitions, settings. Every change is durable before its promise resolves
 * (metadata-log.ts) and visible to all handlers from then on.
 */
import type { Refusal } from '../../protocol/error-codes.js'
import type { Partition } from '../partitions/partition.js'
import type { TopicConfig } from '../config/topic-config.js'

export interface Topic {
  readonly name: string
  /** 22 characters of base64url; never reused. */
  readonly id: string
  /** By index; CreatePartitions appends. */
  readonly partitions: readonly Partition[]
  readonly config: TopicConfig
  /** Kafka's own topics (`__consumer_offsets`): clients may read, not produce. */
  readonly internal: boolean
  /** Replication factor to show; there is one broker. */
  readonly replicationFactor: number
}

export interface NewTopic {
  readonly name: string
  /** -1: the broker's `num.partitions`. */
  readonly partitionCount: number
  /** -1: the broker's `default.replication.factor`. */
  readonly replicationFactor: number
  /** Overrides under Kafka's names; null is a refusal. */
  readonly configs?: ReadonlyMap<string, string | null>
  readonly internal?: boolean
  /** Check everything, change nothing. */
  readonly validateOnly?: boolean
}

export interface Topics {
  get (name: string): Topic | undefined
  getById (id: string): Topic | undefined
  /** In order of names. */
  all (): readonly Topic[]
  create (topic: NewTopic): Promise<Topic | Refusal>
  /**
   * The topic, made with the broker's defaults if it is missing and the broker allows it (`auto.create.topics.enable`).
   * Concurrent calls for one name share one creation.
   */
  getOrCreate (name: string): Promise<Topic | Refusal>
  /** Resolves when its logs are gone and its name is free. */
  delete (topic: Topic): Promise<Refusal | undefined>
  /** Grows a topic to `partitionCount` partitions. */
  addPartitions (topic: Topic, partitionCount: number, validateOnly?: boolean): Promise<Refusal | undefined>
  /** Replaces a topic's overrides by what `change` makes of those it has; changes of one topic follow each other. */
  alterConfigs (topic: Topic, change: (overrides: ReadonlyMap<string, string>) => ReadonlyMap<string, string> | Refusal, validateOnly?: boolean): Promise<Refusal | undefined>
  /** Called after a topic was deleted or grew: group metadata and fetches depend on it. Returns the unsubscribe function. */
  onChange (listener: (change: TopicChange) => void): () => void
}

export type TopicChange =
  | { readonly kind: 'created' | 'grown' | 'configured', readonly topic: Topic }
  | { readonly kind: 'deleted', readonly topic: Topic }
