/**
 * OffsetForLeaderEpoch, versions 2 to 4: where the records of a leader epoch end (KIP-320). One broker, one leader, one epoch: a
 * consumer that asks whether its log was cut learns the end of the log.
 */
import { offsetForLeaderEpoch } from '../../protocol/schemas/23-offset-for-leader-epoch.js'
import { ErrorCode } from '../../protocol/error-codes.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { handler } from '../handler.js'
import type { Partition } from '../partitions/partition.js'
import type { Services } from '../services.js'

type Request = RequestOf<typeof offsetForLeaderEpoch>
type Response = ResponseInputOf<typeof offsetForLeaderEpoch>
type PartitionRequest = Request['topics'][number]['partitions'][number]
type PartitionResponse = Response['topics'][number]['partitions'][number]

export const offsetForLeaderEpochHandler = handler({ api: offsetForLeaderEpoch, handle })

function handle ({ topics }: Pick<Services, 'topics'>, request: Request): Response {
  return {
    topics: request.topics.map(({ topic, partitions }) => ({
      topic,
      partitions: partitions.map((asked) => answer(topics.get(topic)?.partitions[asked.partition], asked))
    }))
  }
}

function answer (partition: Partition | undefined, { partition: index, currentLeaderEpoch, leaderEpoch }: PartitionRequest): PartitionResponse {
  const refused = (errorCode: ErrorCode): PartitionResponse => ({ errorCode, partition: index, leaderEpoch: -1, endOffset: -1 })
  if (partition === undefined) return refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
  if (currentLeaderEpoch >= 0 && currentLeaderEpoch !== partition.leaderEpoch) {
    return refused(currentLeaderEpoch < partition.leaderEpoch ? ErrorCode.FENCED_LEADER_EPOCH : ErrorCode.UNKNOWN_LEADER_EPOCH)
  }
  // An epoch that never was has no end: Kafka answers -1 for both (UNDEFINED_EPOCH_OFFSET).
  if (leaderEpoch < 0 || leaderEpoch > partition.leaderEpoch) return refused(ErrorCode.NONE)
  return { errorCode: ErrorCode.NONE, partition: index, leaderEpoch: partition.leaderEpoch, endOffset: partition.highWatermark }
}
