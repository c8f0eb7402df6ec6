/**
 * OffsetCommit, versions 2 to 10 (topic ids in v10): the answer waits until the offsets are durable. A partition that does not exist or a metadata text that is
 * too long fails alone; everything else fails the whole.
 */
import { ErrorCode } from '../../protocol/error-codes.js'
import { offsetCommit } from '../../protocol/schemas/08-offset-commit.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import type { OffsetToCommit } from '../groups/group-coordinator.js'
import { handler, type RequestContext } from '../handler.js'
import type { Services } from '../services.js'

type Request = RequestOf<typeof offsetCommit>
type TopicResponse = ResponseInputOf<typeof offsetCommit>['topics'][number]

const VERSION_WITH_TOPIC_IDS = 10

export const offsetCommitHandler = handler({ api: offsetCommit, handle })

async function handle (services: Pick<Services, 'groups' | 'topics' | 'config'>, request: Request, context: RequestContext): Promise<ResponseInputOf<typeof offsetCommit>> {
  const { groups } = services
  const identity = { memberId: request.memberId, instanceId: request.groupInstanceId }
  const refusal = groups.checkCommit(request.groupId, identity, request.generationIdOrMemberEpoch)
  const accepted: OffsetToCommit[] = []
  const check = refusal !== ErrorCode.NONE ? () => refusal : (offset: OffsetToCommit | ErrorCode) => {
    if (typeof offset === 'number') return offset
    accepted.push(offset)
    return ErrorCode.NONE
  }
  const topics = request.topics.map((topic): TopicResponse => ({
    name: topic.name,
    topicId: topic.topicId,
    partitions: topic.partitions.map((partition) => ({ partitionIndex: partition.partitionIndex, errorCode: check(toCommit(services, topic, partition, context)) }))
  }))
  const outcome = await groups.commit(request.groupId, request.memberId, accepted)
  if (outcome === ErrorCode.NONE) return { topics }
  const failed = (errorCode: number): number => errorCode === ErrorCode.NONE ? outcome : errorCode
  return { topics: topics.map((topic) => ({ ...topic, partitions: topic.partitions.map((row) => ({ ...row, errorCode: failed(row.errorCode) })) })) }
}

function toCommit ({ topics, config }: Pick<Services, 'topics' | 'config'>, { name, topicId }: Request['topics'][number],
  partition: Request['topics'][number]['partitions'][number], context: RequestContext): OffsetToCommit | ErrorCode {
  const byId = context.apiVersion >= VERSION_WITH_TOPIC_IDS
  const topic = byId ? topics.getById(topicId) : topics.get(name)
  if (topic === undefined) return byId ? ErrorCode.UNKNOWN_TOPIC_ID : ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
  if (topic.partitions[partition.partitionIndex] === undefined) return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
  const metadata = partition.committedMetadata ?? ''
  if (Buffer.byteLength(metadata) > config['offset.metadata.max.bytes']) return ErrorCode.OFFSET_METADATA_TOO_LARGE
  return {
    topicName: topic.name,
    partition: partition.partitionIndex,
    offset: partition.committedOffset,
    leaderEpoch: partition.committedLeaderEpoch,
    metadata
  }
}
