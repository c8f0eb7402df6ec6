/** State in a log: replay after every crash that a compaction may meet, and writers that do not wait for each other. */
import { test } from 'tap'
import { pino } from 'pino'
import { parseBrokerConfig } from '../../src/broker/config/broker-config.js'
import { parseTopicConfig } from '../../src/broker/config/topic-config.js'
import { openPartition } from '../../src/broker/partitions/partition.js'
import { StateLog, type StateRecord } from '../../src/broker/state-log.js'
import type { LogStore } from '../../src/log/log.js'
import { ErrorCode } from '../../src/protocol/error-codes.js'
import { CrashingStore } from './support/crashing-store.js'
import { ManualClock } from './support/manual-clock.js'
import { ScriptedLogStore } from './support/scripted-log-store.js'

const CONFIG = parseTopicConfig(new Map([['segment.bytes', '1048576']]), parseBrokerConfig({}).config)
const VALUE = 'v'.repeat(20_000)

/** A map of texts on a state log. */
async function open (store: LogStore) {
  const clock = new ManualClock()
  const partition = await openPartition({ store, topicName: 'state', index: 0, config: () => CONFIG, clock, logger: pino({ level: 'silent' }) })
  const log = new StateLog(partition, clock)
  const live = new Map<string, string>()
  const apply = ({ key, value }: StateRecord): void => {
    if (value === null) live.delete(key.toString())
    else live.set(key.toString(), value.toString())
  }
  await log.replay(apply)
  const record = (key: string, value: string | null): StateRecord => ({ key: Buffer.from(key), value: value === null ? null : Buffer.from(value) })
  return {
    log,
    partition,
    live,
    set: async (changes: Record<string, string | null>) => {
      const records = Object.entries(changes).map(([key, value]) => record(key, value))
      return await log.append(records, () => records.forEach(apply))
    },
    compact: async () => await log.compactIfLong(() => [...live].map(([key, value]) => record(key, value)))
  }
}

const sorted = (live: ReadonlyMap<string, string>) => [...live].sort().map(([key, value]) => `${key}=${value.slice(-6)}`)

async function fill (state: Awaited<ReturnType<typeof open>>): Promise<void> {
  for (let round = 0; round < 4; round++) {
    for (let key = 0; key < 60; key++) await state.set({ [`k${key}`]: `${VALUE}-${round}` })
  }
  for (let key = 0; key < 60; key += 3) await state.set({ [`k${key}`]: null })
}

test('records are replayed in order, a batch wholly or not at all', async (t) => {
  const store = new CrashingStore(3)
  const first = await open(store)
  t.equal(await first.set({ a: '1', b: '2' }), undefined)
  t.equal(await first.set({ a: '3', b: null, c: '4' }), undefined)
  t.match(await first.set({ a: '5', c: null }), { errorCode: ErrorCode.KAFKA_STORAGE_ERROR }, 'a refusal, no exception')
  t.same(sorted(first.live), ['a=3', 'c=4'], 'what was refused is not applied')
  await store.restart()
  t.same(sorted((await open(store)).live), ['a=3', 'c=4'])
})

test('a compaction that dies at any change leaves the same state', async (t) => {
  let changes = 0
  for (const done of [false, true]) {
    for (let at = 1; ; at++) {
      const store = new CrashingStore(Infinity, done)
      const first = await open(store)
      await fill(first)
      const before = sorted(first.live)
      store.crashAfter(at)
      await first.compact()
      const crashed = store.crashed
      await store.restart()
      const second = await open(store)
      t.same(sorted(second.live), before, `died at ${at}, ${done ? 'done' : 'not done'}`)
      await second.compact()
      t.equal(await second.set({ more: 'x' }), undefined)
      await store.restart()
      t.same(sorted((await open(store)).live), [...before, 'more=x'], 'and compacted again')
      if (!crashed) break
      changes = at
    }
  }
  t.ok(changes >= 2, `a compaction has ${changes} changes`)
})

test('a log stays within a few times its live state', async (t) => {
  const store = new CrashingStore()
  const state = await open(store)
  for (let round = 0; round < 2000; round++) {
    await state.set({ [`k${round % 10}`]: `${VALUE}-${round}` })
    await state.compact()
    if (state.partition.bytes > 8 * 1024 * 1024) t.fail(`${state.partition.bytes} bytes after ${round} rounds`)
  }
  t.ok(state.partition.logStartOffset > 0)
  const live = sorted(state.live)
  await store.restart()
  t.same(sorted((await open(store)).live), live)
})

test('a compaction drops nothing that is being written', async (t) => {
  const store = new ScriptedLogStore()
  const state = await open(store)
  await fill(state)
  store.hold = true
  const written = state.set({ late: '1' })
  await state.compact()
  t.equal(state.partition.logStartOffset, 0, 'not while a write is in flight')
  store.logs.get('state-0')!.release()
  await written
  const compacted = state.compact()
  const during = state.set({ during: '2' })
  store.logs.get('state-0')!.release()
  await Promise.all([compacted, during])
  t.ok(state.partition.logStartOffset > 0)
  const live = sorted(state.live)
  t.ok(live.includes('late=1') && live.includes('during=2'))
  const replayed = new Map<string, string>()
  await state.log.replay(({ key, value }) => { if (value === null) replayed.delete(key.toString()); else replayed.set(key.toString(), value.toString()) })
  t.same(sorted(replayed), live)
})
