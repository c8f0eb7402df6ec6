/**
 * DeleteRecords, versions 0 to 2 (KIP-107): moves the start of partitions up; what lies below is gone for consumers at once, and
 * from the disk as its segments go. Offset -1 means everything that is committed.
 */
import { deleteRecords } from '../../protocol/schemas/21-delete-records.js'
import { ErrorCode } from '../../protocol/error-codes.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { handler } from '../handler.js'
import type { Services } from '../services.js'
import type { Topic } from '../topics/topics.js'

type Request = RequestOf<typeof deleteRecords>
type Response = ResponseInputOf<typeof deleteRecords>
type PartitionResponse = Response['topics'][number]['partitions'][number]

const TO_HIGH_WATERMARK = -1

export const deleteRecordsHandler = handler({ api: deleteRecords, handle })

async function handle ({ topics }: Pick<Services, 'topics'>, request: Request): Promise<Response> {
  return {
    throttleTimeMs: 0,
    topics: await Promise.all(request.topics.map(async ({ name, partitions }) => ({
      name,
      partitions: await Promise.all(partitions.map(({ partitionIndex, offset }) => deleteBelow(topics.get(name), partitionIndex, offset)))
    })))
  }
}

async function deleteBelow (topic: Topic | undefined, partitionIndex: number, offset: number): Promise<PartitionResponse> {
  const refused = (errorCode: ErrorCode): PartitionResponse => ({ partitionIndex, errorCode, lowWatermark: -1 })
  const partition = topic?.partitions[partitionIndex]
  if (topic === undefined || partition === undefined) return refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
  if (topic.internal) return refused(ErrorCode.INVALID_TOPIC_EXCEPTION)
  // A topic that is only compacted promises the last value of each key for ever.
  const policy = topic.config['cleanup.policy']
  if (policy.includes('compact') && !policy.includes('delete')) return refused(ErrorCode.POLICY_VIOLATION)
  const target = offset === TO_HIGH_WATERMARK ? partition.highWatermark : offset
  if (target < 0 || target > partition.highWatermark) return refused(ErrorCode.OFFSET_OUT_OF_RANGE)
  if (target > partition.logStartOffset) {
    const refusal = await partition.truncateFront(target)
    if (refusal !== undefined) return refused(refusal.errorCode)
  }
  return { partitionIndex, errorCode: ErrorCode.NONE, lowWatermark: partition.logStartOffset }
}
