import { test } from 'tap'
import { parseBrokerConfig } from '../../../src/broker/config/broker-config.js'
import { FetchMemory, type FetchMemoryLimits } from '../../../src/broker/fetch/fetch-memory.js'
import { createFetchSessions } from '../../../src/broker/fetch/sessions.js'
import { fetchHandler } from '../../../src/broker/handlers/fetch.js'
import type { Partition } from '../../../src/broker/partitions/partition.js'
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import { ZERO_UUID } from '../../../src/protocol/schema.js'
import { plainBatch } from '../support/batches.js'
import { contextOf } from '../support/context.js'
import { ManualClock } from '../support/manual-clock.js'
import { accepted, fixedTopics, testPartition, topicOf, type TestPartition } from '../support/partitions.js'
import { ScriptedLogStore } from '../support/scripted-log-store.js'

interface Asked { readonly partition?: number, readonly fetchOffset?: number, readonly partitionMaxBytes?: number, readonly currentLeaderEpoch?: number }

/** Topic `t` with some partitions, and a client to fetch with. */
async function setUp (partitionCount = 1, memoryLimits?: FetchMemoryLimits) {
  const clock = new ManualClock()
  const store = new ScriptedLogStore()
  const all: TestPartition[] = []
  for (let index = 0; index < partitionCount; index++) all.push(await testPartition(store, clock, undefined, 't', index))
  /** The responses that clients did not take yet. */
  const sent: (() => void)[] = []
  const topics = fixedTopics(topicOf('t', all.map(({ partition }) => partition)))
  const services = {
    topics,
    clock,
    fetchSessions: createFetchSessions({ clock, slotsMax: 10 }),
    fetchMemory: new FetchMemory(memoryLimits),
    config: parseBrokerConfig({ 'fetch.max.bytes': 1_000_000 }).config
  }
  async function fetch (asked: readonly Asked[], more: { minBytes?: number, maxWaitMs?: number, maxBytes?: number, isolationLevel?: number, sessionId?: number, sessionEpoch?: number, topic?: string, topicId?: string } = {},
    apiVersion = 12, closed?: AbortSignal) {
    const result = await fetchHandler.handle(services, {
      clusterId: null,
      replicaId: -1,
      replicaState: { replicaId: -1, replicaEpoch: -1 },
      maxWaitMs: more.maxWaitMs ?? 500,
      minBytes: more.minBytes ?? 1,
      maxBytes: more.maxBytes ?? 0x7fffffff,
      isolationLevel: more.isolationLevel ?? 0,
      sessionId: more.sessionId ?? 0,
      sessionEpoch: more.sessionEpoch ?? -1,
      topics: asked.length === 0
        ? []
        : [{
            topic: more.topic ?? 't',
            topicId: more.topicId ?? ZERO_UUID,
            partitions: asked.map(({ partition = 0, fetchOffset = 0, partitionMaxBytes = 1_000_000, currentLeaderEpoch = -1 }) =>
              ({ partition, currentLeaderEpoch, fetchOffset, lastFetchedEpoch: -1, logStartOffset: -1, partitionMaxBytes, replicaDirectoryId: ZERO_UUID, highWatermark: 0 }))
          }],
      forgottenTopicsData: [],
      rackId: ''
    }, contextOf(apiVersion, closed, (callback) => { sent.push(callback) }))
    if (typeof result === 'symbol') throw new Error('no response')
    return result
  }
  return { clock, store, all, topics, services, sent, fetch }
}

type Response = Awaited<ReturnType<Awaited<ReturnType<typeof setUp>>['fetch']>>
const sizes = (response: Response): number[] => response.responses.flatMap(({ partitions }) => partitions.map(({ records }) => records?.reduce((sum, part) => sum + part.length, 0) ?? -1))
const codes = (response: Response): number[] => response.responses.flatMap(({ partitions }) => partitions.map(({ errorCode }) => errorCode))
const append = (partition: Partition, batch = plainBatch()) => accepted(partition.append(batch, 'client')).committed
const turn = async (): Promise<void> => await new Promise((resolve) => setImmediate(resolve))

