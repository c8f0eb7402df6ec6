/** Retention: the decisions as tables, then through topics on a clock that the test moves. */
import { pino } from 'pino'
import { test } from 'tap'
import { Broker } from '../../src/broker/broker.js'
import { parseBrokerConfig } from '../../src/broker/config/broker-config.js'
import { mustSeal, offsetToKeepFrom, Retention, type RetentionConfig } from '../../src/broker/retention.js'
import { MetadataLog } from '../../src/broker/topics/metadata-log.js'
import { openTopics } from '../../src/broker/topics/topic-registry.js'
import type { Partition } from '../../src/broker/partitions/partition.js'
import type { LogStore, SegmentInfo } from '../../src/log/log.js'
import { MemoryLogStore } from '../../src/log/memory-log.js'
import { openStore } from '../../src/log/open-store.js'
import { batchOf } from './support/batches.js'
import { ManualClock } from './support/manual-clock.js'
import { TOPIC_DEFAULTS } from './support/partitions.js'

const KEEP: RetentionConfig = { ...TOPIC_DEFAULTS, 'retention.ms': -1, 'retention.bytes': -1, 'segment.ms': 1000 }

/** Segments of ten records each, the last one growing. */
const segments = (...parts: Array<[bytes: number, timestampMaxMs: number]>): SegmentInfo[] => parts.map(([bytes, timestampMaxMs], index) =>
  ({ baseOffset: index * 10, endOffset: index * 10 + 10, bytes, compression: 'none', storedBytes: bytes, timestampMaxMs, sealed: index < parts.length - 1 }))

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
    ['nothing is wanted', segments([100, 1], [100, 900]), { 'retention.bytes': 0 }, 10],
    ['limits below -1 are none', segments([100, 1], [100, 1]), { 'retention.bytes': -2, 'retention.ms': -2 }, undefined],
    ['records from the future', segments([100, 2000], [100, 1]), { 'retention.ms': 0 }, undefined],
    ['neither compacted nor deleted', segments([100, 1], [100, 1]), { 'retention.ms': 0, 'cleanup.policy': [] }, undefined],
    ['compacted only', segments([100, 1], [100, 1]), { 'retention.ms': 0, 'cleanup.policy': ['compact'] }, undefined],
    ['compacted too', segments([100, 1], [100, 1]), { 'retention.ms': 0, 'cleanup.policy': ['compact', 'delete'] }, 10]
  ]
  for (const [name, given, config, offset] of cases) t.equal(offsetToKeepFrom(given, { ...KEEP, ...config }, 1000), offset, name)
})

test('what is sealed', async (t) => {
  const cases: Array<[string, SegmentInfo, seenMs: number, firstTimestampMs: number | undefined, Partial<RetentionConfig>, boolean]> = [
    ['young', segments([100, 5000])[0]!, 4500, 4500, {}, false],
    ['seen long ago', segments([100, 5000])[0]!, 3999, 4500, {}, true],
    ['just seen, but its records span more than segment.ms', segments([100, 4900])[0]!, 5000, 3800, {}, true],
    ['old records that are written now', segments([100, 30])[0]!, 5000, 20, {}, false],
    ['no timestamps, just seen', segments([100, -1])[0]!, 5000, undefined, {}, false],
    ['no timestamps, seen long ago', segments([100, -1])[0]!, 3999, undefined, {}, true],
    ['records from the future', segments([100, 9000])[0]!, 3999, 9000, {}, true],
    ['empty', segments([0, -1])[0]!, 0, undefined, {}, false],
    ['sealed', segments([100, 1], [100, 1])[0]!, 0, 1, {}, false],
    ['larger than a segment may be by now', segments([100, 5000])[0]!, 5000, 5000, { 'segment.bytes': 99 }, true],
    ['all of it expired before segment.ms', segments([100, 4500])[0]!, 4500, 4500, { 'retention.ms': 400 }, true],
    ['nothing is wanted', segments([100, 5000])[0]!, 5000, 5000, { 'retention.bytes': 0 }, true],
    ['larger than all that is wanted, which is not all of it', segments([100, 5000])[0]!, 5000, 5000, { 'retention.bytes': 1 }, false],
    ['expired, but compacted', segments([100, 4500])[0]!, 4500, 4500, { 'retention.ms': 400, 'cleanup.policy': ['compact'] }, false]
  ]
  for (const [name, segment, seenMs, firstTimestampMs, config, expected] of cases) {
    t.equal(mustSeal(segment, { seenMs, firstTimestampMs }, { ...KEEP, ...config }, 5000), expected, name)
  }
})

