/** Records through a whole broker on disk: produced, fetched, and known again after a crash. */
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { test } from 'tap'
import { Broker } from '../../src/broker/broker.js'
import { ErrorCode } from '../../src/protocol/error-codes.js'
import { ZERO_UUID } from '../../src/protocol/schema.js'
import { produce } from '../../src/protocol/schemas/00-produce.js'
import { fetch } from '../../src/protocol/schemas/01-fetch.js'
import { createTopics } from '../../src/protocol/schemas/19-create-topics.js'
import { deleteTopics } from '../../src/protocol/schemas/20-delete-topics.js'
import { initProducerId } from '../../src/protocol/schemas/22-init-producer-id.js'
import { batchOf, idempotentBatch } from './support/batches.js'
import { TestClient } from './support/client.js'

async function produceTo (client: TestClient, batch: Buffer, topic = 't') {
  const response = await client.send(produce, 9, { transactionalId: null, acks: -1, timeoutMs: 1000, topicData: [{ name: topic, partitionData: [{ index: 0, records: [batch] }] }] })
  const { errorCode, baseOffset } = response.responses[0]!.partitionResponses[0]!
  return { errorCode, baseOffset }
}

async function fetchFrom (client: TestClient, fetchOffset: number, maxWaitMs = 0, topic = 't') {
  const response = await client.send(fetch, 12, {
    maxWaitMs,
    minBytes: 1,
    isolationLevel: 0,
    topics: [{ topic, partitions: [{ partition: 0, fetchOffset, partitionMaxBytes: 1_000_000 }] }],
    forgottenTopicsData: []
  })
  const { errorCode, highWatermark, records } = response.responses[0]!.partitions[0]!
  return { errorCode, highWatermark, bytes: Buffer.concat(records ?? []) }
}

async function create (client: TestClient, name: string) {
  const response = await client.send(createTopics, 5, { topics: [{ name, numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] }], timeoutMs: 1000, validateOnly: false })
  return response.topics[0]!.errorCode
}

test('records and producers survive', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'haulout-'))
  t.teardown(async () => { await rm(folder, { recursive: true, force: true }) })
  const start = async (name: string) => {
    const broker = await Broker.start({ port: 0, dataDir: join(folder, name) })
    const client = await TestClient.connect(broker.port)
    return { broker, client, stop: async () => { client.close(); await broker.close() } }
  }
  const first = await start('data')
  t.equal(await create(first.client, 't'), 0)
  const { producerId } = await first.client.send(initProducerId, 4, { transactionalId: null, transactionTimeoutMs: 1000 })
  const batch = (sequence: number): Buffer => idempotentBatch(sequence, 1, 0, producerId)
  const results = await Promise.all([0, 1, 2, 3, 4, 5, 6, 5].map(async (sequence) => await produceTo(first.client, batch(sequence))))
  t.same(results.map(({ baseOffset }) => baseOffset), [0, 1, 2, 3, 4, 5, 6, 5], 'pipelined, one of them twice')
  const stored = await fetchFrom(first.client, 0)
  t.equal(stored.bytes.length, 7 * batch(0).length)

  // Without the lock: a copy belongs to nobody, but the file would name this process.
  await cp(join(folder, 'data'), join(folder, 'crashed'), { recursive: true, filter: (source) => basename(source) !== '.lock' })
  for (const [how, prepare] of [['after a crash', async () => {}], ['after a clean end', first.stop]] as const) {
    await prepare()
    const again = await start(how === 'after a crash' ? 'crashed' : 'data')
    t.same(await fetchFrom(again.client, 0), stored, `the records ${how}`)
    t.same(await produceTo(again.client, batch(4)), { errorCode: 0, baseOffset: 4 }, `a duplicate ${how}`)
    t.match(await produceTo(again.client, batch(8)), { errorCode: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER }, `a gap ${how}`)
    t.same(await produceTo(again.client, batch(7)), { errorCode: 0, baseOffset: 7 }, `the next batch ${how}`)
    t.equal(again.broker.clusterId, first.broker.clusterId)
    t.match(await fetchFrom(again.client, 8), { errorCode: 0, highWatermark: 8 })
    t.match(await fetchFrom(again.client, 9), { errorCode: ErrorCode.OFFSET_OUT_OF_RANGE }, 'whoever has seen more than the copy has is told so')
    const next = await again.client.send(initProducerId, 4, { transactionalId: null, transactionTimeoutMs: 1000 })
    t.ok(next.producerId > producerId, `an id that was not given before ${how}`)
    await again.stop()
  }
})

