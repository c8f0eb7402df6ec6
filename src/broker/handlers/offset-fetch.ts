/**
 * OffsetFetch, versions 1 to 10: committed offsets of one group, or (v8+) of several; null topics (v2+) means all; topic ids in v10. A
 * partition without a commit has the offset -1 and no error, whether or not it or the group exists. Only what is durable is told, so
 * every answer is stable (requireStable, v7+). Member ids and epochs (v9+) belong to the new group protocol and are not looked at.
 */
import { ErrorCode } from '../../protocol/error-codes.js'
import { offsetFetch } from '../../protocol/schemas/09-offset-fetch.js'
import { ZERO_UUID, type RequestOf, type ResponseInputOf } from '../../protocol/schema.js'
import type { CommittedOffset } from '../groups/records.js'
import { handler, type RequestContext } from '../handler.js'
import type { Services } from '../services.js'

type Response = ResponseInputOf<typeof offsetFetch>

const VERSION_WITH_GROUPS = 8
const VERSION_WITH_TOPIC_IDS = 10
const NO_OFFSET: CommittedOffset = { offset: -1, leaderEpoch: -1, metadata: '', committedAtMs: -1, topicId: ZERO_UUID }

interface TopicWanted {
  readonly name: string
  readonly topicId: string
  readonly partitionIndexes: readonly number[]
}

interface TopicFound {
  readonly name: string
  readonly topicId: string
  readonly partitions: { partitionIndex: number, committedOffset: number, committedLeaderEpoch: number, metadata: string, errorCode: ErrorCode }[]
}

export const offsetFetchHandler = handler({ api: offsetFetch, handle })

function handle (services: Pick<Services, 'groups' | 'topics'>, request: RequestOf<typeof offsetFetch>, context: RequestContext): Response {
  if (context.apiVersion < VERSION_WITH_GROUPS) {
    const wanted = request.topics?.map((topic) => ({ ...topic, topicId: ZERO_UUID })) ?? null
    return { errorCode: ErrorCode.NONE, topics: find(services, request.groupId, wanted, context) }
  }
  return {
    groups: request.groups.map(({ groupId, topics }) => ({ groupId, errorCode: ErrorCode.NONE, topics: find(services, groupId, topics, context) }))
  }
}

function find ({ groups, topics }: Pick<Services, 'groups' | 'topics'>, groupId: string, wanted: readonly TopicWanted[] | null, context: RequestContext): TopicFound[] {
  const committed = groups.offsets(groupId)
  const byId = context.apiVersion >= VERSION_WITH_TOPIC_IDS
  if (wanted === null) {
    return [...committed ?? []].filter(([name]) => !byId || topics.get(name) !== undefined).map(([name, partitions]) => ({
      name,
      topicId: topics.get(name)?.id ?? ZERO_UUID,
      partitions: [...partitions].map(([index, offset]) => row(index, offset, ErrorCode.NONE))
    }))
  }
  return wanted.map(({ name, topicId, partitionIndexes }) => {
    const topic = byId ? topics.getById(topicId) : topics.get(name)
    const errorCode = byId && topic === undefined ? ErrorCode.UNKNOWN_TOPIC_ID : ErrorCode.NONE
    const partitions = committed?.get(topic?.name ?? name)
    return { name: topic?.name ?? name, topicId, partitions: partitionIndexes.map((index) => row(index, partitions?.get(index) ?? NO_OFFSET, errorCode)) }
  })
}

function row (partitionIndex: number, { offset, leaderEpoch, metadata }: CommittedOffset, errorCode: ErrorCode): TopicFound['partitions'][number] {
  return { partitionIndex, committedOffset: offset, committedLeaderEpoch: leaderEpoch, metadata, errorCode }
}