async function isPending (promise: Promise<unknown>): Promise<boolean> {
  let pending = true
  void promise.then(() => { pending = false })
  await turn()
  await turn()
  return pending
}

const BATCH = plainBatch().length

test('returns what is there, at once, by reference', async (t) => {
  const { all, fetch, clock } = await setUp()
  await append(all[0]!.partition, plainBatch(3))
  await append(all[0]!.partition, plainBatch(2))
  const response = await fetch([{}])
  t.match(response, { errorCode: 0, sessionId: 0, responses: [{ topic: 't', partitions: [{ partitionIndex: 0, errorCode: 0, highWatermark: 5, lastStableOffset: 5, logStartOffset: 0, abortedTransactions: null }] }] })
  t.equal(response.responses[0]!.partitions[0]!.records![0], all[0]!.log.entries[0]!.bytes)
  t.match((await fetch([{}], { isolationLevel: 1 })).responses[0]!.partitions[0], { abortedTransactions: [] })
  const inside = await fetch([{ fetchOffset: 1 }])
  t.same(sizes(inside), sizes(response), 'an offset inside a batch returns that batch')
  t.same(sizes(await fetch([{ fetchOffset: 3 }])), [plainBatch(2).length])
  t.equal(clock.timers.size, 0)
})

test('a long poll waits for a commit, not for an append', async (t) => {
  const { all, store, fetch, clock } = await setUp()
  const waiting = fetch([{}])
  t.ok(await isPending(waiting))
  store.hold = true
  const committed = append(all[0]!.partition)
  t.ok(await isPending(waiting))
  all[0]!.log.release()
  await committed
  t.same(sizes(await waiting), [BATCH])
  t.equal(clock.timers.size, 0, 'no timer is left')
})

test('a long poll ends with its time, empty', async (t) => {
  const { fetch, clock } = await setUp()
  const waiting = fetch([{}], { maxWaitMs: 100 })
  t.ok(await isPending(waiting))
  clock.advance(99)
  t.ok(await isPending(waiting))
  clock.advance(1)
  t.same(sizes(await waiting), [0])
  t.same(sizes(await fetch([{}], { maxWaitMs: 0 })), [0], 'no time at all')
  t.same(sizes(await fetch([{}], { minBytes: 0 })), [0], 'nothing asked for')
})

test('minBytes counts over partitions and reads each byte once', async (t) => {
  const { all, fetch, clock } = await setUp(2)
  await append(all[0]!.partition)
  const waiting = fetch([{ partition: 0 }, { partition: 1 }], { minBytes: 3 * BATCH })
  t.ok(await isPending(waiting))
  await append(all[1]!.partition)
  t.ok(await isPending(waiting))
  await append(all[0]!.partition)
  const response = await waiting
  t.same(sizes(response), [2 * BATCH, BATCH])
  t.same(response.responses[0]!.partitions.map(({ highWatermark }) => highWatermark), [2, 1])
  t.equal(all[0]!.log.bytesRead, 2 * BATCH)
  const late = fetch([{ partition: 0 }, { partition: 1 }], { minBytes: 1000 * BATCH, maxWaitMs: 10 })
  await turn()
  clock.advance(10)
  t.same(sizes(await late), [2 * BATCH, BATCH], 'what is there when the time is over')
})

test('sizes: the first partition that has something gives at least one batch', async (t) => {
  const { all, fetch } = await setUp(4)
  for (const index of [1, 2, 3]) for (let i = 0; i < 3; i++) await append(all[index]!.partition)
  const every = [0, 1, 2, 3].map((partition) => ({ partition }))
  t.same(sizes(await fetch(every, { maxBytes: 1 })), [0, BATCH, 0, 0])
  t.same(sizes(await fetch(every, { maxBytes: 0 })), [0, BATCH, 0, 0])
  t.same(sizes(await fetch(every.map((p) => ({ ...p, partitionMaxBytes: 1 })))), [0, BATCH, 0, 0])
  t.same(sizes(await fetch(every.map((p) => ({ ...p, partitionMaxBytes: 2 * BATCH + 1 })))), [0, 2 * BATCH, 2 * BATCH, 2 * BATCH])
  t.same(sizes(await fetch(every, { maxBytes: 5 * BATCH })), [0, 3 * BATCH, 2 * BATCH, 0], 'in request order')
  t.same(sizes(await fetch([...every].reverse(), { maxBytes: 5 * BATCH })), [3 * BATCH, 2 * BATCH, 0, 0])
  t.same(sizes(await fetch(every.map((p) => ({ ...p, partitionMaxBytes: -1 })))), [0, BATCH, 0, 0])
})

