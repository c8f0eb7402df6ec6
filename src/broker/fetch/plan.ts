/**
 * The decisions of a fetch, without the reading: may this partition be read and up to where, and which partitions can be read
 * together without breaking the request's size limits (KIP-74). Pure.
 */
import { ErrorCode } from '../../protocol/error-codes.js'
import type { Partition } from '../partitions/partition.js'

/** One partition as a request, or the session it belongs to, asks for it. */
export interface FetchTarget {
  readonly fetchOffset: number
  readonly partitionMaxBytes: number
  /** What the client believes the leader's epoch is; -1 when it does not say (KIP-320). */
  readonly currentLeaderEpoch: number
  /** Epoch of the last record that the client has; -1 when it does not say (KIP-595). */
  readonly lastFetchedEpoch: number
}

export type PartitionOffsets = Pick<Partition, 'leaderEpoch' | 'logStartOffset' | 'highWatermark' | 'logEndOffset' | 'lastStableOffset'>

export const READ_COMMITTED = 1

const LOCAL_RESPONSE_BYTES = 1536 * 1024
const LOCAL_RESPONSE_BYTES_PER_PARTITION = 16 * 1024
/** What clients ask of a partition by default. */
const LOCAL_PARTITION_BYTES = 1024 * 1024
const LOOPBACK = /^\/(127\.|::1$)/

export type Judgement =
  /** Records from the fetch offset to `endOffset` may be returned. */
  | { readonly kind: 'readable', readonly endOffset: number }
  /** Nothing there yet: this is what a long poll waits for. */
  | { readonly kind: 'at-end' }
  | { readonly kind: 'diverged', readonly epoch: number, readonly endOffset: number }
  | { readonly kind: 'refused', readonly errorCode: ErrorCode }

const AT_END: Judgement = { kind: 'at-end' }

export function judge (target: FetchTarget, partition: PartitionOffsets, isolationLevel: number): Judgement {
  const { leaderEpoch, logStartOffset, logEndOffset } = partition
  if (target.currentLeaderEpoch >= 0 && target.currentLeaderEpoch !== leaderEpoch) {
    return refused(target.currentLeaderEpoch < leaderEpoch ? ErrorCode.FENCED_LEADER_EPOCH : ErrorCode.UNKNOWN_LEADER_EPOCH)
  }
  if (target.lastFetchedEpoch >= 0 && (target.lastFetchedEpoch > leaderEpoch || target.fetchOffset > logEndOffset)) {
    return { kind: 'diverged', epoch: leaderEpoch, endOffset: logEndOffset }
  }
  if (target.fetchOffset < logStartOffset || target.fetchOffset > logEndOffset) return refused(ErrorCode.OFFSET_OUT_OF_RANGE)
  const endOffset = isolationLevel === READ_COMMITTED ? partition.lastStableOffset : partition.highWatermark
  return target.fetchOffset < endOffset ? { kind: 'readable', endOffset } : AT_END
}

/**
 * How many of the partitions from `from` on can be read at the same time: each is sure to fit into what is left of the request's
 * limit whatever the ones before it return, so the answer is the one that reading in request order would give. No more of them than
 * may bring the bytes wanted. The first partition of all goes alone, because its first batch is returned whatever its size. At least 1.
 */
export function waveCount (partitionMaxBytes: readonly number[], from: number, bytesLeft: number, bytesWanted = bytesLeft): number {
  if (from === 0) return 1
  let sum = 0
  let count = 0
  for (let i = from; i < partitionMaxBytes.length && sum < bytesWanted; i++) {
    sum += Math.max(0, partitionMaxBytes[i]!)
    if (sum > bytesLeft) break
    count++
  }
  return Math.max(1, count)
}

export interface ResponseSize {
  /** With so many, no other partition is begun. */
  readonly bytesEnough: number
  /** Of one partition, whatever more the client would take of it. */
  readonly partitionBytesMax: number
}

/**
 * How large a response should be. A client on this machine takes what is sent out of the processor's caches, as long as it is not more than fits
 * there: more than a few megabytes in one piece cost both sides half as much again as the same bytes in pieces, and while a client works on a piece,
 * the next one is read; but each fetch has its price (docs/benchmarks.md). Over a network larger pieces make up for the way there and back, and a request of many
 * partitions has to be worth its reading.
 */
export function responseSize (clientHost: string, bytesMin: number, partitionCount: number): ResponseSize {
  if (!LOOPBACK.test(clientHost)) return { bytesEnough: Infinity, partitionBytesMax: Infinity }
  const bytesEnough = Math.max(bytesMin, LOCAL_RESPONSE_BYTES + partitionCount * LOCAL_RESPONSE_BYTES_PER_PARTITION)
  return { bytesEnough, partitionBytesMax: Math.max(bytesMin, LOCAL_PARTITION_BYTES) }
}

/** The same partitions, beginning with another one. Who has no session has no memory of whose turn it is: a random start starves nobody. */
export function startingAt<T> (partitions: readonly T[], index: number): readonly T[] {
  return index === 0 ? partitions : [...partitions.slice(index), ...partitions.slice(0, index)]
}

function refused (errorCode: ErrorCode): Judgement {
  return { kind: 'refused', errorCode }
}
