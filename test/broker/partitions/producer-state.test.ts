import { test } from 'tap'
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import {
  afterAppend, BATCHES_REMEMBERED_MAX, checkSequence, isExpired, sequenceAfter, type ProducerEntry
} from '../../../src/broker/partitions/producer-state.js'

const SEQUENCE_MAX = 2 ** 31 - 1
const batch = (firstSequence: number, recordCount: number, producerEpoch = 0) => ({ producerId: 7, producerEpoch, firstSequence, recordCount })

/** Appends batches of [first sequence, count, epoch] one after the other and gives the state they leave. */
function history (...batches: readonly [number, number, number?][]): ProducerEntry | undefined {
  let entry: ProducerEntry | undefined
  let offset = 100
  for (const [first, count, epoch] of batches) {
    entry = afterAppend(entry, batch(first, count, epoch), offset, -1, 1000)
    offset += count
  }
  return entry
}

const cases: readonly {
  readonly title: string
  readonly before: ProducerEntry | undefined
  readonly batch: ReturnType<typeof batch>
  readonly expect: 'append' | { readonly duplicateAt: number } | { readonly errorCode: number }
}[] = [
  { title: 'an unknown producer starts at 0', before: undefined, batch: batch(0, 1), expect: 'append' },
  { title: 'an unknown producer starts anywhere', before: undefined, batch: batch(4711, 3, 5), expect: 'append' },
  { title: 'the next sequence', before: history([0, 10]), batch: batch(10, 1), expect: 'append' },
  { title: 'the batch before, again', before: history([0, 10], [10, 5]), batch: batch(10, 5), expect: { duplicateAt: 110 } },
  { title: 'the oldest of five, again', before: history([0, 1], [1, 1], [2, 1], [3, 1], [4, 1]), batch: batch(0, 1), expect: { duplicateAt: 100 } },
  { title: 'the sixth youngest is forgotten', before: history([0, 1], [1, 1], [2, 1], [3, 1], [4, 1], [5, 1]), batch: batch(0, 1), expect: { errorCode: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER } },
  { title: 'the same first sequence with another count is no duplicate', before: history([0, 10]), batch: batch(0, 9), expect: { errorCode: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER } },
  { title: 'a gap', before: history([0, 10]), batch: batch(11, 1), expect: { errorCode: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER } },
  { title: 'an overlap', before: history([0, 10]), batch: batch(5, 10), expect: { errorCode: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER } },
  { title: 'an older epoch', before: history([0, 1, 3]), batch: batch(1, 1, 2), expect: { errorCode: ErrorCode.INVALID_PRODUCER_EPOCH } },
  { title: 'an older epoch, even with a known sequence', before: history([0, 1, 3]), batch: batch(0, 1, 2), expect: { errorCode: ErrorCode.INVALID_PRODUCER_EPOCH } },
  { title: 'a new epoch at 0', before: history([0, 10]), batch: batch(0, 10, 1), expect: 'append' },
  { title: 'a new epoch not at 0', before: history([0, 10]), batch: batch(10, 1, 1), expect: { errorCode: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER } },
  { title: 'a batch of the epoch before is not a duplicate of the new one', before: history([0, 1], [0, 2, 1]), batch: batch(0, 1, 1), expect: { errorCode: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER } },
  { title: '0 follows the largest sequence', before: history([SEQUENCE_MAX, 1]), batch: batch(0, 1), expect: 'append' },
  { title: 'nothing else follows the largest sequence', before: history([SEQUENCE_MAX, 1]), batch: batch(1, 1), expect: { errorCode: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER } },
  { title: 'a batch across the wrap is followed by what it left', before: history([SEQUENCE_MAX - 1, 5]), batch: batch(3, 1), expect: 'append' },
  { title: 'a batch across the wrap, again', before: history([SEQUENCE_MAX - 1, 5]), batch: batch(SEQUENCE_MAX - 1, 5), expect: { duplicateAt: 100 } },
  { title: '0 without a wrap', before: history([0, 10]), batch: batch(0, 1), expect: { errorCode: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER } }
]

test('checkSequence', async (t) => {
  for (const { title, before, batch, expect } of cases) {
    const verdict = checkSequence(before, batch)
    if (expect === 'append') t.same(verdict, { kind: 'append' }, title)
    else if ('duplicateAt' in expect) t.match(verdict, { kind: 'duplicate', of: { baseOffset: expect.duplicateAt } }, title)
    else t.match(verdict, { kind: 'refused', refusal: { errorCode: expect.errorCode } }, title)
  }
})

test('afterAppend keeps the last batches and changes nothing in place', async (t) => {
  const five = history([0, 1], [1, 1], [2, 1], [3, 1], [4, 1])!
  const frozen = JSON.stringify(five)
  const six = afterAppend(five, batch(5, 1), 105, -1, 2000)
  t.equal(JSON.stringify(five), frozen)
  t.equal(six.batches.length, BATCHES_REMEMBERED_MAX)
  t.same(six.batches.map((b) => b.firstSequence), [1, 2, 3, 4, 5])
  t.equal(six.lastAppendMs, 2000)
  t.equal(afterAppend(six, batch(0, 1, 1), 106, -1, 2000).batches.length, 1, 'a new epoch forgets the old one')
})

test('sequences wrap and entries expire', async (t) => {
  t.equal(sequenceAfter(SEQUENCE_MAX, 1), 0)
  t.equal(sequenceAfter(SEQUENCE_MAX - 3, 10), 6)
  const entry = history([0, 1])!
  t.notOk(isExpired(entry, 1999, 1000))
  t.ok(isExpired(entry, 2000, 1000))
})
