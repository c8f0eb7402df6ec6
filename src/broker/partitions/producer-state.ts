/**
 * What a partition remembers of its idempotent producers (KIP-98): pure state, no time and no storage of its own.
 *
 * `checkSequence` says what to do with a batch: append it, answer it as a duplicate of an earlier one, or refuse it.
 * `afterAppend` gives the producer's next state. Entries are never changed in place, so a failed append needs no undoing and a
 * snapshot is a walk over the map.
 */
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'

/** Kafka keeps as many: a producer has at most 5 requests in flight (max.in.flight.requests.per.connection). */
export const BATCHES_REMEMBERED_MAX = 5
const SEQUENCE_MAX = 0x7fffffff

/** A batch of an idempotent producer, as its header describes it. */
export interface ProducerBatch {
  readonly producerId: number
  readonly producerEpoch: number
  readonly firstSequence: number
  readonly recordCount: number
}

/** One of the last batches of a producer: enough to recognise it and to repeat its answer. */
export interface RememberedBatch {
  readonly firstSequence: number
  readonly lastSequence: number
  readonly baseOffset: number
  readonly recordCount: number
  readonly logAppendTimeMs: number
}

export interface ProducerEntry {
  readonly epoch: number
  /** Wall time of the last append, for expiry. */
  readonly lastAppendMs: number
  /** Oldest first, never empty, at most `BATCHES_REMEMBERED_MAX`. */
  readonly batches: readonly RememberedBatch[]
}

export type SequenceVerdict =
  | { readonly kind: 'append' }
  | { readonly kind: 'duplicate', readonly of: RememberedBatch }
  | { readonly kind: 'refused', readonly refusal: Refusal }

const APPEND: SequenceVerdict = { kind: 'append' }

/** The sequence number `delta` records after `sequence`: it goes from 2^31 - 1 to 0. */
export function sequenceAfter (sequence: number, delta: number): number {
  const sum = sequence + delta
  return sum > SEQUENCE_MAX ? sum - SEQUENCE_MAX - 1 : sum
}

/** `entry` is what is known of the batch's producer; undefined when nothing is, or no longer. */
export function checkSequence (entry: ProducerEntry | undefined, batch: ProducerBatch): SequenceVerdict {
  // A producer whose state expired or was deleted with its records goes on where it was.
  if (entry === undefined) return APPEND
  if (batch.producerEpoch < entry.epoch) {
    return refused(ErrorCode.INVALID_PRODUCER_EPOCH,
      `Epoch ${batch.producerEpoch} of producer ${batch.producerId} is older than its last one, ${entry.epoch}`)
  }
  if (batch.producerEpoch > entry.epoch) {
    if (batch.firstSequence === 0) return APPEND
    return refused(ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
      `Producer ${batch.producerId} began epoch ${batch.producerEpoch} with sequence ${batch.firstSequence} instead of 0`)
  }
  const lastSequence = sequenceAfter(batch.firstSequence, batch.recordCount - 1)
  const batches = entry.batches
  for (let i = batches.length - 1; i >= 0; i--) {
    const remembered = batches[i]!
    if (remembered.firstSequence === batch.firstSequence && remembered.lastSequence === lastSequence) {
      return { kind: 'duplicate', of: remembered }
    }
  }
  const expected = sequenceAfter(batches[batches.length - 1]!.lastSequence, 1)
  if (batch.firstSequence === expected) return APPEND
  return refused(ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
    `Producer ${batch.producerId} sent sequence ${batch.firstSequence} where ${expected} was expected`)
}

/** The producer's state once `batch` stands at `baseOffset`. Also replays batches from the log, which were checked before. */
export function afterAppend (entry: ProducerEntry | undefined, batch: ProducerBatch, baseOffset: number,
  logAppendTimeMs: number, nowMs: number): ProducerEntry {
  const remembered: RememberedBatch = {
    firstSequence: batch.firstSequence,
    lastSequence: sequenceAfter(batch.firstSequence, batch.recordCount - 1),
    baseOffset,
    recordCount: batch.recordCount,
    logAppendTimeMs
  }
  if (entry === undefined || entry.epoch !== batch.producerEpoch) {
    return { epoch: batch.producerEpoch, lastAppendMs: nowMs, batches: [remembered] }
  }
  const kept = entry.batches.length < BATCHES_REMEMBERED_MAX ? entry.batches.slice() : entry.batches.slice(1)
  kept.push(remembered)
  return { epoch: entry.epoch, lastAppendMs: nowMs, batches: kept }
}

export function isExpired (entry: ProducerEntry, nowMs: number, expirationMs: number): boolean {
  return nowMs - entry.lastAppendMs >= expirationMs
}

function refused (errorCode: ErrorCode, errorMessage: string): SequenceVerdict {
  return { kind: 'refused', refusal: { errorCode, errorMessage } }
}
