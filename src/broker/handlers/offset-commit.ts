/**
 * OffsetCommit, versions 2 to 10 (topic ids in v10): the answer waits until the offsets are durable. A partition that does not exist or
 * a metadata text that is too long fails alone; everything else fails the whole. The retention time of v2 to v4 has no effect: the
 * broker's `offsets.retention.minutes` holds (KIP-211).
 */
import { ErrorCode } from '../../protocol/error-codes.js'
import { offsetCommit } from '../../protocol/schemas/08-offset-commit.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import type { OffsetToCommit } from '../groups/group-coordinator.js'
import { handler, type RequestContext } from '../handler.js'
import type { Services } from '../services.js'

type Request = RequestOf<typeof offsetCommit>
type Topic = Request['topics'][number]
type Response = ResponseInputOf<typeof offsetCommit>
/** What became of each partition, by its place in the request. */
type Outcomes = readonly (readonly (OffsetToCommit | ErrorCode)[])[]

const VERSION_WITH_GROUP_NOT_FOUND = 9
const VERSION_WITH_TOPIC_IDS = 10

export const offsetCommitHandler = handler({ api: offsetCommit, handle })

async function handle (services: Pick<Services, 'groups' | 'topics' | 'config'>, request: Request, context: RequestContext): Promise<Response> {
  const located = request.topics.map((topic) => topic.partitions.map((partition) => locate(services, topic, partition, context)))
  // A commit that names nothing known never reaches the group.
  if (!located.flat().some((one) => typeof one === 'object')) return respond(request, located, ErrorCode.NONE)
  const { groupId, memberId, groupInstanceId: instanceId, generationIdOrMemberEpoch: generation } = request
  const refusal = told(services.groups.checkCommit(groupId, { memberId, instanceId }, generation), context)
  if (refusal !== ErrorCode.NONE) return respond(request, located, refusal)
  const outcomes = located.map((partitions) => partitions.map((one) => checkMetadata(services, one)))
  const accepted = outcomes.flat().filter((one) => typeof one === 'object')
  return respond(request, outcomes, await services.groups.commit(groupId, accepted))
}

function locate ({ topics }: Pick<Services, 'topics'>, { name, topicId }: Topic, partition: Topic['partitions'][number], context: RequestContext): OffsetToCommit | ErrorCode {
  const byId = context.apiVersion >= VERSION_WITH_TOPIC_IDS
  const topic = byId ? topics.getById(topicId) : topics.get(name)
  if (topic === undefined) return byId ? ErrorCode.UNKNOWN_TOPIC_ID : ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
  if (topic.partitions[partition.partitionIndex] === undefined) return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
  return {
    topicName: topic.name,
    topicId: topic.id,
    partition: partition.partitionIndex,
    offset: partition.committedOffset,
    leaderEpoch: partition.committedLeaderEpoch,
    metadata: partition.committedMetadata ?? ''
  }
}

/** The limit counts UTF-16 units, as Kafka does, whatever the setting's name says. */
function checkMetadata ({ config }: Pick<Services, 'config'>, one: OffsetToCommit | ErrorCode): OffsetToCommit | ErrorCode {
  return typeof one === 'object' && one.metadata.length > config['offset.metadata.max.bytes'] ? ErrorCode.OFFSET_METADATA_TOO_LARGE : one
}

/** Older clients know no group that is not found. */
function told (errorCode: ErrorCode, { apiVersion }: RequestContext): ErrorCode {
  return errorCode === ErrorCode.GROUP_ID_NOT_FOUND && apiVersion < VERSION_WITH_GROUP_NOT_FOUND ? ErrorCode.ILLEGAL_GENERATION : errorCode
}

/** `errorCode` is what became of the partitions that have no error of their own. */
function respond ({ topics }: Request, outcomes: Outcomes, errorCode: ErrorCode): Response {
  return {
    topics: topics.map(({ name, topicId, partitions }, topicIndex) => ({
      name,
      topicId,
      partitions: partitions.map(({ partitionIndex }, index) => {
        const outcome = outcomes[topicIndex]![index]!
        return { partitionIndex, errorCode: typeof outcome === 'object' ? errorCode : outcome }
      })
    }))
  }
}
