/** The handlers that answer about offsets: ListOffsets, OffsetForLeaderEpoch, DeleteRecords, and InitProducerId beside them. */
import { test } from 'tap'
import type { Handler } from '../../../src/broker/handler.js'
import { deleteRecordsHandler } from '../../../src/broker/handlers/delete-records.js'
import { fetchHandler } from '../../../src/broker/handlers/fetch.js'
import { initProducerIdHandler } from '../../../src/broker/handlers/init-producer-id.js'
import { listOffsetsHandler } from '../../../src/broker/handlers/list-offsets.js'
import { offsetForLeaderEpochHandler } from '../../../src/broker/handlers/offset-for-leader-epoch.js'
import { produceHandler } from '../../../src/broker/handlers/produce.js'
import { FetchMemory } from '../../../src/broker/fetch/fetch-memory.js'
import { createFetchSessions } from '../../../src/broker/fetch/sessions.js'
import { parseBrokerConfig } from '../../../src/broker/config/broker-config.js'
import { requestDecoder, requestEncoder, responseDecoder, responseEncoder } from '../../../src/protocol/codec.js'
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import { parseVersions } from '../../../src/protocol/versions.js'
import { batchOf, plainBatch } from '../support/batches.js'
import { contextOf } from '../support/context.js'
import { accepted, fixedTopics, silent, testPartition, topicOf, TOPIC_DEFAULTS } from '../support/partitions.js'

async function setUp (more: Parameters<typeof topicOf>[2] = {}) {
  const at = await testPartition()
  accepted(at.partition.append(batchOf([{ timestampMs: 100 }, { timestampMs: 300 }, { timestampMs: 200 }]), 'client'))
  accepted(at.partition.append(batchOf([{ timestampMs: 250 }]), 'client'))
  return { at, services: { topics: fixedTopics(topicOf('t', [at.partition], more)) } }
}

const listOffsets = async (services: Parameters<typeof listOffsetsHandler.handle>[0], asked: readonly { timestamp: number, partitionIndex?: number, currentLeaderEpoch?: number }[], { version = 11, isolationLevel = 0, name = 't' } = {}) => {
  const result = await listOffsetsHandler.handle(services, {
    replicaId: -1,
    isolationLevel,
    topics: [{ name, partitions: asked.map(({ timestamp, partitionIndex = 0, currentLeaderEpoch = -1 }) => ({ partitionIndex, currentLeaderEpoch, timestamp })) }],
    timeoutMs: 0
  }, contextOf(version))
  if (typeof result === 'symbol') throw new Error('no response')
  return result.topics[0]!.partitions
}

test('ListOffsets: times and special times', async (t) => {
  const { services, at } = await setUp()
  const cases = [
    [-1, { offset: 4, timestamp: -1, leaderEpoch: 0 }],
    [-2, { offset: 0, timestamp: -1, leaderEpoch: 0 }],
    [-3, { offset: 1, timestamp: 300, leaderEpoch: 0 }],
    [-4, { offset: 0, timestamp: -1, leaderEpoch: 0 }],
    [-5, { offset: -1, timestamp: -1, leaderEpoch: -1 }],
    [-6, { offset: -1, timestamp: -1, leaderEpoch: -1 }],
    [0, { offset: 0, timestamp: 100 }],
    [101, { offset: 1, timestamp: 300 }],
    [301, { offset: -1, timestamp: -1, leaderEpoch: -1 }],
    [Number.MAX_SAFE_INTEGER, { offset: -1, timestamp: -1 }]
  ] as const
  for (const [timestamp, expect] of cases) t.match(await listOffsets(services, [{ timestamp }]), [{ partitionIndex: 0, errorCode: 0, ...expect }], `timestamp ${timestamp}`)
  at.store.hold = true
  accepted(at.partition.append(plainBatch(), 'client'))
  t.match(await listOffsets(services, [{ timestamp: -1 }]), [{ offset: 4 }], 'only what is committed')
  t.match(await listOffsets(services, [{ timestamp: -1 }], { isolationLevel: 1 }), [{ offset: 4 }])
})

