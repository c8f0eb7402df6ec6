import { gzipSync } from 'node:zlib'
import { test } from 'tap'
import { checkBatch, type BatchRules } from '../../../src/broker/partitions/check-batch.js'
import { crc32c } from '../../../src/crc32c.js'
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import { batchOf, plainBatch } from '../support/batches.js'
import { testPartition, TOPIC_DEFAULTS } from '../support/partitions.js'

const NOW_MS = 10_000_000
const rules: BatchRules = TOPIC_DEFAULTS
const gzip = { attributes: 1, compress: (records: Buffer) => gzipSync(records) }
const compacted = { 'cleanup.policy': ['compact'] }

function changed (at: number, byte: number): Buffer {
  const batch = plainBatch(2)
  batch[at] = byte
  return batch
}

const cases: readonly { readonly title: string, readonly batch: Buffer, readonly rules?: Partial<BatchRules>, readonly errorCode: number | undefined }[] = [
  { title: 'a good batch', batch: plainBatch(3), errorCode: undefined },
  { title: 'shorter than a header', batch: plainBatch().subarray(0, 60), errorCode: ErrorCode.CORRUPT_MESSAGE },
  { title: 'cut off', batch: plainBatch().subarray(0, 70), errorCode: ErrorCode.CORRUPT_MESSAGE },
  { title: 'two batches', batch: Buffer.concat([plainBatch(), plainBatch()]), errorCode: ErrorCode.INVALID_RECORD },
  { title: 'a negative length', batch: changed(8, 0xff), errorCode: ErrorCode.CORRUPT_MESSAGE },
  { title: 'magic 1', batch: plainBatch(1, 10, { magic: 1 }), errorCode: ErrorCode.INVALID_RECORD },
  { title: 'a record with one bit changed', batch: changed(70, 0xee), errorCode: ErrorCode.CORRUPT_MESSAGE },
  { title: 'a wrong checksum', batch: changed(18, 0xee), errorCode: ErrorCode.CORRUPT_MESSAGE },
  { title: 'a base offset', batch: plainBatch(1, 10, { baseOffset: 7 }), errorCode: ErrorCode.INVALID_RECORD },
  { title: 'no records', batch: plainBatch(1, 10, { recordCount: 0, lastOffsetDelta: -1 }), errorCode: ErrorCode.INVALID_RECORD },
  { title: 'a negative count', batch: plainBatch(1, 10, { recordCount: -1, lastOffsetDelta: 0 }), errorCode: ErrorCode.INVALID_RECORD },
  { title: 'a count unlike the last offset', batch: plainBatch(2, 10, { recordCount: 3 }), errorCode: ErrorCode.INVALID_RECORD },
  { title: 'a control batch', batch: plainBatch(1, 10, { attributes: 0x20 }), errorCode: ErrorCode.INVALID_RECORD },
  { title: 'a transactional batch', batch: plainBatch(1, 10, { attributes: 0x10, producerId: 1, producerEpoch: 0, firstSequence: 0 }), errorCode: ErrorCode.INVALID_PRODUCER_ID_MAPPING },
  { title: 'a transactional batch without a producer', batch: plainBatch(1, 10, { attributes: 0x10 }), errorCode: ErrorCode.INVALID_RECORD },
  { title: 'an unknown codec', batch: plainBatch(1, 10, { attributes: 5 }), errorCode: ErrorCode.UNSUPPORTED_COMPRESSION_TYPE },
  { title: 'an idempotent batch', batch: plainBatch(1, 10, { producerId: 1, producerEpoch: 0, firstSequence: 0 }), errorCode: undefined },
  { title: 'a producer without a sequence', batch: plainBatch(1, 10, { producerId: 1, producerEpoch: 0 }), errorCode: ErrorCode.INVALID_RECORD },
  { title: 'a producer without an epoch', batch: plainBatch(1, 10, { producerId: 1, firstSequence: 0 }), errorCode: ErrorCode.INVALID_RECORD },
  { title: 'a negative producer id', batch: plainBatch(1, 10, { producerId: -2, producerEpoch: 0, firstSequence: 0 }), errorCode: ErrorCode.INVALID_PRODUCER_ID_MAPPING },
  { title: 'a producer id that no broker gives', batch: plainBatch(1, 10, { producerId: Number.MAX_SAFE_INTEGER + 1, producerEpoch: 0, firstSequence: 0 }), errorCode: ErrorCode.INVALID_PRODUCER_ID_MAPPING },
  { title: 'as large as allowed', batch: plainBatch(), rules: { 'max.message.bytes': plainBatch().length }, errorCode: undefined },
  { title: 'larger than max.message.bytes', batch: plainBatch(), rules: { 'max.message.bytes': plainBatch().length - 1 }, errorCode: ErrorCode.MESSAGE_TOO_LARGE },
  { title: 'larger than a segment', batch: plainBatch(), rules: { 'segment.bytes': 70 }, errorCode: ErrorCode.RECORD_LIST_TOO_LARGE },
  { title: 'as far in the future as allowed', batch: batchOf([{ timestampMs: NOW_MS + 3_600_000 }]), errorCode: undefined },
  { title: 'too far in the future', batch: batchOf([{ timestampMs: NOW_MS }, { timestampMs: NOW_MS + 3_600_001 }]), errorCode: ErrorCode.INVALID_TIMESTAMP },
  { title: 'any timestamp where the broker gives them', batch: batchOf([{ timestampMs: NOW_MS + 3_600_001 }]), rules: { 'message.timestamp.type': 'LogAppendTime' }, errorCode: undefined },
  { title: 'LogAppendTime from a client', batch: plainBatch(1, 10, { attributes: 0x08 }), errorCode: ErrorCode.INVALID_TIMESTAMP },
  { title: 'more records than fit', batch: plainBatch(1, 1, { recordCount: 1e9, lastOffsetDelta: 1e9 - 1 }), errorCode: ErrorCode.INVALID_RECORD },
  { title: 'keys in a compacted topic', batch: plainBatch(3), rules: compacted, errorCode: undefined },
  { title: 'no key in a topic that is not', batch: batchOf([{ key: null }]), errorCode: undefined },
  { title: 'records that cannot be read, in a compacted topic', batch: batchOf([{ key: 'k' }, { key: 'l' }], { recordCount: 1, lastOffsetDelta: 0 }), rules: compacted, errorCode: ErrorCode.INVALID_RECORD },
  { title: 'too old, where that is limited', batch: batchOf([{ timestampMs: NOW_MS }, { timestampMs: NOW_MS - 5001 }]), rules: { 'message.timestamp.before.max.ms': 5000 }, errorCode: ErrorCode.INVALID_TIMESTAMP },
  { title: 'without a timestamp, where age is limited', batch: batchOf([{ timestampMs: -1 }]), rules: { 'message.timestamp.before.max.ms': 5000 }, errorCode: undefined },
  { title: 'a header that tells a time that no record has', batch: batchOf([{ timestampMs: NOW_MS }], { timestampMaxMs: NOW_MS * 2 }), errorCode: ErrorCode.INVALID_TIMESTAMP }
]

