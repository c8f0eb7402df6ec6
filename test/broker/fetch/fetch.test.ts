import { test } from 'tap'
import { judge, responseSize, startingAt, waveCount, type FetchTarget, type Judgement } from '../../../src/broker/fetch/plan.js'
import { createFetchSessions, type FetchContext, type FetchPartition, type FetchSessionRequest } from '../../../src/broker/fetch/sessions.js'
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import { ZERO_UUID } from '../../../src/protocol/schema.js'
import { ManualClock } from '../support/manual-clock.js'

const offsets = { leaderEpoch: 2, logStartOffset: 10, highWatermark: 20, logEndOffset: 25, lastStableOffset: 15 }
const target = (fetchOffset: number, more: Partial<FetchTarget> = {}): FetchTarget =>
  ({ fetchOffset, partitionMaxBytes: 100, currentLeaderEpoch: -1, lastFetchedEpoch: -1, ...more })

const judgements: readonly [title: string, target: FetchTarget, isolationLevel: number, expect: Partial<Judgement>][] = [
  ['at the start', target(10), 0, { kind: 'readable', endOffset: 20 }],
  ['read_committed ends at the last stable offset', target(10), 1, { kind: 'readable', endOffset: 15 }],
  ['beyond the last stable offset', target(15), 1, { kind: 'at-end' }],
  ['at the high watermark', target(20), 0, { kind: 'at-end' }],
  ['between high watermark and end', target(22), 0, { kind: 'at-end' }],
  ['at the end', target(25), 0, { kind: 'at-end' }],
  ['beyond the end', target(26), 0, { kind: 'refused', errorCode: ErrorCode.OFFSET_OUT_OF_RANGE }],
  ['below the start', target(9), 0, { kind: 'refused', errorCode: ErrorCode.OFFSET_OUT_OF_RANGE }],
  ['negative', target(-1), 0, { kind: 'refused', errorCode: ErrorCode.OFFSET_OUT_OF_RANGE }],
  ['the leader epoch', target(10, { currentLeaderEpoch: 2 }), 0, { kind: 'readable' }],
  ['an older leader epoch', target(10, { currentLeaderEpoch: 1 }), 0, { kind: 'refused', errorCode: ErrorCode.FENCED_LEADER_EPOCH }],
  ['a newer leader epoch', target(10, { currentLeaderEpoch: 3 }), 0, { kind: 'refused', errorCode: ErrorCode.UNKNOWN_LEADER_EPOCH }],
  ['records of an epoch that never was', target(10, { lastFetchedEpoch: 3 }), 0, { kind: 'diverged', epoch: 2, endOffset: 25 }],
  ['more records than there are', target(26, { lastFetchedEpoch: 2 }), 0, { kind: 'diverged', epoch: 2, endOffset: 25 }]
]

test('judge', async (t) => {
  for (const [title, asked, isolationLevel, expect] of judgements) t.match(judge(asked, offsets, isolationLevel), expect, title)
})

test('waveCount', async (t) => {
  t.equal(waveCount([100, 100, 100], 0, 1000), 1, 'the first goes alone')
  t.equal(waveCount([100, 100, 100], 1, 1000), 2)
  t.equal(waveCount([100, 100, 100, 100], 1, 250), 2, 'as many as are sure to fit')
  t.equal(waveCount([100, 100, 100], 1, 50), 1, 'one at least')
  t.equal(waveCount([100, -5, 100], 1, 100), 2)
  t.equal(waveCount([100, 100, 100, 100], 1, 1000, 150), 2, 'as many as may bring what is wanted')
  t.equal(waveCount([100, 100, 100, 100], 1, 150, 1000), 1, 'the limit counts, too')
  t.equal(waveCount([100, 100, 100], 0, 1000, 1000), 1)
})

