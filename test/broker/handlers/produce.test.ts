import { test } from 'tap'
import { LogError } from '../../../src/log/log.js'
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import { ZERO_UUID } from '../../../src/protocol/schema.js'
import { CLOSE_CONNECTION, NO_RESPONSE } from '../../../src/broker/handler.js'
import { produceHandler } from '../../../src/broker/handlers/produce.js'
import { idempotentBatch, plainBatch } from '../support/batches.js'
import { contextOf } from '../support/context.js'
import { fixedTopics, testPartition, topicOf, TOPIC_DEFAULTS, type TestPartition } from '../support/partitions.js'

interface Part { readonly index?: number, readonly records: readonly Buffer[] | null }

async function setUp (more: Partial<Parameters<typeof topicOf>[2]> = {}): Promise<{ readonly at: TestPartition, readonly services: { topics: ReturnType<typeof fixedTopics> } }> {
  const at = await testPartition()
  return { at, services: { topics: fixedTopics(topicOf('t', [at.partition], more ?? {})) } }
}

function request (partitionData: readonly Part[], { acks = -1, name = 't', topicId = ZERO_UUID, transactionalId = null as string | null } = {}) {
  return {
    transactionalId,
    acks,
    timeoutMs: 1000,
    topicData: [{ name, topicId, partitionData: partitionData.map(({ index = 0, records }) => ({ index, records: records as readonly Buffer[] })) }]
  }
}

async function produced (services: { topics: ReturnType<typeof fixedTopics> }, parts: readonly Part[], options: Parameters<typeof request>[1] = {}, apiVersion = 9) {
  const result = await produceHandler.handle(services, request(parts, options), contextOf(apiVersion))
  if (typeof result === 'symbol') throw new Error('no response')
  return result.responses[0]!.partitionResponses
}

test('appends one batch and answers once it is committed', async (t) => {
  const { at, services } = await setUp()
  at.store.hold = true
  const result = produceHandler.handle(services, request([{ records: [plainBatch(3)] }]), contextOf(9))
  t.equal(at.partition.logEndOffset, 3, 'appended before the first await')
  let answered = false
  void Promise.resolve(result).then(() => { answered = true })
  await new Promise(setImmediate)
  t.notOk(answered)
  at.log.release()
  t.match(await result, { responses: [{ name: 't', partitionResponses: [{ index: 0, errorCode: 0, baseOffset: 0, logAppendTimeMs: -1, logStartOffset: 0, recordErrors: [], errorMessage: null }] }] })
})

test('every partition has its own outcome', async (t) => {
  const { services } = await setUp()
  const [good, missing] = await produced(services, [{ records: [plainBatch()] }, { index: 1, records: [plainBatch()] }])
  t.equal(good!.errorCode, 0)
  t.match(missing, { index: 1, errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, baseOffset: -1 })
  t.match(await produced(services, [{ index: -1, records: [plainBatch()] }]), [{ errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION }])
})

test('exactly one batch per partition', async (t) => {
  const { services, at } = await setUp()
  for (const records of [null, [], [Buffer.alloc(0)], [Buffer.concat([plainBatch(), plainBatch()])]]) {
    t.match(await produced(services, [{ records }]), [{ errorCode: ErrorCode.INVALID_RECORD }])
  }
  t.equal(at.partition.logEndOffset, 0)
})

test('acks', async (t) => {
  const { services, at } = await setUp()
  at.store.hold = true
  const silent = Promise.resolve(produceHandler.handle(services, request([{ records: [plainBatch()] }], { acks: 0 }), contextOf(9)))
  t.equal(at.partition.logEndOffset, 1)
  let over = false
  void silent.then(() => { over = true })
  await new Promise(setImmediate)
  t.notOk(over, 'in work until it is committed, which keeps the producer from being faster than the disk')
  at.log.release()
  t.equal(await silent, NO_RESPONSE)
  at.store.hold = false
  t.equal(await produceHandler.handle(services, request([{ records: [Buffer.alloc(61)] }], { acks: 0 }), contextOf(9)), CLOSE_CONNECTION)
  t.equal(await produceHandler.handle(services, request([{ records: [plainBatch()] }], { acks: 0, name: 'missing' }), contextOf(9)), CLOSE_CONNECTION)
  t.match(await produced(services, [{ records: [plainBatch()] }], { acks: 1 }), [{ errorCode: 0, baseOffset: 1 }])
  t.match(await produced(services, [{ records: [plainBatch()] }], { acks: 2 }), [{ errorCode: ErrorCode.INVALID_REQUIRED_ACKS, baseOffset: -1 }])
  t.equal(at.partition.logEndOffset, 2)
})

test('topics: unknown by name and by id, internal, too few replicas', async (t) => {
  const { services } = await setUp()
  t.match(await produced(services, [{ records: [plainBatch()] }], { name: 'u' }), [{ errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION }])
  t.match(await produced(services, [{ records: [plainBatch()] }], { name: '', topicId: 'nobody' }, 13), [{ errorCode: ErrorCode.UNKNOWN_TOPIC_ID }])
  t.match(await produced(services, [{ records: [plainBatch()] }], { name: '', topicId: 'id-of-t' }, 13), [{ errorCode: 0 }])
  const internal = await setUp({ internal: true })
  t.match(await produced(internal.services, [{ records: [plainBatch()] }]), [{ errorCode: ErrorCode.INVALID_TOPIC_EXCEPTION }])
  const config = { ...TOPIC_DEFAULTS, 'min.insync.replicas': 2 }
  const two = await setUp({ config, replicationFactor: 2 })
  t.match(await produced(two.services, [{ records: [plainBatch()] }]), [{ errorCode: ErrorCode.NOT_ENOUGH_REPLICAS }])
  t.match(await produced(two.services, [{ records: [plainBatch()] }], { acks: 1 }), [{ errorCode: 0 }])
  const one = await setUp({ config })
  t.match(await produced(one.services, [{ records: [plainBatch()] }]), [{ errorCode: 0 }], 'not more replicas than the topic has')
})

test('batches that a client may not send', async (t) => {
  const { services } = await setUp()
  const zstd = plainBatch(1, 10, { attributes: 4 })
  t.match(await produced(services, [{ records: [zstd] }], {}, 6), [{ errorCode: ErrorCode.UNSUPPORTED_COMPRESSION_TYPE }])
  const transactional = plainBatch(1, 10, { attributes: 0x10, producerId: 5, producerEpoch: 0, firstSequence: 0 })
  t.match(await produced(services, [{ records: [transactional] }], { transactionalId: 'x' }), [{ errorCode: ErrorCode.INVALID_PRODUCER_ID_MAPPING }])
})

test('pipelined requests of an idempotent producer, one of them tried again', async (t) => {
  const { services, at } = await setUp()
  at.store.hold = true
  const results = [0, 1, 2, 1, 4].map((sequence) => produced(services, [{ records: [idempotentBatch(sequence, 1)] }]))
  at.log.release()
  const answers = (await Promise.all(results)).map(([response]) => [response!.errorCode, response!.baseOffset])
  t.same(answers, [[0, 0], [0, 1], [0, 2], [0, 1], [ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1]])
})

test('a write that fails later is told', async (t) => {
  const { services, at } = await setUp()
  at.store.hold = true
  const result = produced(services, [{ records: [plainBatch()] }])
  at.log.fail(new LogError('failed', 'input/output error'))
  t.match(await result, [{ errorCode: ErrorCode.KAFKA_STORAGE_ERROR, baseOffset: -1, errorMessage: 'input/output error' }])
})