test('sizes: the broker has a limit of its own', async (t) => {
  const { all, fetch, services } = await setUp()
  for (let i = 0; i < 3; i++) await append(all[0]!.partition)
  services.config = { ...services.config, 'fetch.max.bytes': 2 * BATCH }
  t.same(sizes(await fetch([{}])), [2 * BATCH])
  t.same(sizes(await fetch([{}], { minBytes: 100 * BATCH })), [2 * BATCH], 'more than the limit cannot be waited for')
})

test('a response to a client on this machine is no larger than it is worth, and every partition has its turn', async (t) => {
  const { all, fetch, services, sent } = await setUp(4)
  services.config = { ...services.config, 'fetch.max.bytes': 50_000_000 }
  const large = plainBatch(1, 900_000)
  for (const { partition } of all) await append(partition, large)
  const every = [0, 1, 2, 3].map((partition) => ({ partition }))
  const served = (response: Response): number[] => sizes(response).flatMap((bytes, at) => bytes > 0 ? [at] : [])
  const counts = [0, 0, 0, 0]
  for (let i = 0; i < 100; i++) {
    const response = await fetch(every)
    for (const callback of sent.splice(0)) callback()
    t.same(response.responses[0]!.partitions.map((p) => p.partitionIndex), [0, 1, 2, 3])
    for (const index of served(response)) counts[index]!++
  }
  t.equal(counts.reduce((sum, count) => sum + count), 200, 'two of them make it enough')
  for (const count of counts) t.ok(count > 10 && count < 90, `${count}`)
  t.equal(served(await fetch(every, { minBytes: 3_000_000 })).length, 4, 'as much as the client waits for')
  t.same(served(await fetch(every, { maxBytes: 500_000 })), [0], 'what the client itself leaves out goes by its own order')
  const session = await fetch(every, { sessionEpoch: 0 })
  const turns = [session]
  for (let sessionEpoch = 1; sessionEpoch <= 3; sessionEpoch++) turns.push(await fetch([], { sessionId: session.sessionId, sessionEpoch }))
  const partitions = turns.map(({ responses }) => responses[0]!.partitions.flatMap(({ partitionIndex, records }) => records?.length ? [partitionIndex] : []))
  t.same(partitions, [[0, 1], [2, 3], [0, 1], [2, 3]], 'a session serves the others next')
})

test('one partition gives a client on this machine a megabyte at a time, or what it waits for', async (t) => {
  const { all, fetch, services } = await setUp()
  services.config = { ...services.config, 'fetch.max.bytes': 50_000_000 }
  const large = plainBatch(1, 400_000)
  for (let i = 0; i < 5; i++) await append(all[0]!.partition, large)
  const asked = [{ partitionMaxBytes: 10_000_000 }]
  t.same(sizes(await fetch(asked)), [2 * large.length])
  t.same(sizes(await fetch(asked, { minBytes: 3 * large.length })), [3 * large.length])
  t.same(sizes(await fetch([{ partitionMaxBytes: 10_000_000, fetchOffset: 4 }])), [large.length])
})

