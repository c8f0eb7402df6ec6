/**
 * Metadata, versions 0 to 13: brokers, topics, partitions and their leaders; makes topics that are asked for by name where the
 * request (v4+) and the broker allow it. A topic that is being made is answered when it is there, so that clients need no retry.
 *
 * null topics (v0: an empty list) means all topics, an empty list (v1+) none. Authorized operations are not told: there is no
 * authorizer.
 */
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'
import { metadata } from '../../protocol/schemas/03-metadata.js'
import { ZERO_UUID, type RequestOf, type ResponseInputOf } from '../../protocol/schema.js'
import { handler, type RequestContext } from '../handler.js'
import type { Services } from '../services.js'
import { describePartition } from '../partitions/describe-partition.js'
import { checkTopicName, refuse } from '../topics/topic-validation.js'
import type { Topic } from '../topics/topics.js'

type TopicResponse = ResponseInputOf<typeof metadata>['topics'][number]
type TopicRequest = NonNullable<RequestOf<typeof metadata>['topics']>[number]

const VERSION_WHERE_EMPTY_IS_NONE = 1
const VERSION_WITH_AUTO_CREATION_FLAG = 4
/** Requests of 10 and 11 have room for an id, but none may be asked for by it. */
const VERSION_WITH_IDS = 12

export const metadataHandler = handler({ api: metadata, handle })

function handle (services: Pick<Services, 'topics' | 'cluster'>, request: RequestOf<typeof metadata>, context: RequestContext):
ResponseInputOf<typeof metadata> | Promise<ResponseInputOf<typeof metadata>> {
  const { topics, cluster } = services
  const asked = request.topics
  const all = asked === null || (asked.length === 0 && context.apiVersion < VERSION_WHERE_EMPTY_IS_NONE)
  if (all) return answer(cluster, context, topics.all().map((topic) => described(topic, cluster.nodeId)))
  if (context.apiVersion < VERSION_WITH_IDS && asked.some(({ name, topicId }) => name === null || topicId !== ZERO_UUID)) {
    const refusal = refuse(ErrorCode.INVALID_REQUEST, 'Topics are asked for by id from version 12 on')
    return answer(cluster, context, asked.map((topic) => missing(topic, refusal, context)))
  }
  const mayCreate = context.apiVersion < VERSION_WITH_AUTO_CREATION_FLAG || request.allowAutoTopicCreation
  const found = asked.map((topic) => find(topics, topic, mayCreate))
  const describe = (list: readonly (Topic | Refusal)[]): ResponseInputOf<typeof metadata> =>
    answer(cluster, context, list.map((topic, index) => 'errorCode' in topic ? missing(asked[index]!, topic, context) : described(topic, cluster.nodeId)))
  if (found.some((topic) => topic instanceof Promise)) return Promise.all(found).then(describe)
  return describe(found as (Topic | Refusal)[])
}

function find (topics: Services['topics'], { name, topicId }: TopicRequest, mayCreate: boolean): Topic | Refusal | Promise<Topic | Refusal> {
  if (name === null || (name === '' && topicId !== ZERO_UUID)) {
    return topics.getById(topicId) ?? refuse(ErrorCode.UNKNOWN_TOPIC_ID, 'This broker has no topic with this id')
  }
  const topic = topics.get(name)
  if (topic !== undefined) return topic
  const refusal = checkTopicName(name)
  if (refusal !== undefined) return refusal
  return mayCreate ? topics.getOrCreate(name) : refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, `There is no topic ${name}`)
}

function answer (cluster: Services['cluster'], context: RequestContext, topics: TopicResponse[]): ResponseInputOf<typeof metadata> {
  const { nodeId, clusterId, rack } = cluster
  return {
    throttleTimeMs: 0,
    brokers: [{ nodeId, ...cluster.endpoint(context.listenerName), rack }],
    clusterId,
    controllerId: nodeId,
    topics
  }
}

function described (topic: Topic, nodeId: number): TopicResponse {
  return {
    errorCode: ErrorCode.NONE,
    name: topic.name,
    topicId: topic.id,
    isInternal: topic.internal,
    partitions: topic.partitions.map((partition) => describePartition(partition, nodeId))
  }
}

function missing ({ name, topicId }: TopicRequest, { errorCode }: Refusal, { apiVersion }: RequestContext): TopicResponse {
  return { errorCode, name: apiVersion < VERSION_WITH_IDS ? name ?? '' : name, topicId, isInternal: false, partitions: [] }
}
