/** What Kafka accepts as a topic (behaviour of ReplicationControlManager): pure checks that return the refusal. */
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'

const NAME_LENGTH_MAX = 249
export const PARTITION_COUNT_MAX = 100_000

/** Topics that Kafka keeps for itself. */
export const INTERNAL_TOPICS: ReadonlySet<string> = new Set(['__consumer_offsets', '__transaction_state', '__share_group_state', '__cluster_metadata', '__producer_snapshots'])

export function refuse (errorCode: ErrorCode, errorMessage: string): Refusal {
  return { errorCode, errorMessage }
}

export function checkTopicName (name: string): Refusal | undefined {
  const invalid = (why: string): Refusal => refuse(ErrorCode.INVALID_TOPIC_EXCEPTION, `Topic name is invalid: ${why}`)
  if (name === '') return invalid('the empty string is not allowed')
  if (name === '.' || name === '..') return invalid(`'${name}' is not allowed`)
  if (name.length > NAME_LENGTH_MAX) return invalid(`the length of '${name}' is longer than the max allowed length ${NAME_LENGTH_MAX}`)
  if (!/^[a-zA-Z0-9._-]+$/.test(name)) return invalid(`'${name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'`)
  return undefined
}

/** Metric names fold '.' and '_', so Kafka allows only one of two names that differ in them alone. */
export function foldedName (name: string): string {
  return name.replaceAll('.', '_')
}

export function checkPartitionCount (partitionCount: number): Refusal | undefined {
  if (partitionCount === 0 || partitionCount < -1) {
    return refuse(ErrorCode.INVALID_PARTITIONS, 'Number of partitions was set to an invalid non-positive value.')
  }
  if (partitionCount > PARTITION_COUNT_MAX) {
    return refuse(ErrorCode.INVALID_PARTITIONS, `${partitionCount} partitions asked for; a topic has at most ${PARTITION_COUNT_MAX} here`)
  }
  return undefined
}

/** There is one broker; `clamp` lets a larger factor pass for it (haulout.replication.factor.clamp). */
export function checkReplicationFactor (replicationFactor: number, clamp: boolean): Refusal | undefined {
  if (replicationFactor === 0 || replicationFactor < -1) {
    return refuse(ErrorCode.INVALID_REPLICATION_FACTOR, 'Replication factor must be larger than 0, or -1 to use the default value.')
  }
  if (replicationFactor > 1 && !clamp) {
    return refuse(ErrorCode.INVALID_REPLICATION_FACTOR,
      `Unable to replicate the partition ${replicationFactor} time(s): this cluster has 1 broker (haulout.replication.factor.clamp=true takes it as 1)`)
  }
  return undefined
}

/** A manual assignment, as CreateTopics and CreatePartitions carry it: each partition's brokers. */
export function checkAssignments (assignments: readonly { readonly brokerIds: readonly number[] }[], nodeId: number): Refusal | undefined {
  for (const { brokerIds } of assignments) {
    if (brokerIds.length === 0) return refuse(ErrorCode.INVALID_REPLICA_ASSIGNMENT, 'The manual partition assignment includes an empty replica list.')
    if (new Set(brokerIds).size < brokerIds.length) {
      return refuse(ErrorCode.INVALID_REPLICA_ASSIGNMENT, 'The manual partition assignment includes the same broker more than once.')
    }
    const unknown = brokerIds.find((brokerId) => brokerId !== nodeId)
    if (unknown !== undefined) {
      return refuse(ErrorCode.INVALID_REPLICA_ASSIGNMENT, `The manual partition assignment includes broker ${unknown}, but no such broker is registered.`)
    }
  }
  return undefined
}