test('errors end the wait', async (t) => {
  const { all, topics, fetch } = await setUp()
  await append(all[0]!.partition)
  t.match((await fetch([{ fetchOffset: 2 }])).responses[0]!.partitions[0], { errorCode: ErrorCode.OFFSET_OUT_OF_RANGE, highWatermark: -1, records: [] })
  t.same(codes(await fetch([{ currentLeaderEpoch: 1 }])), [ErrorCode.UNKNOWN_LEADER_EPOCH])
  t.same(codes(await fetch([{ partition: 7 }])), [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION])
  t.same(codes(await fetch([{}], { topic: 'u' })), [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION])
  t.same(codes(await fetch([{}], { topic: '', topicId: 'nobody' }, 13)), [ErrorCode.UNKNOWN_TOPIC_ID])
  t.same(codes(await fetch([{}], { topic: '', topicId: 'id-of-t' }, 13)), [0])
  const waiting = fetch([{ fetchOffset: 1 }])
  t.ok(await isPending(waiting))
  topics.drop('t')
  await all[0]!.partition.close()
  t.same(codes(await waiting), [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION], 'the topic was deleted')
})

test('a partition that is unknown from the start lets others wait', async (t) => {
  const { all, fetch } = await setUp()
  const waiting = fetch([{ partition: 0 }, { partition: 9 }])
  t.ok(await isPending(waiting))
  await append(all[0]!.partition)
  const response = await waiting
  t.same(codes(response), [0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION])
  t.same(sizes(response), [BATCH, 0])
})

test('a client that is gone ends its wait and leaves nothing behind', async (t) => {
  const { all, fetch, clock } = await setUp()
  const connection = new AbortController()
  const waiting = fetch([{}], {}, 12, connection.signal)
  t.ok(await isPending(waiting))
  connection.abort()
  await waiting
  t.equal(clock.timers.size, 0)
  const gone = fetch([{}], {}, 12, connection.signal)
  t.same(sizes(await gone), [0], 'a signal that is aborted already')
  t.equal(clock.timers.size, 0)
  await append(all[0]!.partition)
})

test('an incremental session answers what is new', async (t) => {
  const { all, fetch } = await setUp(3)
  await append(all[1]!.partition)
  const full = await fetch([0, 1, 2].map((partition) => ({ partition })), { sessionEpoch: 0 })
  t.ok(full.sessionId! > 0)
  t.same(sizes(full), [0, BATCH, 0])
  const { sessionId } = full
  await append(all[2]!.partition)
  const second = await fetch([{ partition: 1, fetchOffset: 1 }], { sessionId: sessionId!, sessionEpoch: 1 })
  t.equal(second.sessionId, sessionId)
  t.same(second.responses.map(({ partitions }) => partitions.map(({ partitionIndex }) => partitionIndex)), [[2]])
  const third = await fetch([{ partition: 2, fetchOffset: 1 }], { sessionId: sessionId!, sessionEpoch: 2, maxWaitMs: 0 })
  t.same(third.responses, [], 'nothing is new')
  t.match(await fetch([], { sessionId: sessionId!, sessionEpoch: 2 }), { errorCode: ErrorCode.INVALID_FETCH_SESSION_EPOCH, responses: [] })
  const waiting = fetch([], { sessionId: sessionId!, sessionEpoch: 3 })
  t.ok(await isPending(waiting))
  await append(all[0]!.partition)
  t.same(sizes(await waiting), [BATCH])
})

test('records on their way to clients are bounded', async (t) => {
  const { all, fetch, services, sent } = await setUp(2, { bytesMax: 5 * BATCH, connectionBytesMax: 4 * BATCH, connectionBytesFree: 0 })
  for (const { partition } of all) for (let i = 0; i < 3; i++) await append(partition)
  const both = [{ partition: 0 }, { partition: 1 }]
  t.same(sizes(await fetch(both)), [3 * BATCH, 2 * BATCH], 'no more than there is room for')
  t.equal(services.fetchMemory.bytes, 5 * BATCH)
  const waiting = fetch(both)
  t.ok(await isPending(waiting), 'the same connection has to take its responses first')
  sent.shift()!()
  t.same(sizes(await waiting), [3 * BATCH, 2 * BATCH])
  services.fetchMemory.change(77, 10 * BATCH)
  sent.shift()!()
  t.same(sizes(await fetch(both)), [BATCH, 0], 'one batch, whatever others hold')
  services.fetchMemory.change(77, -10 * BATCH)
  sent.shift()!()
  t.equal(services.fetchMemory.bytes, 0)
})
