/**
 * The checks that need a look at each record: keys where the topic is compacted, timestamps where a limit was set or broken. Names
 * the records that are wrong, as Kafka does (KIP-467). Pure.
 */
import { CodecUnavailableError, decompress } from '../../protocol/compression.js'
import { ErrorCode } from '../../protocol/error-codes.js'
import { ProtocolError } from '../../protocol/protocol-error.js'
import { decodeBatch, type DecodedRecord } from '../../protocol/records.js'
import type { AppendRefusal } from './partition.js'

export interface RecordRules {
  readonly keyNeeded: boolean
  /** In ms since the epoch, inclusive. A record without a timestamp (-1) keeps every limit. */
  readonly timestampMinMs: number
  readonly timestampMaxMs: number
}

const NO_TIMESTAMP = -1
/** Kafka names a few examples in the message and all records in the list. */
const EXAMPLES_MAX = 3
/** A list that fits a response whatever the batch. */
const RECORD_ERRORS_MAX = 1000

export function checkRecords (batch: Buffer, rules: RecordRules, openedBytesMax: number): AppendRefusal | undefined {
  let records: readonly DecodedRecord[]
  try {
    records = decodeBatch(batch, decompress, openedBytesMax)
  } catch (error) {
    return unreadable(error)
  }
  const recordErrors: { readonly batchIndex: number, readonly message: string }[] = []
  let errorCode: ErrorCode | undefined
  for (let index = 0; index < records.length && recordErrors.length < RECORD_ERRORS_MAX; index++) {
    const { key, timestampMs } = records[index]!
    if (rules.keyNeeded && key === null) {
      recordErrors.push({ batchIndex: index, message: 'A compacted topic takes no record without a key' })
      errorCode ??= ErrorCode.INVALID_RECORD
    } else if (timestampMs !== NO_TIMESTAMP && (timestampMs < rules.timestampMinMs || timestampMs > rules.timestampMaxMs)) {
      recordErrors.push({ batchIndex: index, message: `Timestamp ${timestampMs} is not from ${rules.timestampMinMs} to ${rules.timestampMaxMs}` })
      errorCode ??= ErrorCode.INVALID_TIMESTAMP
    }
  }
  if (errorCode === undefined) return undefined
  const examples = recordErrors.slice(0, EXAMPLES_MAX).map(({ batchIndex, message }) => `record ${batchIndex}: ${message}`).join('; ')
  return { errorCode, errorMessage: `${recordErrors.length} records of the batch are refused: ${examples}`, recordErrors }
}

/** The refusal of a batch that had to be opened and cannot be. */
export function unreadable (error: unknown): AppendRefusal {
  if (error instanceof CodecUnavailableError) return { errorCode: ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, errorMessage: error.message }
  if (error instanceof ProtocolError) return { errorCode: ErrorCode.INVALID_RECORD, errorMessage: `The records of the batch cannot be read: ${error.message}` }
  throw error
}