test('the records that are wrong are named', async (t) => {
  const keys = batchOf([{ key: 'a' }, { key: null }, { key: 'b' }, { key: null }], gzip)
  t.match(checkBatch(keys, { ...rules, ...compacted }, NOW_MS), {
    errorCode: ErrorCode.INVALID_RECORD,
    recordErrors: [{ batchIndex: 1 }, { batchIndex: 3 }]
  })
  const times = batchOf([{ timestampMs: NOW_MS }, { timestampMs: NOW_MS * 2 }], gzip)
  t.match(checkBatch(times, rules, NOW_MS), { errorCode: ErrorCode.INVALID_TIMESTAMP, recordErrors: [{ batchIndex: 1, message: /20000000/ }] })
})

test('checkBatch', async (t) => {
  for (const { title, batch, rules: more, errorCode } of cases) {
    t.equal(checkBatch(batch, { ...rules, ...more }, NOW_MS)?.errorCode, errorCode, title)
  }
})

test('crc32c', async (t) => {
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283)
  t.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa)
  t.equal(crc32c(Buffer.alloc(0)), 0)
})

test('any change of any byte, with a checksum that is right again, ends in an answer', async (t) => {
  const batches = [
    batchOf([{ key: 'a', value: 'x', timestampMs: 1000 }, { key: null, value: 'y', timestampMs: 2000 }, { key: 'b', value: null }]),
    batchOf([{ key: 'a', value: 'x'.repeat(200) }, { key: 'b', value: 'y'.repeat(200) }], gzip),
    batchOf([{ key: 'a', value: 'x' }], { producerId: 5, producerEpoch: 0, firstSequence: 0 })
  ]
  let appended = 0
  for (const original of batches) {
    const { partition, config } = await testPartition()
    config['message.timestamp.before.max.ms'] = 1e15
    for (const compressionType of ['producer', 'lz4']) {
      config['compression.type'] = compressionType
      for (const policy of [['delete'], ['compact']]) {
        config['cleanup.policy'] = policy
        for (let at = 0; at < original.length; at++) {
          for (const byte of [0, 1, 0x7f, 0x80, 0xff, original[at]! ^ 1]) {
            const batch = Buffer.from(original)
            batch[at] = byte
            if (at < 17 || at > 20) batch.writeUInt32BE(crc32c(batch.subarray(21)), 17)
            const before = partition.logEndOffset
            const outcome = partition.append(batch, 'client')
            if (!('errorCode' in outcome)) appended++
            else if (partition.logEndOffset !== before) t.fail('a refused batch left something')
          }
        }
      }
    }
    t.ok(Number.isSafeInteger(partition.logEndOffset))
    for (const found of [await partition.offsetForTimestamp(0), await partition.offsetForTimestamp(1500), await partition.offsetForTimestamp(1e15), await partition.offsetOfTimestampMax()]) {
      if (found !== null && 'errorCode' in found) t.fail(found.errorMessage)
      else if (found !== null && !Number.isSafeInteger(found.timestampMs)) t.fail(`timestamp ${found.timestampMs}`)
    }
  }
  t.ok(appended > 100, `${appended} were accepted`)
})
