import { test } from 'tap'
import { LogError } from '../../src/log/log.js'
import { AppendStatistics } from '../../src/broker/append-statistics.js'
import { FreeSpace } from '../../src/broker/free-space.js'
import { healthFacts, judgeHealth, REMEMBERED_MS, type Health, type HealthFacts } from '../../src/broker/health.js'
import { openPartition, type Partition } from '../../src/broker/partitions/partition.js'
import { RememberingLogger } from '../hostile/support.js'
import { plainBatch } from './support/batches.js'
import { ManualClock } from './support/manual-clock.js'
import { accepted, errorCodeOf, fixedTopics, TOPIC_DEFAULTS, topicOf } from './support/partitions.js'
import { ScriptedLogStore } from './support/scripted-log-store.js'

const failed = (topicName: string, ...indexes: number[]) => indexes.map((index) => ({ topicName, index, reason: 'input/output error' }))

const CASES: readonly (readonly [what: string, facts: Partial<HealthFacts>, status: Health['status'], ...reasons: RegExp[]])[] = [
  ['nothing is wrong', {}, 'ok'],
  ['a topic has no partitions yet', { partitionCount: 0 }, 'ok'],
  ['one partition of several', { failed: failed('t', 1) }, 'degraded',
    /^t-1 takes no records \(input\/output error\), so producers are refused there: mend the disk with \/data; a log is open again by itself within a minute of that$/],
  ['all partitions', { failed: failed('t', 0, 1, 2, 3, 4) }, 'failed', /^t-0, t-1, t-2 and 2 more take no records/],
  ['the only partition', { failed: failed('t', 0), partitionCount: 1 }, 'failed', /^t-0 takes no records/],
  ['as many logs as there are partitions, but not those', { failed: [...failed('__consumer_offsets', 0, 1, 2, 3), ...failed('t', 0)] }, 'degraded',
    /^__consumer_offsets-0, .* and 1 more take no records .* so groups cannot rebalance or commit there/, /^t-0 takes/],
  ['the metadata', { failed: failed('__cluster_metadata', 0) }, 'failed', /^__cluster_metadata-0 takes .* no topic can be made or changed/],
  ['the snapshots', { failed: failed('__producer_snapshots', 0) }, 'degraded', /the next start has to read more of the logs/],
  ['a batch that waits', { waiting: { name: 't-0', waitedMs: 1_001 } }, 'degraded', /^a batch for t-0 has been waiting 1\.0 s to be written, so the disk with \/data is too slow: see what else/],
  ['no longer than it may', { waiting: { name: 't-0', waitedMs: 1_000 } }, 'ok'],
  ['one that waited a while ago', { lastSlow: { name: 't-0', waitedMs: 2_540, agoMs: REMEMBERED_MS } }, 'degraded', /^a batch for t-0 waited 2\.5 s to be written, 10\.0 s ago/],
  ['long ago', { lastSlow: { name: 't-0', waitedMs: 2_540, agoMs: REMEMBERED_MS + 1 } }, 'ok'],
  ['both: said once', { waiting: { name: 't-1', waitedMs: 5_000 }, lastSlow: { name: 't-0', waitedMs: 2_540, agoMs: 0 } }, 'degraded', /t-1 has been waiting 5\.0 s/],
  ['no room', { lack: { message: 'delete something', agoMs: 0 } }, 'degraded', /^producers are refused for lack of space in \/data: delete something$/],
  ['no room, long ago', { lack: { message: 'delete something', agoMs: REMEMBERED_MS + 1 } }, 'ok']
]

for (const [what, facts, status, ...reasons] of CASES) {
  test(`${what}: ${status}`, async (t) => {
    const health = judgeHealth({ place: '/data', failed: [], partitionCount: 5, ...facts })
    t.equal(health.status, status)
    t.equal(health.reasons.length, reasons.length, String(health.reasons))
    for (const [index, reason] of reasons.entries()) t.match(health.reasons[index], reason)
  })
}

/** Two partitions of a topic and the metadata log, on a store whose commits and free space a test controls. */
async function someLogs () {
  const store = new ScriptedLogStore()
  const clock = new ManualClock()
  const log = new RememberingLogger()
  const statistics = new AppendStatistics(log.logger)
  const space = { bytes: Infinity }
  store.bytesFree = () => space.bytes
  const freeSpace = new FreeSpace(store, 1_000, clock)
  const open = async (topicName: string, index: number): Promise<Partition> =>
    await openPartition({ store, topicName, index, config: () => TOPIC_DEFAULTS, clock, logger: log.logger, freeSpace, statistics })
  const partitions = [await open('t', 0), await open('t', 1)]
  const metadata = await open('__cluster_metadata', 0)
  const sources = { topics: fixedTopics(topicOf('t', partitions)), ownLogs: [metadata], statistics, freeSpace, clock, place: '/data' }
  return { store, clock, log, statistics, space, partitions, metadata, health: () => judgeHealth(healthFacts(sources)) }
}

const EIO = new LogError('failed', 'cannot write to /data/t-0/00000000000000000000.log: Input/output error')

/** Timers, and what they begin. */
async function pass (clock: ManualClock, ms: number): Promise<void> {
  clock.advance(ms)
  await new Promise(setImmediate)
}

