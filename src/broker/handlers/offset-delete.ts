/** OffsetDelete, version 0: committed offsets of topics that no member of the group is subscribed to (KIP-496). */
import { ErrorCode } from '../../protocol/error-codes.js'
import { offsetDelete } from '../../protocol/schemas/47-offset-delete.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { isSubscribed } from '../groups/subscription.js'
import { handler } from '../handler.js'
import type { Services } from '../services.js'

export const offsetDeleteHandler = handler({ api: offsetDelete, handle })

async function handle ({ groups, topics }: Pick<Services, 'groups' | 'topics'>, request: RequestOf<typeof offsetDelete>): Promise<ResponseInputOf<typeof offsetDelete>> {
  const group = groups.group(request.groupId)
  if (group === undefined) return { errorCode: ErrorCode.GROUP_ID_NOT_FOUND, throttleTimeMs: 0, topics: [] }
  // Who but consumers knows what a group's members use.
  if (group.members.size > 0 && group.protocolType !== 'consumer') return { errorCode: ErrorCode.NON_EMPTY_GROUP, throttleTimeMs: 0, topics: [] }
  const deletable: { topicName: string, partition: number }[] = []
  const rows = request.topics.map(({ name, partitions }) => ({
    name,
    partitions: partitions.map(({ partitionIndex }) => {
      if (topics.get(name)?.partitions[partitionIndex] === undefined) return { partitionIndex, errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION }
      if (isSubscribed(group, name)) return { partitionIndex, errorCode: ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC }
      deletable.push({ topicName: name, partition: partitionIndex })
      return { partitionIndex, errorCode: ErrorCode.NONE }
    })
  }))
  return { errorCode: await groups.deleteOffsets(request.groupId, deletable), throttleTimeMs: 0, topics: rows }
}