test('ListOffsets: refusals', async (t) => {
  const { services } = await setUp()
  t.match(await listOffsets(services, [{ timestamp: -1 }], { name: 'u' }), [{ errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, offset: -1 }])
  t.match(await listOffsets(services, [{ timestamp: -1, partitionIndex: 5 }]), [{ errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION }])
  t.match(await listOffsets(services, [{ timestamp: -1, currentLeaderEpoch: 1 }]), [{ errorCode: ErrorCode.UNKNOWN_LEADER_EPOCH }])
  t.match(await listOffsets(services, [{ timestamp: -1 }, { timestamp: -2 }]), [{ errorCode: ErrorCode.INVALID_REQUEST }, { errorCode: ErrorCode.INVALID_REQUEST }])
  for (const [timestamp, version] of [[-3, 6], [-4, 7], [-5, 8], [-6, 10], [-7, 11]] as const) {
    t.match(await listOffsets(services, [{ timestamp }], { version }), [{ errorCode: ErrorCode.UNSUPPORTED_VERSION }], `${timestamp} in version ${version}`)
  }
})

test('OffsetForLeaderEpoch', async (t) => {
  const { services } = await setUp()
  const ask = async (leaderEpoch: number, currentLeaderEpoch = -1, topic = 't') => {
    const result = await offsetForLeaderEpochHandler.handle(services, { replicaId: -1, topics: [{ topic, partitions: [{ partition: 0, currentLeaderEpoch, leaderEpoch }] }] }, contextOf(4))
    if (typeof result === 'symbol') throw new Error('no response')
    return result.topics[0]!.partitions[0]
  }
  t.match(await ask(0), { errorCode: 0, partition: 0, leaderEpoch: 0, endOffset: 4 })
  t.match(await ask(1), { errorCode: 0, leaderEpoch: -1, endOffset: -1 })
  t.match(await ask(0, 1), { errorCode: ErrorCode.UNKNOWN_LEADER_EPOCH })
  t.match(await ask(0, -1, 'u'), { errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION })
})

test('DeleteRecords', async (t) => {
  const { services, at } = await setUp()
  const remove = async (offset: number, name = 't', from = services) => {
    const result = await deleteRecordsHandler.handle(from, { topics: [{ name, partitions: [{ partitionIndex: 0, offset }] }], timeoutMs: 0 }, contextOf(2))
    if (typeof result === 'symbol') throw new Error('no response')
    return result.topics[0]!.partitions[0]
  }
  t.match(await remove(5), { errorCode: ErrorCode.OFFSET_OUT_OF_RANGE, lowWatermark: -1 })
  t.match(await remove(-2), { errorCode: ErrorCode.OFFSET_OUT_OF_RANGE })
  t.match(await remove(2), { errorCode: 0, lowWatermark: 2 })
  t.match(await remove(1), { errorCode: 0, lowWatermark: 2 }, 'what is gone stays gone')
  t.equal(at.partition.logStartOffset, 2)
  t.match(await remove(-1), { errorCode: 0, lowWatermark: 4 }, 'everything')
  t.match(await remove(-1, 'u'), { errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION })
  for (const [policy, errorCode] of [[['compact'], ErrorCode.POLICY_VIOLATION], [['compact', 'delete'], 0], [[], 0]] as const) {
    const { services: other } = await setUp({ config: { ...TOPIC_DEFAULTS, 'cleanup.policy': [...policy] } })
    t.match(await remove(1, 't', other), { errorCode }, `cleanup.policy=${policy.join()}`)
  }
  t.match(await remove(1, 't', (await setUp({ internal: true })).services), { errorCode: ErrorCode.INVALID_TOPIC_EXCEPTION })
})

