/** A partition as Metadata and DescribeTopicPartitions tell it: one broker, which leads it and is its only replica. */
import { ErrorCode } from '../../protocol/error-codes.js'
import type { Partition } from './partition.js'

export function describePartition ({ index, leaderEpoch }: Pick<Partition, 'index' | 'leaderEpoch'>, nodeId: number) {
  return {
    errorCode: ErrorCode.NONE,
    partitionIndex: index,
    leaderId: nodeId,
    leaderEpoch,
    replicaNodes: [nodeId],
    isrNodes: [nodeId],
    offlineReplicas: []
  }
}