test('what a slow consumer is being sent stays as it is while others use the memory of what they were sent', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'haulout-'))
  t.teardown(async () => { await rm(folder, { recursive: true, force: true }) })
  const options = { port: 0, dataDir: join(folder, 'data') }
  const first = await Broker.start(options)
  const writer = await TestClient.connect(first.port)
  await create(writer, 't')
  const count = 24
  for (let id = 0; id < count; id++) await produceTo(writer, batchOf([{ value: String.fromCharCode(65 + id).repeat(900_000) }]))
  writer.close()
  await first.close()
  // What it reads now comes from the file, into memory that is used again.
  const broker = await Broker.start(options)
  const [slow, fast] = [await TestClient.connect(broker.port), await TestClient.connect(broker.port)]
  slow.pause()
  const isOf = ({ bytes }: { readonly bytes: Buffer }, id: number): boolean => {
    const values = bytes.subarray(100, 900_000)
    return values.length === 899_900 && values.equals(Buffer.alloc(values.length, 65 + id))
  }
  const sent = Array.from({ length: count }, async (_, id) => await fetchFrom(slow, id))
  // All at once and in another order, so that each would take the memory of something else.
  for (let round = 0; round < 3; round++) {
    const fetched = await Promise.all(Array.from({ length: count }, async (_, id) => await fetchFrom(fast, count - 1 - id)))
    t.ok(fetched.every((batch, id) => isOf(batch, count - 1 - id)))
  }
  slow.resume()
  const arrived = await Promise.all(sent)
  t.same(arrived.map((batch, id) => isOf(batch, id)), arrived.map(() => true))
  // One that is gone before it took anything takes nothing with it.
  slow.pause()
  const lost = Array.from({ length: count }, async (_, id) => await fetchFrom(slow, id).catch(() => undefined))
  for (let id = 0; id < count; id++) t.ok(isOf(await fetchFrom(fast, id), id))
  slow.close()
  t.same(await Promise.all(lost), lost.map(() => undefined))
  fast.close()
  await broker.close()
})

test('a long poll over a socket: woken by records, ended by deletion, by time and by the broker', async (t) => {
  const broker = await Broker.start({ port: 0, storage: 'memory' })
  t.teardown(async () => { await broker.close() })
  const [reader, writer] = [await TestClient.connect(broker.port), await TestClient.connect(broker.port)]
  await create(writer, 't')
  const woken = fetchFrom(reader, 0, 10_000)
  await produceTo(writer, idempotentBatch(0, 3))
  t.match(await woken, { errorCode: 0, highWatermark: 3 })
  t.match(await fetchFrom(reader, 3, 20), { errorCode: 0, highWatermark: 3, bytes: Buffer.alloc(0) })
  const deleted = fetchFrom(reader, 3, 10_000)
  await writer.send(deleteTopics, 6, { topics: [{ name: 't', topicId: ZERO_UUID }], timeoutMs: 1000 })
  t.match(await deleted, { errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION })
  await create(writer, 't')
  t.match(await fetchFrom(reader, 3), { errorCode: ErrorCode.OFFSET_OUT_OF_RANGE }, 'the new topic has none of the old records')
  const other = await TestClient.connect(broker.port)
  const polling = fetchFrom(other, 0, 10_000)
  await fetchFrom(reader, 0, 50)
  // One more that the broker has not read yet when it closes.
  const unread = fetchFrom(reader, 0, 10_000).catch((error: Error) => error.message)
  const closing = Date.now()
  await broker.close()
  t.match(await polling, { errorCode: 0, highWatermark: 0 }, 'a poll in work is answered')
  await unread
  t.ok(Date.now() - closing < 2000, 'closing does not wait for long polls')
})
