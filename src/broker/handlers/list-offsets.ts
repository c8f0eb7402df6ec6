/**
 * ListOffsets, versions 1 to 11: the offset that belongs to a time, exact to the record, or to one of the special times.
 */
import { listOffsets } from '../../protocol/schemas/02-list-offsets.js'
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { READ_COMMITTED } from '../fetch/plan.js'
import { handler, type RequestContext } from '../handler.js'
import type { OffsetAndTimestamp, Partition } from '../partitions/partition.js'
import { isRefusal } from '../partitions/storage-refusal.js'
import type { Services } from '../services.js'

type Request = RequestOf<typeof listOffsets>
type Response = ResponseInputOf<typeof listOffsets>
type PartitionRequest = Request['topics'][number]['partitions'][number]
type PartitionResponse = Response['topics'][number]['partitions'][number]

const LATEST = -1
const EARLIEST = -2
/** KIP-734. */
const TIMESTAMP_MAX = -3
/** Local, tiered (KIP-405) and not yet tiered (KIP-1023) records: without tiers everything is local. */
const EARLIEST_LOCAL = -4
const LATEST_TIERED = -5
const EARLIEST_PENDING_UPLOAD = -6

/** The first version in which a client may ask for a special time. */
const VERSION_MIN: ReadonlyMap<number, number> = new Map([
  [LATEST, 0], [EARLIEST, 0], [TIMESTAMP_MAX, 7], [EARLIEST_LOCAL, 8], [LATEST_TIERED, 9], [EARLIEST_PENDING_UPLOAD, 11]
])

const NOT_FOUND: OffsetAndTimestamp = { offset: -1, timestampMs: -1 }

export const listOffsetsHandler = handler({ api: listOffsets, handle })

async function handle ({ topics }: Pick<Services, 'topics'>, request: Request, context: RequestContext): Promise<Response> {
  const duplicates = duplicatesOf(request)
  return {
    topics: await Promise.all(request.topics.map(async ({ name, partitions }) => {
      const topic = topics.get(name)
      return {
        name,
        partitions: await Promise.all(partitions.map((asked) => duplicates.has(`${name}-${asked.partitionIndex}`)
          ? refused(asked, ErrorCode.INVALID_REQUEST)
          : answer(topic?.partitions[asked.partitionIndex], asked, request.isolationLevel, context.apiVersion)))
      }
    }))
  }
}

async function answer (partition: Partition | undefined, asked: PartitionRequest, isolationLevel: number, apiVersion: number): Promise<PartitionResponse> {
  if (partition === undefined) return refused(asked, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
  const { leaderEpoch } = partition
  if (asked.currentLeaderEpoch >= 0 && asked.currentLeaderEpoch !== leaderEpoch) {
    return refused(asked, asked.currentLeaderEpoch < leaderEpoch ? ErrorCode.FENCED_LEADER_EPOCH : ErrorCode.UNKNOWN_LEADER_EPOCH)
  }
  if (asked.timestamp < 0 && apiVersion < (VERSION_MIN.get(asked.timestamp) ?? Infinity)) return refused(asked, ErrorCode.UNSUPPORTED_VERSION)
  const found = await lookUp(partition, asked.timestamp, isolationLevel === READ_COMMITTED)
  if (isRefusal(found)) return refused(asked, found.errorCode)
  return {
    partitionIndex: asked.partitionIndex,
    errorCode: ErrorCode.NONE,
    timestamp: found.timestampMs,
    offset: found.offset,
    leaderEpoch: found === NOT_FOUND ? -1 : leaderEpoch
  }
}

async function lookUp (partition: Partition, timestamp: number, readCommitted: boolean): Promise<OffsetAndTimestamp | Refusal> {
  const endOffset = readCommitted ? partition.lastStableOffset : partition.highWatermark
  switch (timestamp) {
    case LATEST: return { offset: endOffset, timestampMs: -1 }
    case EARLIEST:
    case EARLIEST_LOCAL: return { offset: partition.logStartOffset, timestampMs: -1 }
    case LATEST_TIERED:
    case EARLIEST_PENDING_UPLOAD: return NOT_FOUND
    case TIMESTAMP_MAX: return await partition.offsetOfTimestampMax() ?? NOT_FOUND
  }
  const found = await partition.offsetForTimestamp(timestamp)
  if (found === null) return NOT_FOUND
  // A record that read_committed consumers do not see yet is not there for them.
  return isRefusal(found) || found.offset < endOffset ? found : NOT_FOUND
}

/** Partitions that the request names twice, as Kafka refuses them. */
function duplicatesOf (request: Request): ReadonlySet<string> {
  const seen = new Set<string>()
  const duplicates = new Set<string>()
  for (const { name, partitions } of request.topics) {
    for (const { partitionIndex } of partitions) {
      const key = `${name}-${partitionIndex}`
      if (seen.has(key)) duplicates.add(key)
      seen.add(key)
    }
  }
  return duplicates
}

function refused ({ partitionIndex }: PartitionRequest, errorCode: ErrorCode): PartitionResponse {
  return { partitionIndex, errorCode, timestamp: -1, offset: -1, leaderEpoch: -1 }
}