test('responseSize: what a processor\'s caches hold, for clients on this machine', async (t) => {
  const local = responseSize('/127.0.0.1', 1, 6)
  for (const bytes of Object.values(local)) t.ok(bytes >= 2 ** 18 && bytes <= 2 ** 22)
  for (const host of ['/127.1.2.3', '/::1']) t.same(responseSize(host, 1, 6), local, host)
  for (const host of ['/10.0.0.1', '/192.168.127.1', '/fe80::1', '/::127.0.0.2', 'unknown']) t.same(Object.values(responseSize(host, 1, 6)), [Infinity, Infinity], host)
  t.same(Object.values(responseSize('/127.0.0.1', 5e6, 6)), [5e6, 5e6], 'the client waits for more')
  t.ok(responseSize('/127.0.0.1', 1, 1000).bytesEnough > 10 * local.bytesEnough, 'a large request is worth a large answer')
})

test('startingAt', async (t) => {
  t.same(startingAt([1, 2, 3], 0), [1, 2, 3])
  t.same(startingAt([1, 2, 3], 2), [3, 1, 2])
})

const partition = (index: number, fetchOffset = 0, topic = 't'): FetchPartition => ({ topic, topicId: ZERO_UUID, partition: index, ...target(fetchOffset) })
const open = (sessionId: number, sessionEpoch: number, partitions: readonly FetchPartition[] = [], more: Partial<FetchSessionRequest> = {}): FetchSessionRequest =>
  ({ sessionId, sessionEpoch, usesTopicIds: false, partitions, forgotten: [], ...more })
const fetched = (highWatermark: number, recordBytes = 0) => ({ errorCode: 0, highWatermark, logStartOffset: 0, recordBytes, diverged: false })

function cache (slotsMax = 3, partitionsMax?: number) {
  const clock = new ManualClock()
  let nextId = 100
  return { clock, sessions: createFetchSessions({ clock, slotsMax, randomId: () => nextId++, ...(partitionsMax === undefined ? {} : { partitionsMax }) }) }
}

function opened (context: FetchContext | { errorCode: number }): FetchContext {
  if ('errorCode' in context) throw new Error(`refused with ${context.errorCode}`)
  return context
}
const indexes = (context: FetchContext): number[] => context.partitions.map((p) => p.partition)

test('a session tells everything once, then what changed', async (t) => {
  const { sessions } = cache()
  const full = opened(sessions.open(open(0, 0, [partition(0), partition(1), partition(2)])))
  t.equal(full.sessionId, 100)
  for (const p of full.partitions) t.ok(full.mustTell(p, fetched(5)))
  const second = opened(sessions.open(open(100, 1)))
  t.equal(second.sessionId, 100)
  t.same(indexes(second), [0, 1, 2])
  const [p0, p1, p2] = second.partitions
  t.notOk(second.mustTell(p0!, fetched(5)), 'nothing new')
  t.ok(second.mustTell(p1!, fetched(6)), 'a new high watermark')
  t.ok(second.mustTell(p2!, { ...fetched(5), logStartOffset: 3 }), 'a new log start')
  const third = opened(sessions.open(open(100, 2)))
  t.ok(third.mustTell(third.partitions[0]!, fetched(5, 10)), 'records')
  t.same(indexes(opened(sessions.open(open(100, 3)))), [1, 2, 0], 'who got records comes last')
})

test('an error is told, and so is its end', async (t) => {
  const { sessions } = cache()
  const full = opened(sessions.open(open(0, 0, [partition(0)])))
  full.mustTell(full.partitions[0]!, fetched(5))
  for (const [epoch, outcome, expect] of [[1, { ...fetched(-1), errorCode: 1 }, true], [2, { ...fetched(-1), errorCode: 1 }, true], [3, fetched(5), true], [4, fetched(5), false]] as const) {
    const context = opened(sessions.open(open(100, epoch)))
    t.equal(context.mustTell(context.partitions[0]!, outcome), expect, `epoch ${epoch}`)
  }
})

