/** ListPartitionReassignments, version 0 (KIP-455): none, for there is no broker to move a partition to. */
import { ErrorCode } from '../../protocol/error-codes.js'
import { listPartitionReassignments } from '../../protocol/schemas/46-list-partition-reassignments.js'
import { handler } from '../handler.js'

export const listPartitionReassignmentsHandler = handler({
  api: listPartitionReassignments,
  handle: () => ({ throttleTimeMs: 0, errorCode: ErrorCode.NONE, errorMessage: null, topics: [] })
})
