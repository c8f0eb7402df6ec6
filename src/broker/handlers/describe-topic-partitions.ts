/**
 * DescribeTopicPartitions, version 0 (KIP-966): topics and partitions in pages, in order of names; a cursor says where the next page
 * begins. No topics asked for means all. Creates nothing.
 */
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'
import { describeTopicPartitions } from '../../protocol/schemas/75-describe-topic-partitions.js'
import { ZERO_UUID, type RequestOf, type ResponseInputOf } from '../../protocol/schema.js'
import { handler } from '../handler.js'
import { describePartition } from '../partitions/describe-partition.js'
import type { Services } from '../services.js'
import { checkTopicName, refuse } from '../topics/topic-validation.js'
import type { Topic } from '../topics/topics.js'

type Request = RequestOf<typeof describeTopicPartitions>
type Response = ResponseInputOf<typeof describeTopicPartitions>
type TopicResponse = Response['topics'][number]

export const describeTopicPartitionsHandler = handler({ api: describeTopicPartitions, handle })

function handle ({ topics, cluster, config }: Pick<Services, 'topics' | 'cluster' | 'config'>, request: Request): Response {
  const { cursor } = request
  const asked = [...new Set(request.topics.map(({ name }) => name))].sort()
  if (cursor !== null && (cursor.partitionIndex < 0 || (asked.length > 0 && !asked.includes(cursor.topicName)))) {
    return { throttleTimeMs: 0, topics: asked.map((name) => missing(name, ErrorCode.INVALID_REQUEST)), nextCursor: null }
  }
  const names = (asked.length > 0 ? asked : topics.all().map(({ name }) => name)).filter((name) => cursor === null || name >= cursor.topicName)
  let left = Math.max(1, Math.min(request.responsePartitionLimit, config['max.request.partition.size.limit']))
  const described: TopicResponse[] = []
  for (const name of names) {
    const first = cursor?.topicName === name ? cursor.partitionIndex : 0
    if (left === 0) return { throttleTimeMs: 0, topics: described, nextCursor: { topicName: name, partitionIndex: first } }
    const topic = topics.get(name) ?? notFound(name)
    if ('errorCode' in topic) {
      described.push(missing(name, topic.errorCode))
      continue
    }
    const end = Math.min(topic.partitions.length, first + left)
    described.push(page(topic, first, end, cluster.nodeId))
    left -= Math.max(0, end - first)
    if (end < topic.partitions.length) return { throttleTimeMs: 0, topics: described, nextCursor: { topicName: name, partitionIndex: end } }
  }
  return { throttleTimeMs: 0, topics: described, nextCursor: null }
}

function notFound (name: string): Refusal {
  return checkTopicName(name) ?? refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, `There is no topic ${name}`)
}

function page (topic: Topic, first: number, end: number, nodeId: number): TopicResponse {
  return {
    errorCode: ErrorCode.NONE,
    name: topic.name,
    topicId: topic.id,
    isInternal: topic.internal,
    partitions: topic.partitions.slice(first, end).map((partition) => ({
      ...describePartition(partition, nodeId),
      eligibleLeaderReplicas: [],
      lastKnownElr: []
    }))
  }
}

function missing (name: string, errorCode: ErrorCode): TopicResponse {
  return { errorCode, name, topicId: ZERO_UUID, partitions: [] }
}