test('a disk that fails: one line, a number, and a reason until the log is open again', async (t) => {
  const { store, clock, log, statistics, partitions, health } = await someLogs()
  t.same(health(), { status: 'ok', reasons: [] })
  store.hold = true
  const lost = Array.from({ length: 5 }, () => accepted(partitions[0]!.append(plainBatch(), 'client')))
  store.logs.get('t-0')!.fail(EIO)
  for (const { committed } of lost) t.ok(await committed)
  store.hold = false
  for (let tries = 0; tries < 100; tries++) t.ok(errorCodeOf(partitions[0]!.append(plainBatch(), 'client')))
  t.equal(health().status, 'degraded')
  t.match(health().reasons, [/^t-0 takes no records \(cannot write to .*: Input\/output error\), so producers/])
  accepted(partitions[1]!.append(plainBatch(), 'client'))
  t.equal(statistics.failureCounts.get('failed'), 5, 'the batches that were lost, not the tries since')
  t.equal(partitions[0]!.traffic.refusedCount, 105)
  t.same(log.matching(/t-0/), ['a write to t-0 failed; it takes no records until its log is open again'], 'one line')
  const { open } = store
  store.open = async () => { throw new LogError('failed', 'cannot open /data/t-0: Input/output error') }
  for (const delayMs of [1_000, 2_000, 4_000, 8_000]) await pass(clock, delayMs)
  t.match(health().reasons, [/^t-0 takes no records \(cannot open \/data\/t-0/])
  t.equal(log.matching(/could not be opened again/).length, 1, 'one line, however often it is tried')
  store.open = async () => { throw new LogError('corrupt', 't-0/0.log at position 7: damaged') }
  await pass(clock, 16_000)
  t.match(health().reasons, [/^t-0 takes no records \(t-0\/0\.log at position 7: damaged; .*haulout log salvage saves all else\)/])
  store.open = open
  await pass(clock, 32_000)
  t.same(health(), { status: 'ok', reasons: [] })
  t.equal(log.matching(/t-0 takes records again/).length, 1)
  accepted(partitions[0]!.append(plainBatch(), 'client'))
  await partitions[0]!.close()
  t.equal(health().status, 'ok', 'a log that was closed has not failed')
})

test('when nothing can be written, it has failed', async (t) => {
  const { store, partitions, metadata, health } = await someLogs()
  store.hold = true
  for (const [index, partition] of partitions.entries()) {
    const lost = accepted(partition.append(plainBatch(), 'client'))
    store.logs.get(`t-${index}`)!.fail(EIO)
    await lost.committed
    t.equal(health().status, index === 0 ? 'degraded' : 'failed')
  }
  const another = await someLogs()
  another.store.hold = true
  const lost = accepted(another.metadata.append(plainBatch(), 'broker'))
  another.store.logs.get('__cluster_metadata-0')!.fail(EIO)
  await lost.committed
  t.equal(another.health().status, 'failed')
  t.equal(metadata.failure, undefined)
})

test('a disk that is slow, and one that does not answer: said while it is so and a while after, in one line', async (t) => {
  const { store, clock, log, statistics, partitions, health } = await someLogs()
  store.hold = true
  const first = accepted(partitions[0]!.append(plainBatch(), 'client'))
  clock.advance(900)
  const second = accepted(partitions[0]!.append(plainBatch(), 'client'))
  t.equal(health().status, 'ok')
  clock.advance(200)
  t.match(health(), { status: 'degraded', reasons: [/^a batch for t-0 has been waiting 1\.1 s to be written/] })
  t.same(log.lines, [], 'who asks changes nothing')
  accepted(partitions[0]!.append(plainBatch(), 'client'))
  accepted(partitions[0]!.append(plainBatch(), 'client'))
  t.match(log.matching(/./), [/^the disk is slow: a batch for t-0 has waited 1\.1 s to be written$/], 'told although nothing was written yet')
  t.equal(log.lines.length, 1)
  clock.advance(5_000)
  store.logs.get('t-0')!.release()
  await Promise.all([first.committed, second.committed])
  t.equal(partitions[0]!.waitingSinceMs, undefined)
  t.same(statistics.bucketCounts.slice(-3), [2, 2, 0], 'up to 5 s, up to 10 s, longer')
  t.equal(statistics.waitedMsSum, 6_100 + 5_200 + 2 * 5_000)
  t.match(health().reasons, [/^a batch for t-0 waited 5\.0 s to be written, 0\.0 s ago/])
  clock.advance(REMEMBERED_MS + 1)
  t.same(health(), { status: 'ok', reasons: [] })
  t.equal(log.lines.length, 1)
})

test('a disk without room', async (t) => {
  const { store, clock, statistics, space, partitions, health } = await someLogs()
  space.bytes = 999
  clock.advance(1_000)
  t.match(health(), { status: 'degraded', reasons: [/^producers are refused for lack of space in \/data: the disk has 999 bytes left/] })
  t.ok(errorCodeOf(partitions[0]!.append(plainBatch(), 'client')))
  t.equal(statistics.failureCounts.get('full'), 1)
  space.bytes = 1_000
  clock.advance(REMEMBERED_MS + 1)
  t.equal(health().status, 'ok')
  // Without a limit it is the disk that refuses.
  store.logs.get('t-0')!.failNextAppend = new LogError('full', 'no space left on device')
  t.ok(errorCodeOf(partitions[0]!.append(plainBatch(), 'client')))
  t.match(health(), { status: 'degraded', reasons: [/no space left on device$/] })
})