test('InitProducerId', async (t) => {
  let next = 1000
  const services = { producerIds: { next: async () => next++ } as unknown as Parameters<typeof initProducerIdHandler.handle>[0]['producerIds'], logger: silent }
  const init = async (transactionalId: string | null) => await initProducerIdHandler.handle(services,
    { transactionalId: transactionalId as string, transactionTimeoutMs: 1000, producerId: -1, producerEpoch: -1, enable2Pc: false, keepPreparedTxn: false }, contextOf(5))
  t.match(await init(null), { errorCode: 0, producerId: 1000, producerEpoch: 0 })
  t.match(await init(null), { producerId: 1001 })
  services.producerIds.next = async () => { throw new Error('the disk') }
  t.match(await init(null), { errorCode: ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, producerId: -1 })
  t.match(await init('tx'), { errorCode: ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, producerId: -1 })
  t.match(await init(''), { errorCode: ErrorCode.INVALID_REQUEST })
})

test('every version of every handler, through its codec', async (t) => {
  const { at, services: { topics } } = await setUp()
  const producerIds = { next: async () => 7 }
  const services = { topics, clock: at.clock, config: parseBrokerConfig({}).config, logger: silent, producerIds, fetchMemory: new FetchMemory(), fetchSessions: createFetchSessions({ clock: at.clock, slotsMax: 10 }) }
  const id = 'id-of-t'.padEnd(22, 'A')
  const withId = { ...services, topics: { ...topics, getById: (asked: string) => asked === id ? topics.get('t') : undefined } }
  const requests: readonly [Handler<any, any>, any, (response: any) => unknown, unknown][] = [
    [produceHandler, { transactionalId: null, acks: -1, timeoutMs: 1, topicData: [{ name: 't', topicId: id, partitionData: [{ index: 0, records: [plainBatch()] }] }] },
      (response) => response.responses[0].partitionResponses[0].errorCode, 0],
    [fetchHandler, { maxWaitMs: 0, minBytes: 1, replicaId: -1, isolationLevel: 1, maxBytes: 1e6, sessionId: 0, sessionEpoch: -1, topics: [{ topic: 't', topicId: id, partitions: [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 1e6 }] }], forgottenTopicsData: [] },
      ({ responses: [{ partitions: [{ errorCode, records, abortedTransactions }] }] }) => [errorCode, records[0].length > 100, abortedTransactions], [0, true, []]],
    [listOffsetsHandler, { replicaId: -1, isolationLevel: 0, timeoutMs: 0, topics: [{ name: 't', partitions: [{ partitionIndex: 0, timestamp: 300 }] }] },
      ({ topics: [{ partitions: [{ errorCode, offset, timestamp }] }] }) => [errorCode, offset, timestamp], [0, 1, 300]],
    [offsetForLeaderEpochHandler, { topics: [{ topic: 't', partitions: [{ partition: 0, leaderEpoch: 0 }] }] },
      (response) => response.topics[0].partitions[0].errorCode, 0],
    [deleteRecordsHandler, { topics: [{ name: 't', partitions: [{ partitionIndex: 0, offset: 0 }] }], timeoutMs: 0 },
      (response) => response.topics[0].partitions[0].lowWatermark, 0],
    [initProducerIdHandler, { transactionalId: null, transactionTimeoutMs: 1 }, (response) => response.producerId, 7]
  ]
  for (const [handler, request, pick, expect] of requests) {
    const { first, last } = parseVersions(handler.versions ?? handler.api.versions)
    for (let version = first; version <= last; version++) {
      const decoded = requestDecoder(handler.api, version)(Buffer.concat(requestEncoder(handler.api, version)(request)), 0)
      const response = await handler.handle(withId, decoded as any, contextOf(version))
      const sent = Buffer.concat(responseEncoder(handler.api, version)(response as any))
      t.same(pick(responseDecoder(handler.api, version)(sent, 0)), expect, `${handler.api.name} ${version}`)
    }
  }
})