async function openOn (store: LogStore, clock: ManualClock) {
  const logger = pino({ level: 'silent' })
  const { config } = parseBrokerConfig({ 'log.retention.check.interval.ms': 1000 })
  const metadata = await MetadataLog.open({ store, config, clock, logger })
  const topics = await openTopics({ store, metadata, config, clock, logger })
  return { topics, retention: new Retention({ topics, config, clock, logger }), close: async () => { await topics.close(); await metadata.close() } }
}

test('records of a quiet topic expire on the timer; offsets stay', async (t) => {
  const clock = new ManualClock()
  const { topics, retention, close } = await openOn(new MemoryLogStore(), clock)
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
  await close()
})

for (const kind of ['memory', 'auto', 'node:fs'] as const) {
  test(`limits that a client lowers take effect on segments that grow, also after a restart: ${kind}`, async (t) => {
    const dataDir = t.testdir()
    const memory = new MemoryLogStore()
    const openStoreNow = async (): Promise<LogStore> => kind === 'memory' ? memory : await openStore({ dataDir, backend: kind })
    const clock = new ManualClock()
    const record = (): Buffer => batchOf([{ value: 'v'.repeat(100_000), timestampMs: clock.nowMs }])
    let store = await openStoreNow()
    let { topics, retention, close } = await openOn(store, clock)
    const names = ['spans', 'smaller', 'nothing', 'kept'] as const
    for (const name of names) {
      const topic = await topics.create({ name, partitionCount: 1, replicationFactor: 1, configs: new Map([['segment.ms', name === 'kept' ? '60000' : '5000'], ['retention.ms', '-1'], ['segment.bytes', '20000000']]) })
      t.notOk('errorCode' in topic)
    }
    const of = (name: typeof names[number]): Partition => topics.get(name)!.partitions[0]!
    const produce = async (name: typeof names[number]): Promise<void> => {
      const appended = of(name).append(record(), 'client')
      if ('errorCode' in appended || await appended.committed !== undefined) throw new Error('refused')
    }
    const alter = async (name: typeof names[number], setting: string, value: string): Promise<void> => {
      t.equal(await topics.alterConfigs(topics.get(name)!, (overrides) => new Map([...overrides, [setting, value]])), undefined)
    }
    for (const name of names) for (let count = 0; count < 12; count++) await produce(name)
    await retention.runNow()
    t.same(names.map((name) => of(name).segments().length), [1, 1, 1, 1])
    await retention.close()
    await close()
    if (kind !== 'memory') await store.close()

    clock.advance(6000)
    store = await openStoreNow()
    ;({ topics, retention, close } = await openOn(store, clock))
    await produce('spans')
    await alter('smaller', 'segment.bytes', '1048576')
    await alter('smaller', 'retention.bytes', '200000')
    await alter('nothing', 'retention.bytes', '0')
    await retention.runNow()
    for (const name of names) await produce(name)
    await retention.runNow()
    t.match(of('spans').segments(), [{ baseOffset: 0, endOffset: 13, sealed: true }, { baseOffset: 13, endOffset: 14 }], 'its records span more than segment.ms, whatever was before the restart')
    t.match(of('smaller').segments(), [{ baseOffset: 0, endOffset: 12, sealed: true }, { baseOffset: 12, endOffset: 13 }], 'what is left would be too little')
    t.same([of('nothing').logStartOffset, of('nothing').highWatermark, of('nothing').bytes], [13, 13, 0])
    t.match(of('kept').segments(), [{ baseOffset: 0, endOffset: 13, sealed: false }])
    await produce('smaller')
    await produce('smaller')
    await retention.runNow()
    t.equal(of('smaller').logStartOffset, 12)
    const read = await of('smaller').read(12, { bytesMax: 1_000_000 })
    t.equal('errorCode' in read ? undefined : read.nextOffset, 15)
    await retention.close()
    await close()
    await store.close()
  })
}


test('a broker can be asked', async (t) => {
  const broker = await Broker.start({ port: 0 })
  await t.resolves(broker.applyRetention())
  await broker.close()
})
