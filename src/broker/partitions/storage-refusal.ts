/** What a client is told when the log could not do what it asked: the one mapping from `LogError` to Kafka's codes. */
import { LogError, type LogErrorCode } from '../../log/log.js'
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'

const CODES: Readonly<Record<LogErrorCode, ErrorCode>> = {
  // The disk: clients try again, and an operator can mend it meanwhile.
  full: ErrorCode.KAFKA_STORAGE_ERROR,
  failed: ErrorCode.KAFKA_STORAGE_ERROR,
  locked: ErrorCode.KAFKA_STORAGE_ERROR,
  denied: ErrorCode.KAFKA_STORAGE_ERROR,
  // Trying again gives the same bytes: consumers report it with the offset instead of waiting for ever.
  corrupt: ErrorCode.CORRUPT_MESSAGE,
  // The topic was deleted or the broker is closing: clients ask for metadata again.
  closed: ErrorCode.NOT_LEADER_OR_FOLLOWER,
  'too-large': ErrorCode.RECORD_LIST_TOO_LARGE,
  malformed: ErrorCode.CORRUPT_MESSAGE,
  'out-of-range': ErrorCode.OFFSET_OUT_OF_RANGE
}

/** Throws what is not a `LogError` on: that is a bug, not a disk. */
export function storageRefusal (error: unknown): Refusal {
  if (!(error instanceof LogError)) throw error
  return { errorCode: CODES[error.code], errorMessage: error.message }
}

export function isRefusal (value: object | null): value is Refusal {
  return value !== null && 'errorCode' in value
}
