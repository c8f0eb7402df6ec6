/**
 * CreateTopics, versions 2 to 7. Each topic succeeds or fails alone; a name that stands twice in a request fails wherever it stands,
 * as in Kafka. The answer waits until the topics are durable, so timeoutMs has nothing to bound.
 */
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'
import { createTopics } from '../../protocol/schemas/19-create-topics.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { describeTopicConfigs } from '../config/describe.js'
import { handler, type RequestContext } from '../handler.js'
import type { Services } from '../services.js'
import { checkAssignments, refuse } from '../topics/topic-validation.js'
import type { Topic } from '../topics/topics.js'

type TopicRequest = RequestOf<typeof createTopics>['topics'][number]
type TopicResponse = ResponseInputOf<typeof createTopics>['topics'][number]

const VERSION_WITH_CONFIGS = 5

export const createTopicsHandler = handler({ api: createTopics, handle })

async function handle (services: Pick<Services, 'topics' | 'cluster' | 'config'>, request: RequestOf<typeof createTopics>, context: RequestContext):
Promise<ResponseInputOf<typeof createTopics>> {
  const counts = new Map<string, number>()
  for (const { name } of request.topics) counts.set(name, (counts.get(name) ?? 0) + 1)
  const unique = request.topics.filter(({ name }, index) => request.topics.findIndex((topic) => topic.name === name) === index)
  const topics = await Promise.all(unique.map(async (topic) => {
    const created = counts.get(topic.name)! > 1
      ? refuse(ErrorCode.INVALID_REQUEST, 'Duplicate topic name.')
      : await create(services, topic, request.validateOnly)
    return 'errorCode' in created ? refused(topic, created) : described(services, created, topic, context)
  }))
  return { throttleTimeMs: 0, topics }
}

async function create ({ topics, cluster }: Pick<Services, 'topics' | 'cluster'>, topic: TopicRequest, validateOnly: boolean): Promise<Topic | Refusal> {
  const { name, assignments } = topic
  let { numPartitions: partitionCount, replicationFactor } = topic
  if (assignments.length > 0) {
    const refusal = checkManual(topic, cluster.nodeId)
    if (refusal !== undefined) return refusal
    partitionCount = assignments.length
    replicationFactor = 1
  }
  const configs = new Map(topic.configs.map((config) => [config.name, config.value]))
  return await topics.create({ name, partitionCount, replicationFactor, configs, validateOnly })
}

/** Assignments must be for the partitions 0, 1, 2 and so on, and stand instead of the two numbers. */
function checkManual ({ assignments, numPartitions, replicationFactor }: TopicRequest, nodeId: number): Refusal | undefined {
  if (numPartitions !== -1) return refuse(ErrorCode.INVALID_REQUEST, 'A manual partition assignment was specified, but numPartitions was not set to -1.')
  if (replicationFactor !== -1) return refuse(ErrorCode.INVALID_REQUEST, 'A manual partition assignment was specified, but replication factor was not set to -1.')
  const indexes = new Set(assignments.map(({ partitionIndex }) => partitionIndex))
  if (indexes.size < assignments.length) return refuse(ErrorCode.INVALID_REPLICA_ASSIGNMENT, 'Found multiple manual partition assignments for one partition.')
  for (let index = 0; index < assignments.length; index++) {
    if (!indexes.has(index)) return refuse(ErrorCode.INVALID_REPLICA_ASSIGNMENT, 'Partitions should be a consecutive 0-based integer sequence')
  }
  return checkAssignments(assignments, nodeId)
}

function described ({ config }: Pick<Services, 'config'>, topic: Topic, asked: TopicRequest, context: RequestContext): TopicResponse {
  const planned = asked.assignments.length > 0 ? asked.assignments.length : asked.numPartitions === -1 ? config['num.partitions'] : asked.numPartitions
  return {
    name: topic.name,
    topicId: topic.id,
    errorCode: ErrorCode.NONE,
    errorMessage: null,
    // A topic that is only validated has no partitions yet.
    numPartitions: topic.partitions.length > 0 ? topic.partitions.length : planned,
    replicationFactor: topic.replicationFactor,
    configs: context.apiVersion < VERSION_WITH_CONFIGS ? [] : describeTopicConfigs(topic.config, config).map((entry) => ({
      name: entry.name,
      value: entry.value,
      readOnly: entry.readOnly,
      configSource: entry.source,
      isSensitive: entry.sensitive
    }))
  }
}

function refused ({ name }: TopicRequest, { errorCode, errorMessage }: Refusal): TopicResponse {
  return { name, errorCode, errorMessage, numPartitions: -1, replicationFactor: -1, configs: [] }
}
