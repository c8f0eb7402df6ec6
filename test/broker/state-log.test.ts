import t from 'tap'
import { MemoryLogStore } from '../../src/log/memory-log.js'
import { StateLog, type StateRecord } from '../../src/broker/state-log.js'
import { systemClock } from '../../src/broker/clock.js'
import { openPartition, type Partition } from '../../src/broker/partitions/partition.js'
import { parseBrokerConfig } from '../../src/broker/config/broker-config.js'
import { parseTopicConfig } from '../../src/broker/config/topic-config.js'
import { pino } from 'pino'

const config = parseTopicConfig(new Map(), parseBrokerConfig({}).config)
const logger = pino({ level: 'silent' })
const record = (key: string, value: string | null): StateRecord => ({ key: Buffer.from(key), value: value === null ? null : Buffer.from(value) })

async function open (store: MemoryLogStore): Promise<{ partition: Partition, log: StateLog }> {
  const partition = await openPartition({ store, topicName: 'state', index: 0, config: () => config, clock: systemClock, logger })
  return { partition, log: new StateLog(partition, systemClock) }
}

async function replayed (log: StateLog): Promise<Record<string, string>> {
  const state: Record<string, string> = {}
  await log.replay(({ key, value }) => {
    if (value === null) delete state[String(key)]
    else state[String(key)] = String(value)
  })
  return state
}

t.test('records come back in order, a null value deletes', async (t) => {
  const { log } = await open(new MemoryLogStore())
  let applied = 0
  await log.append([record('a', '1'), record('b', '2')], () => applied++)
  await log.append([record('a', null), record('c', '3')], () => applied++)
  t.equal(applied, 2)
  t.same(await replayed(log), { b: '2', c: '3' })
})

t.test('a refused append is not applied', async (t) => {
  const { log, partition } = await open(new MemoryLogStore())
  await partition.close()
  const refusal = await log.append([record('a', '1')], () => t.fail('applied'))
  t.ok(refusal?.errorMessage)
})

t.test('a long log is compacted to its live state; replaying it after a crash at any point of that gives the same state', async (t) => {
  const { log, partition } = await open(new MemoryLogStore())
  const live = new Map<string, string>()
  const write = async (key: string, value: string): Promise<void> => { await log.append([record(key, value)], () => live.set(key, value)) }
  const big = 'x'.repeat(40_000)
  for (let round = 0; round < 10; round++) for (const key of ['a', 'b', 'c']) await write(key, `${round}${big}`)
  const before = partition.bytes
  const expected = Object.fromEntries(live)
  const truncations: number[] = []
  // A crash before the truncation is what a replay sees while the truncation has not happened.
  const crashing = new StateLog({
    append: (batch, origin) => partition.append(batch, origin),
    read: async (offset, options) => await partition.read(offset, options),
    get bytes () { return partition.bytes },
    get logStartOffset () { return partition.logStartOffset },
    get logEndOffset () { return partition.logEndOffset },
    get highWatermark () { return partition.highWatermark },
    truncateFront: async (offset) => {
      truncations.push(offset)
      t.same(await replayed(log), expected, 'both old and new records')
      return await partition.truncateFront(offset)
    }
  }, systemClock)
  await crashing.compactIfLong(function * () { for (const [key, value] of live) yield record(key, value) })
  t.equal(truncations.length, 1)
  t.ok(partition.logStartOffset > 0)
  t.same(await replayed(log), expected)
  t.ok(before > 1_000_000)
})

t.test('nothing in flight is lost to a compaction', async (t) => {
  const { log } = await open(new MemoryLogStore())
  const live = new Map<string, string>()
  const big = 'x'.repeat(400_000)
  for (let i = 0; i < 3; i++) await log.append([record('k', big)], () => live.set('k', big))
  const late = log.append([record('late', '1')], () => live.set('late', '1'))
  const compaction = log.compactIfLong(function * () { for (const [key, value] of live) yield record(key, value) })
  await Promise.all([late, compaction])
  t.equal((await replayed(log))['late'], '1')
})
