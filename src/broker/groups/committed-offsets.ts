/** The committed offsets of one group, in memory, and which of them expire. */
import type { Group } from './group.js'
import type { CommittedOffset } from './records.js'
import { isSubscribed } from './subscription.js'

export interface TopicPartition {
  readonly topicName: string
  readonly partition: number
}

export class CommittedOffsets {
  private readonly topics = new Map<string, Map<number, CommittedOffset>>()

  get isEmpty (): boolean { return this.topics.size === 0 }

  /** By topic, then by partition. */
  get byTopic (): ReadonlyMap<string, ReadonlyMap<number, CommittedOffset>> { return this.topics }

  get ({ topicName, partition }: TopicPartition): CommittedOffset | undefined {
    return this.topics.get(topicName)?.get(partition)
  }

  set ({ topicName, partition }: TopicPartition, value: CommittedOffset): void {
    const partitions = this.topics.get(topicName)
    if (partitions === undefined) this.topics.set(topicName, new Map([[partition, value]]))
    else partitions.set(partition, value)
  }

  delete ({ topicName, partition }: TopicPartition): void {
    const partitions = this.topics.get(topicName)
    partitions?.delete(partition)
    if (partitions?.size === 0) this.topics.delete(topicName)
  }

  clear (): void { this.topics.clear() }

  * [Symbol.iterator] (): Generator<TopicPartition & { readonly value: CommittedOffset }> {
    for (const [topicName, partitions] of this.topics) for (const [partition, value] of partitions) yield { topicName, partition, value }
  }
}

/**
 * The offsets that nobody has used for `retentionMs` (KIP-211). Of a group without members: since it has none, or since the commit
 * where that was later or the group never had any. Of a group of consumers: since the commit, for topics that none is subscribed to.
 */
export function expiredOffsets (group: Group, offsets: CommittedOffsets, retentionMs: number, nowMs: number): TopicPartition[] {
  if (group.phase !== 'Empty' && group.phase !== 'Stable') return []
  const emptySinceMs = group.phase === 'Empty' && group.protocolType !== null ? group.phaseSinceMs : 0
  const used = new Map<string, boolean>()
  const isUsed = (topicName: string): boolean => {
    let answer = used.get(topicName)
    if (answer === undefined) used.set(topicName, answer = group.phase === 'Stable' && (group.protocolType !== 'consumer' || isSubscribed(group, topicName)))
    return answer
  }
  return [...offsets].filter(({ topicName, value }) => Math.max(value.committedAtMs, emptySinceMs) + retentionMs <= nowMs && !isUsed(topicName))
}
