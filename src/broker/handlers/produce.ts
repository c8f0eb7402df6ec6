/**
 * Produce, versions 3 to 13: appends one record batch per partition.
 *
 * All batches are checked and appended before the first await, so pipelined requests keep their order. The answer waits until
 * they are committed, for acks=1 as for acks=all: there is one replica, and an acknowledgement always means what the flush
 * policy says. acks=0 gets no answer; an error then closes the connection, which is how Kafka makes such a producer notice.
 *
 * Left out: transactions (a transactional batch is refused as one of an unknown transaction), and timeoutMs, which bounds
 * the wait for other replicas.
 */
import { produce } from '../../protocol/schemas/00-produce.js'
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { codec } from '../../protocol/batch-header.js'
import type { Appended, AppendRefusal } from '../partitions/partition.js'
import type { Services } from '../services.js'
import type { Topic } from '../topics/topics.js'
import { CLOSE_CONNECTION, handler, NO_RESPONSE, type HandlerResult, type RequestContext } from '../handler.js'

type Request = RequestOf<typeof produce>
type TopicResponse = ResponseInputOf<typeof produce>['responses'][number]
type PartitionResponse = TopicResponse['partitionResponses'][number]

/** A batch that was accepted, and the part of the answer that what comes of it is written into. */
interface Waiting {
  readonly committed: Promise<Refusal | undefined>
  readonly response: { -readonly [K in keyof PartitionResponse]: PartitionResponse[K] }
}

const HEADER_BYTES_MIN = 61
const CODEC_ZSTD = 4
const VERSION_WITH_ZSTD = 7
const VERSION_WITH_TOPIC_IDS = 13

// A log copies what is appended to it.
export const produceHandler = handler({ api: produce, copiesRequest: true, handle })

function handle ({ topics }: Pick<Services, 'topics'>, request: Request, context: RequestContext): HandlerResult<typeof produce> | Promise<HandlerResult<typeof produce>> {
  const responses: TopicResponse[] = []
  const waiting: Waiting[] = []
  let refusedCount = 0
  for (const { name, topicId, partitionData } of request.topicData) {
    const topic = context.apiVersion >= VERSION_WITH_TOPIC_IDS ? topics.getById(topicId) : topics.get(name)
    const refusal = refuseTopic(topic, request.acks, context.apiVersion)
    const partitionResponses: PartitionResponse[] = []
    for (const { index, records } of partitionData) {
      const outcome = refusal ?? appendTo(topic!, index, records, context.apiVersion)
      const response = 'committed' in outcome ? acceptedResponse(index, outcome) : refusedResponse(index, outcome)
      partitionResponses.push(response)
      if ('committed' in outcome) {
        waiting.push({ committed: outcome.committed, response })
      } else {
        refusedCount++
      }
    }
    responses.push({ name, topicId, partitionResponses })
  }
  if (request.acks === 0) return refusedCount === 0 ? silentWhenCommitted(waiting) : CLOSE_CONNECTION
  if (waiting.length === 0) return { responses }
  return answerWhenCommitted(responses, waiting)
}

/** The request stays in work until then, so that a producer that waits for nothing cannot be faster than the disk for long. */
async function silentWhenCommitted (waiting: readonly Waiting[]): Promise<typeof NO_RESPONSE | typeof CLOSE_CONNECTION> {
  let isLost = false
  for (const { committed } of waiting) if (await committed !== undefined) isLost = true
  return isLost ? CLOSE_CONNECTION : NO_RESPONSE
}

async function answerWhenCommitted (responses: TopicResponse[], waiting: readonly Waiting[]): Promise<HandlerResult<typeof produce>> {
  for (const { committed, response } of waiting) {
    const refusal = await committed
    if (refusal !== undefined) Object.assign(response, refusedResponse(response.index, refusal))
  }
  return { responses }
}

/** Why no partition of the topic takes records; undefined when they may. */
function refuseTopic (topic: Topic | undefined, acks: number, apiVersion: number): Refusal | undefined {
  if (acks !== 0 && acks !== 1 && acks !== -1) {
    return { errorCode: ErrorCode.INVALID_REQUIRED_ACKS, errorMessage: `acks is ${acks}; valid are 0, 1 and -1` }
  }
  if (topic === undefined) {
    return apiVersion >= VERSION_WITH_TOPIC_IDS
      ? { errorCode: ErrorCode.UNKNOWN_TOPIC_ID, errorMessage: 'This broker has no topic with this id' }
      : { errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, errorMessage: 'This broker has no such topic' }
  }
  if (topic.internal) {
    return { errorCode: ErrorCode.INVALID_TOPIC_EXCEPTION, errorMessage: `${topic.name} is an internal topic: clients must not write to it` }
  }
  // As Kafka counts since 4.0: a topic cannot ask for more replicas than it has.
  const replicasNeeded = Math.min(topic.config['min.insync.replicas'], topic.replicationFactor)
  if (acks === -1 && replicasNeeded > 1) {
    return { errorCode: ErrorCode.NOT_ENOUGH_REPLICAS, errorMessage: `${topic.name} needs ${replicasNeeded} replicas in sync (min.insync.replicas) and has 1` }
  }
  return undefined
}

function appendTo (topic: Topic, index: number, records: readonly Buffer[] | null, apiVersion: number): Appended | AppendRefusal {
  const partition = topic.partitions[index]
  if (partition === undefined) {
    return { errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, errorMessage: `${topic.name} has ${topic.partitions.length} partitions, not one with the index ${index}` }
  }
  if (records === null || records.length === 0 || records[0]!.length === 0) {
    return { errorCode: ErrorCode.INVALID_RECORD, errorMessage: 'A produce request must contain exactly one record batch per partition' }
  }
  // A decoder gives one view into the frame; a caller inside the process may give more.
  const batch = records.length === 1 ? records[0]! : Buffer.concat(records)
  // Clients that speak an older version could not read it back (KIP-110).
  if (apiVersion < VERSION_WITH_ZSTD && batch.length >= HEADER_BYTES_MIN && codec(batch) === CODEC_ZSTD) {
    return { errorCode: ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, errorMessage: `Produce version ${apiVersion} does not know zstd; version ${VERSION_WITH_ZSTD} does` }
  }
  return partition.append(batch, 'client')
}

function acceptedResponse (index: number, appended: Appended): PartitionResponse {
  return {
    index,
    errorCode: ErrorCode.NONE,
    baseOffset: appended.baseOffset,
    logAppendTimeMs: appended.logAppendTimeMs,
    logStartOffset: appended.logStartOffset,
    recordErrors: [],
    errorMessage: null
  }
}

function refusedResponse (index: number, refusal: AppendRefusal): PartitionResponse {
  return {
    index,
    errorCode: refusal.errorCode,
    baseOffset: -1,
    logAppendTimeMs: -1,
    logStartOffset: -1,
    recordErrors: refusal.recordErrors?.map(({ batchIndex, message }) => ({ batchIndex, batchIndexErrorMessage: message })) ?? [],
    errorMessage: refusal.errorMessage
  }
}
