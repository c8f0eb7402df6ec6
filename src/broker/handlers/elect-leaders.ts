/** ElectLeaders, versions 0 to 2 (KIP-183, KIP-460): the one broker leads every partition already. */
import { ErrorCode } from '../../protocol/error-codes.js'
import { electLeaders } from '../../protocol/schemas/43-elect-leaders.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { handler } from '../handler.js'
import type { Services } from '../services.js'

const ELECTION_TYPE_UNCLEAN = 1

export const electLeadersHandler = handler({ api: electLeaders, handle })

function handle ({ topics }: Pick<Services, 'topics'>, { electionType, topicPartitions }: RequestOf<typeof electLeaders>): ResponseInputOf<typeof electLeaders> {
  if (electionType < 0 || electionType > ELECTION_TYPE_UNCLEAN) return { throttleTimeMs: 0, errorCode: ErrorCode.INVALID_REQUEST, replicaElectionResults: [] }
  // Asked about all partitions, Kafka leaves out those that need no election.
  const replicaElectionResults = (topicPartitions ?? []).map(({ topic, partitions }) => ({
    topic,
    partitionResult: partitions.map((partitionId) => topics.get(topic)?.partitions[partitionId] === undefined
      ? { partitionId, errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, errorMessage: `No such ${topics.get(topic) === undefined ? `topic as ${topic}` : `partition as ${topic}-${partitionId}`}` }
      : { partitionId, errorCode: ErrorCode.ELECTION_NOT_NEEDED, errorMessage: 'Leader election not needed for topic partition.' })
  }))
  return { throttleTimeMs: 0, errorCode: ErrorCode.NONE, replicaElectionResults }
}
