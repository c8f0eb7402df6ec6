/**
 * Fetch, versions 4 to 18: returns whole record batches by reference, at once when `minBytes` are there, else when they are, the
 * client's time is over, a partition has an error, or the client is gone. Incremental sessions (KIP-227) in fetch/sessions.ts,
 * sizes (KIP-74) and epochs (KIP-320) in fetch/plan.ts.
 *
 * Left out: aborted transactions (there are none: the list is empty), other replicas to read from (KIP-392).
 */
import { fetch } from '../../protocol/schemas/01-fetch.js'
import { ErrorCode } from '../../protocol/error-codes.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { READ_COMMITTED, responseSize } from '../fetch/plan.js'
import { FetchCollector, type FetchOutcome } from '../fetch/collector.js'
import type { FetchContext, FetchPartition } from '../fetch/sessions.js'
import { AdvanceWatch } from '../fetch/advance-watch.js'
import { handler, type RequestContext } from '../handler.js'
import type { Partition } from '../partitions/partition.js'
import type { Services } from '../services.js'

type Request = RequestOf<typeof fetch>
type Response = ResponseInputOf<typeof fetch>
type TopicResponse = Response['responses'][number]
type PartitionResponse = TopicResponse['partitions'][number]
type FetchServices = Pick<Services, 'topics' | 'fetchSessions' | 'fetchMemory' | 'clock' | 'config'>

const VERSION_WITH_TOPIC_IDS = 13

export const fetchHandler = handler({ api: fetch, copiesRequest: true, handle })

function handle (services: FetchServices, request: Request, context: RequestContext): Response | Promise<Response> {
  const usesTopicIds = context.apiVersion >= VERSION_WITH_TOPIC_IDS
  const session = services.fetchSessions.open({
    sessionId: request.sessionId,
    sessionEpoch: request.sessionEpoch,
    usesTopicIds,
    partitions: requestedPartitions(request),
    forgotten: forgottenPartitions(request)
  })
  if ('errorCode' in session) return { errorCode: session.errorCode, sessionId: 0, responses: [] }
  const collector = collectorOf(services, request, session, context)
  const answer = (): Response => responseOf(collector.outcomes, request, session, context)
  const reading = collector.readMore()
  if (reading === undefined && isAnswered(collector, request)) return answer()
  return waitForMore(services, request, collector, context, reading).then(answer)
}

function collectorOf ({ topics, config, fetchMemory }: FetchServices, request: Request, session: FetchContext, context: RequestContext): FetchCollector {
  const usesTopicIds = context.apiVersion >= VERSION_WITH_TOPIC_IDS
  const memory = fetchMemory.share(context.connectionId)
  context.onSent(memory.giveAll)
  const bytesMax = Math.max(0, Math.min(request.maxBytes, config['fetch.max.bytes']))
  const bytesMin = Math.min(request.minBytes, bytesMax)
  return new FetchCollector(session.partitions, (target) => findPartition(topics, target, usesTopicIds), {
    bytesMin,
    bytesMax,
    ...responseSize(context.clientHost, bytesMin, session.partitions.length),
    // A session remembers whose turn it is.
    startsAnywhere: session.sessionId === 0,
    isolationLevel: request.isolationLevel
  }, memory)
}

/** After a first look at every partition. */
function isAnswered (collector: FetchCollector, request: Request): boolean {
  return collector.isEnough || request.maxWaitMs <= 0 || collector.outcomes.length === 0
}

/** Reads until there is something to answer, the time is over, or the client is gone. */
async function waitForMore ({ clock }: FetchServices, request: Request, collector: FetchCollector, context: RequestContext, reading: Promise<void> | undefined): Promise<void> {
  await reading
  if (isAnswered(collector, request)) return
  const watch = new AdvanceWatch(collector.partitions, clock, request.maxWaitMs, context.closed)
  try {
    // Something may have been committed while the reads above were under way, so reading comes before waiting.
    for (;;) {
      await collector.readMore()
      if (collector.isEnough || watch.ended) return
      await watch.wait()
    }
  } finally {
    watch.close()
  }
}

function responseOf (outcomes: readonly FetchOutcome[], request: Request, session: FetchContext, context: RequestContext): Response {
  const usesTopicIds = context.apiVersion >= VERSION_WITH_TOPIC_IDS
  const topicsByKey = new Map<string, { topic: string, topicId: string, partitions: PartitionResponse[] }>()
  for (const outcome of outcomes) {
    const { target } = outcome
    if (!session.mustTell(target, outcome)) continue
    const key = usesTopicIds ? target.topicId : target.topic
    let topic = topicsByKey.get(key)
    if (topic === undefined) {
      topic = { topic: target.topic, topicId: target.topicId, partitions: [] }
      topicsByKey.set(key, topic)
    }
    topic.partitions.push(partitionResponse(outcome, request.isolationLevel))
  }
  return { errorCode: ErrorCode.NONE, sessionId: session.sessionId, responses: [...topicsByKey.values()] }
}

function findPartition (topics: Services['topics'], { topic, topicId, partition }: FetchPartition, usesTopicIds: boolean): Partition | ErrorCode {
  const found = usesTopicIds ? topics.getById(topicId) : topics.get(topic)
  if (found === undefined) return usesTopicIds ? ErrorCode.UNKNOWN_TOPIC_ID : ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
  return found.partitions[partition] ?? ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
}

function requestedPartitions ({ topics }: Request): FetchPartition[] {
  const requested: FetchPartition[] = []
  for (const { topic, topicId, partitions } of topics) {
    for (const { partition, fetchOffset, partitionMaxBytes, currentLeaderEpoch, lastFetchedEpoch } of partitions) {
      requested.push({ topic, topicId, partition, fetchOffset, partitionMaxBytes, currentLeaderEpoch, lastFetchedEpoch })
    }
  }
  return requested
}

function forgottenPartitions ({ forgottenTopicsData }: Request): Pick<FetchPartition, 'topic' | 'topicId' | 'partition'>[] {
  const forgotten: Pick<FetchPartition, 'topic' | 'topicId' | 'partition'>[] = []
  for (const { topic, topicId, partitions } of forgottenTopicsData) {
    for (const partition of partitions) forgotten.push({ topic, topicId, partition })
  }
  return forgotten
}

function partitionResponse (outcome: FetchOutcome, isolationLevel: number): PartitionResponse {
  return {
    partitionIndex: outcome.target.partition,
    errorCode: outcome.errorCode,
    highWatermark: outcome.highWatermark,
    lastStableOffset: outcome.lastStableOffset,
    logStartOffset: outcome.logStartOffset,
    divergingEpoch: outcome.diverged ? { epoch: outcome.divergingEpoch, endOffset: outcome.divergingEndOffset } : undefined,
    abortedTransactions: isolationLevel === READ_COMMITTED ? [] : null,
    records: outcome.records
  }
}
