/** Retention: the decisions as tables, then through topics on a clock that the test moves. */
import { pino } from 'pino'
import { test } from 'tap'
import { Broker } from '../../src/broker/broker.js'
import { parseBrokerConfig } from '../../src/broker/config/broker-config.js'
import { mustSeal, offsetToKeepFrom, Retention, type RetentionConfig } from '../../src/broker/retention.js'
import { MetadataLog } from '../../src/broker/topics/metadata-log.js'
import { openTopics } from '../../src/broker/topics/topic-registry.js'
import type { SegmentInfo } from '../../src/log/log.js'
import { MemoryLogStore } from '../../src/log/memory-log.js'
import { batchOf } from './support/batches.js'
import { ManualClock } from './support/manual-clock.js'
import { TOPIC_DEFAULTS } from './support/partitions.js'

const KEEP: RetentionConfig = { ...TOPIC_DEFAULTS, 'retention.ms': -1, 'retention.bytes': -1, 'segment.ms': 1000 }

/** Segments of ten records each, the last one growing. */
const segments = (...parts: Array<[bytes: number, timestampMaxMs: number]>): SegmentInfo[] => parts.map(([bytes, timestampMaxMs], index) =>
  ({ baseOffset: index * 10, endOffset: index * 10 + 10, bytes, timestampMaxMs, sealed: index < parts.length - 1 }))

test('what goes', async (t) => {
  const cases: Array<[string, SegmentInfo[], Partial<RetentionConfig>, number | undefined]> = [
    ['nothing is limited', segments([100, 1], [100, 2], [100, 3]), {}, undefined],
    ['no segments', [], { 'retention.ms': 0, 'retention.bytes': 0 }, undefined],
    ['too old', segments([100, 100], [100, 499], [100, 500]), { 'retention.ms': 500 }, 20],
    ['just not too old', segments([100, 500], [100, 600]), { 'retention.ms': 500 }, undefined],
    ['behind one that is young enough', segments([100, 900], [100, 1], [100, 900]), { 'retention.ms': 500 }, undefined],
    ['never what grows', segments([100, 1], [100, 1]), { 'retention.ms': 500 }, 10],
    ['no timestamps', segments([100, -1], [100, 1]), { 'retention.ms': 500 }, undefined],
    ['too much', segments([100, 1], [100, 1], [100, 1]), { 'retention.bytes': 150 }, 10],
    ['exactly enough', segments([100, 1], [100, 1], [100, 1]), { 'retention.bytes': 200 }, 10],
    ['less would be left than is wanted', segments([100, 1], [100, 1], [100, 1]), { 'retention.bytes': 201 }, undefined],
    ['one too old, one too much', segments([100, 1], [100, 900], [100, 900]), { 'retention.bytes': 100, 'retention.ms': 500 }, 20],
    ['compacted only', segments([100, 1], [100, 1]), { 'retention.ms': 0, 'cleanup.policy': ['compact'] }, undefined],
    ['compacted too', segments([100, 1], [100, 1]), { 'retention.ms': 0, 'cleanup.policy': ['compact', 'delete'] }, 10]
  ]
  for (const [name, given, config, offset] of cases) t.equal(offsetToKeepFrom(given, { ...KEEP, ...config }, 1000), offset, name)
})

test('what is sealed', async (t) => {
  const cases: Array<[string, SegmentInfo, number, Partial<RetentionConfig>, boolean]> = [
    ['young', segments([100, 5000])[0]!, 4500, {}, false],
    ['seen long ago', segments([100, 5000])[0]!, 3999, {}, true],
    ['just seen, but its newest record is old', segments([100, 3999])[0]!, 5000, {}, true],
    ['no timestamps, just seen', segments([100, -1])[0]!, 5000, {}, false],
    ['records from the future', segments([100, 9000])[0]!, 3999, {}, true],
    ['empty', segments([0, -1])[0]!, 0, {}, false],
    ['sealed', segments([100, 1], [100, 1])[0]!, 0, {}, false],
    ['all of it expired before segment.ms', segments([100, 4500])[0]!, 4500, { 'retention.ms': 400 }, true],
    ['expired, but compacted', segments([100, 4500])[0]!, 4500, { 'retention.ms': 400, 'cleanup.policy': ['compact'] }, false]
  ]
  for (const [name, segment, seenMs, config, expected] of cases) t.equal(mustSeal(segment, seenMs, { ...KEEP, ...config }, 5000), expected, name)
})

test('records of a quiet topic expire on the timer; offsets stay', async (t) => {
  const clock = new ManualClock()
  const logger = pino({ level: 'silent' })
  const { config } = parseBrokerConfig({ 'log.retention.check.interval.ms': 1000 })
  const store = new MemoryLogStore()
  const metadata = await MetadataLog.open({ store, config, clock, logger })
  const topics = await openTopics({ store, metadata, config, clock, logger })
  const create = async (name: string, configs: Record<string, string>) => {
    const topic = await topics.create({ name, partitionCount: 1, replicationFactor: 1, configs: new Map(Object.entries(configs)) })
    if ('errorCode' in topic) throw new Error(topic.errorMessage ?? '')
    const [partition] = topic.partitions
    partition!.append(batchOf([{ value: 'v', timestampMs: clock.nowMs }, { value: 'w', timestampMs: clock.nowMs }]), 'client')
    return partition!
  }
  const short = await create('short', { 'retention.ms': '5000' })
  const long = await create('long', {})
  const compacted = await create('compacted', { 'retention.ms': '5000', 'cleanup.policy': 'compact' })
  const retention = new Retention({ topics, config, clock, logger })
  const tick = async (): Promise<void> => {
    clock.advance(1000)
    await new Promise((resolve) => setImmediate(resolve))
  }
  for (let second = 0; second < 5; second++) await tick()
  t.equal(short.logStartOffset, 0)
  await tick()
  t.same([short.logStartOffset, short.highWatermark, short.bytes], [2, 2, 0])
  t.same([long.logStartOffset, compacted.logStartOffset], [0, 0])
  short.append(batchOf([{ value: 'x', timestampMs: clock.nowMs }]), 'client')
  t.same([short.logStartOffset, short.highWatermark], [2, 3])
  await retention.close()
  t.equal([...clock.timers].filter(({ atMs }) => atMs === clock.nowMs + 1000).length, 0, 'no timer is left')
  for (let second = 0; second < 20; second++) await tick()
  t.equal(short.logStartOffset, 2, 'closed')
  await topics.close()
  await metadata.close()
})

test('a broker can be asked', async (t) => {
  const broker = await Broker.start({ port: 0 })
  await t.resolves(broker.applyRetention())
  await broker.close()
})