test('partitions are added, changed and forgotten', async (t) => {
  const { sessions } = cache()
  const full = opened(sessions.open(open(0, 0, [partition(0), partition(1)])))
  for (const p of full.partitions) full.mustTell(p, fetched(5))
  const context = opened(sessions.open(open(100, 1, [partition(1, 7), partition(4)], { forgotten: [partition(0)] })))
  t.same(context.partitions.map((p) => [p.partition, p.fetchOffset]), [[1, 7], [4, 0]])
  t.notOk(context.mustTell(context.partitions[0]!, fetched(5)), 'a changed offset keeps what was told')
  t.ok(context.mustTell(context.partitions[1]!, fetched(5)), 'a new partition is told')
  const empty = opened(sessions.open(open(100, 2, [], { forgotten: [partition(1), partition(4)] })))
  t.equal(empty.sessionId, 0, 'a session without partitions ends')
  t.equal(sessions.count, 0)
})

test('ids and epochs', async (t) => {
  const { sessions } = cache()
  t.match(sessions.open(open(7, 1)), { errorCode: ErrorCode.FETCH_SESSION_ID_NOT_FOUND })
  opened(sessions.open(open(0, 0, [partition(0)])))
  t.match(sessions.open(open(100, 2)), { errorCode: ErrorCode.INVALID_FETCH_SESSION_EPOCH })
  opened(sessions.open(open(100, 1)))
  t.match(sessions.open(open(100, 1)), { errorCode: ErrorCode.INVALID_FETCH_SESSION_EPOCH }, 'an epoch is used once')
  t.match(sessions.open(open(100, 2, [], { usesTopicIds: true })), { errorCode: ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR })
  opened(sessions.open(open(100, 2)))
  t.equal(opened(sessions.open(open(100, -1, [partition(0)]))).sessionId, 0, 'closed')
  t.match(sessions.open(open(100, 3)), { errorCode: ErrorCode.FETCH_SESSION_ID_NOT_FOUND })
  t.equal(opened(sessions.open(open(0, -1, [partition(0)]))).sessionId, 0, 'without a session')
  t.equal(opened(sessions.open(open(0, 0, []))).sessionId, 0, 'nothing to remember')
  opened(sessions.open(open(0, 0, [partition(0)])))
  t.equal(opened(sessions.open(open(101, 0, [partition(0)]))).sessionId, 102, 'a full request ends the session it names')
  t.equal(sessions.count, 1)
})

test('the cache has an end', async (t) => {
  const { clock, sessions } = cache(2)
  const one = () => opened(sessions.open(open(0, 0, [partition(0)]))).sessionId
  t.equal(one(), 100)
  t.equal(one(), 101)
  t.equal(one(), 0, 'full: go on without a session')
  t.equal(opened(sessions.open(open(0, 0, [partition(0), partition(1)]))).sessionId, 0, 'a larger one has to wait too')
  clock.advance(120_001)
  opened(sessions.open(open(101, 1)))
  t.equal(one(), 102, 'takes the place of the stale one')
  t.match(sessions.open(open(100, 1)), { errorCode: ErrorCode.FETCH_SESSION_ID_NOT_FOUND })
  t.equal(one(), 0)
  t.equal(opened(sessions.open(open(0, 0, [partition(0), partition(1)]))).sessionId, 103, 'a larger one takes the place of an old small one')
  t.equal(sessions.count, 2)
})

test('sessions together remember a limited number of partitions', async (t) => {
  const { sessions } = cache(10, 5)
  t.equal(opened(sessions.open(open(0, 0, [0, 1, 2, 3].map((i) => partition(i))))).sessionId, 100)
  t.equal(opened(sessions.open(open(0, 0, [0, 1].map((i) => partition(i))))).sessionId, 0)
  t.match(sessions.open(open(100, 1, [4, 5].map((i) => partition(i)))), { errorCode: ErrorCode.FETCH_SESSION_ID_NOT_FOUND })
  t.equal(opened(sessions.open(open(0, 0, [0, 1].map((i) => partition(i))))).sessionId, 101, 'the space is free again')
})
