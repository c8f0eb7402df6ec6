/** Topics on their metadata log: restarts, and a crash at every single change that the store is asked for. */
import { test } from 'tap'
import { pino } from 'pino'
import { parseBrokerConfig } from '../../../src/broker/config/broker-config.js'
import { ProducerIds } from '../../../src/broker/producer-ids.js'
import { MetadataLog } from '../../../src/broker/topics/metadata-log.js'
import { newTopicId, openTopics, type TopicRegistry } from '../../../src/broker/topics/topic-registry.js'
import type { Topic, TopicChange } from '../../../src/broker/topics/topics.js'
import { LogError, type LogStore } from '../../../src/log/log.js'
import { ErrorCode, type Refusal } from '../../../src/protocol/error-codes.js'
import { batchOf } from '../support/batches.js'
import { CrashingStore } from '../support/crashing-store.js'
import { ManualClock } from '../support/manual-clock.js'

const logger = pino({ level: 'silent' })

async function start (store: LogStore, settings: Record<string, string> = {}) {
  const { config } = parseBrokerConfig(settings)
  const clock = new ManualClock()
  const metadata = await MetadataLog.open({ store, config, clock, logger })
  const topics = await openTopics({ store, metadata, config, clock, logger })
  return { clock, metadata, topics, stop: async () => { await topics.close(); await metadata.close() } }
}

function made (topic: Topic | Refusal): Topic {
  if ('errorCode' in topic) throw new Error(topic.errorMessage ?? '')
  return topic
}

const newTopic = (name: string, partitionCount = 2, configs: Record<string, string> = {}) => ({ name, partitionCount, replicationFactor: 1, configs: new Map(Object.entries(configs)) })

/** All that a client can see. */
const seen = (topics: TopicRegistry) => topics.all().map(({ name, id, partitions, config }) => ({
  name, id, ends: partitions.map(({ logEndOffset }) => logEndOffset), overrides: Object.fromEntries(config.overrides)
}))

async function append (topic: Topic, index = 0): Promise<Refusal | undefined> {
  const appended = topic.partitions[index]!.append(batchOf([{ key: 'k', value: 'v' }]), 'client')
  return 'committed' in appended ? await appended.committed : appended
}

test('names, ids, partitions, settings and records are there after a restart', async (t) => {
  const store = new CrashingStore()
  const first = await start(store)
  const a = made(await first.topics.create(newTopic('a', 3, { 'retention.ms': '5' })))
  await first.topics.create(newTopic('b'))
  await first.topics.addPartitions(a, 5)
  await first.topics.alterConfigs(a, (overrides) => new Map([...overrides, ['segment.ms', '7']]))
  await append(a, 4)
  await first.topics.delete(made(first.topics.get('b') ?? await first.topics.getOrCreate('b')))
  const before = seen(first.topics)
  t.match(before, [{ name: 'a', ends: [0, 0, 0, 0, 1], overrides: { 'retention.ms': '5', 'segment.ms': '7' } }])
  await first.stop()
  const second = await start(store)
  t.same(seen(second.topics), before)
  t.equal(second.topics.getById(a.id)?.name, 'a')
  t.notOk((await store.names()).some((name) => name.startsWith('b-')))
  const again = made(await second.topics.create(newTopic('b')))
  t.equal(second.topics.getById(again.id), again)
  await second.stop()
})

test('a crash at any change leaves the old state or the new one', async (t) => {
  const scenarios: Record<string, (topics: TopicRegistry) => Promise<unknown>> = {
    create: async (topics) => await topics.create(newTopic('new', 3, { 'segment.ms': '5' })),
    delete: async (topics) => await topics.delete(topics.get('doomed')!),
    grow: async (topics) => await topics.addPartitions(topics.get('doomed')!, 4),
    configure: async (topics) => await topics.alterConfigs(topics.get('doomed')!, () => new Map([['segment.ms', '9']]))
  }
  const setUp = async (store: CrashingStore) => {
    const started = await start(store)
    await append(made(await started.topics.create(newTopic('kept'))))
    await append(made(await started.topics.create(newTopic('doomed'))))
    return started
  }
  const shape = (topics: TopicRegistry): string => JSON.stringify(seen(topics).map((topic) => ({ ...topic, id: '' })))
  for (const [name, change] of Object.entries(scenarios)) {
    const ends = { old: 0, new: 0 }
    const undisturbed = await setUp(new CrashingStore())
    await change(undisturbed.topics)
    const newShape = shape(undisturbed.topics)
    for (const done of [false, true]) {
      for (let at = 1; ; at++) {
        const store = new CrashingStore(Infinity, done)
        const first = await setUp(store)
        const old = JSON.stringify(seen(first.topics))
        store.crashAfter(at)
        const outcome = await change(first.topics)
        const refused = typeof outcome === 'object' && outcome !== null && 'errorCode' in outcome
        const crashed = store.crashed
        const now = JSON.stringify(seen(first.topics))
        await store.restart()
        const second = await start(store)
        const found = JSON.stringify(seen(second.topics))
        if (found === old) ends.old++
        else {
          ends.new++
          t.equal(shape(second.topics), newShape, `${name}: the new state, whole`)
        }
        if (!refused) t.equal(found, now, `${name}: what was acknowledged is there, crash at ${at}, ${done ? 'done' : 'not done'}`)
        t.equal(second.topics.get('kept')!.partitions[0]!.logEndOffset, 1)
        const owned = new Set(['__cluster_metadata-0', ...second.topics.all().flatMap((topic) => topic.partitions.map(({ index }) => `${topic.name}-${index}`))])
        t.same((await store.names()).filter((log) => !owned.has(log) && !log.endsWith('.stray')), [], `${name}: no log without an owner`)
        if (second.topics.get('doomed') === undefined) t.same(made(await second.topics.create(newTopic('doomed'))).partitions.map(({ logEndOffset }) => logEndOffset), [0, 0], 'nothing of the deleted topic is found')
        await second.stop()
        if (!crashed) break
      }
    }
    t.ok(ends.old > 0 && ends.new > 0, `${name} ended ${ends.old} times in the old state, ${ends.new} times in the new one`)
  }
})

test('logs that cannot be removed are neither found by a new topic of the name, nor take its records with them', async (t) => {
  const store = new CrashingStore()
  const remove = store.remove.bind(store)
  const first = await start(store)
  await append(made(await first.topics.create(newTopic('t', 1))))
  store.remove = async () => { throw new LogError('failed', 'EIO') }
  t.equal(await first.topics.delete(first.topics.get('t')!), undefined, 'the topic is gone')
  t.equal(first.topics.get('t'), undefined)
  t.match(await first.topics.create(newTopic('t', 1)), { errorCode: ErrorCode.KAFKA_STORAGE_ERROR }, 'its name is not free')
  store.remove = remove
  const again = made(await first.topics.create(newTopic('t', 1)))
  t.equal(again.partitions[0]!.logEndOffset, 0)
  await append(again)
  await append(again)
  await first.stop()
  const second = await start(store)
  t.match(seen(second.topics), [{ id: again.id, ends: [2] }])
  await second.stop()
})

test('a topic whose partitions cannot be opened leaves nothing', async (t) => {
  const store = new CrashingStore()
  const open = store.open.bind(store)
  const { topics, stop } = await start(store)
  const grown = made(await topics.create(newTopic('grown', 1)))
  store.open = async (name, options) => {
    if (name.endsWith('-2')) throw new LogError('denied', 'EMFILE')
    return await open(name, options)
  }
  t.match(await topics.create(newTopic('t', 5)), { errorCode: ErrorCode.KAFKA_STORAGE_ERROR, errorMessage: 'EMFILE' })
  t.match(await topics.addPartitions(grown, 5), { errorCode: ErrorCode.KAFKA_STORAGE_ERROR })
  t.equal(topics.get('t'), undefined)
  t.equal(grown.partitions.length, 1)
  store.open = open
  t.equal(made(await topics.create(newTopic('t', 5))).partitions.length, 5)
  t.equal(await topics.addPartitions(grown, 5), undefined)
  t.equal(grown.partitions.length, 5)
  await stop()
  const second = await start(store)
  t.match(seen(second.topics), [{ name: 'grown', ends: [0, 0, 0, 0, 0] }, { name: 't', ends: [0, 0, 0, 0, 0] }])
  await second.stop()
})

test('a deletion that was refused does not come to life at the next start', async (t) => {
  const store = new CrashingStore(Infinity, true)
  const first = await start(store)
  const topic = made(await first.topics.create(newTopic('t', 1)))
  store.crashAfter(1)
  t.match(await first.topics.delete(topic), { errorCode: ErrorCode.KAFKA_STORAGE_ERROR })
  await store.restart()
  // The disk is well again: the metadata log is opened again, and the records of the deletion are in it.
  first.clock.advance(1000)
  await new Promise((resolve) => setTimeout(resolve, 50))
  await store.restart()
  const second = await start(store)
  t.match(seen(second.topics), [{ name: 't', id: topic.id }])
  await second.stop()
})

test('logs that no topic owns are set aside, not deleted', async (t) => {
  const store = new CrashingStore()
  const first = await start(store)
  await append(made(await first.topics.create(newTopic('t', 1))))
  await first.stop()
  await store.rename('t-0', 'u-7')
  const second = await start(store)
  const names = await store.names()
  t.ok(names.some((name) => /^u-7\.[0-9a-f]{12}\.stray$/.test(name)), names.join())
  t.notOk(names.includes('u-7'))
  await second.stop()
  const third = await start(store)
  t.same((await store.names()).filter((name) => name.endsWith('.stray')), names.filter((name) => name.endsWith('.stray')), 'once')
  await third.stop()
})

test('changes are told; a topic asked for many times at once is made once', async (t) => {
  const { topics, stop } = await start(new CrashingStore())
  const told: string[] = []
  const unsubscribe = topics.onChange(({ kind, topic }: TopicChange) => told.push(`${kind} ${topic.name}`))
  const all = await Promise.all(Array.from({ length: 20 }, async () => await topics.getOrCreate('t')))
  t.equal(new Set(all).size, 1)
  const topic = made(all[0]!)
  await topics.addPartitions(topic, 3)
  await topics.alterConfigs(topic, () => new Map([['segment.ms', '9']]))
  const deletions = await Promise.all([topics.delete(topic), topics.delete(topic)])
  t.match(deletions, [undefined, { errorCode: ErrorCode.UNKNOWN_TOPIC_ID }])
  t.same(told, ['created t', 'grown t', 'configured t', 'deleted t'])
  unsubscribe()
  await topics.getOrCreate('u')
  t.equal(told.length, 4)
  await stop()
})

test('producer ids: in order, never twice, whatever crashes', async (t) => {
  const store = new CrashingStore()
  const given = new Set<number>()
  let count = 0
  for (let run = 0; run < 3; run++) {
    const { metadata } = await start(store)
    const ids = new ProducerIds(metadata)
    const got = await Promise.all(Array.from({ length: 1500 }, async () => await ids.next()))
    for (const id of got) given.add(id)
    count += got.length
    if (run === 0) {
      t.same(got, [...got].sort((one, other) => one - other))
      store.crashAfter(1)
      const failing = await Promise.allSettled(Array.from({ length: 600 }, async () => await ids.next()))
      for (const result of failing) if (result.status === 'fulfilled') { given.add(result.value); count++ }
      t.ok(failing.some(({ status }) => status === 'rejected'), 'no id without a durable block')
    }
    await store.restart()
  }
  t.equal(given.size, count)
})

test('a thousand partitions are open in no time; ids are fit for command lines', async (t) => {
  const store = new CrashingStore()
  const first = await start(store)
  await first.topics.create(newTopic('wide', 1000))
  await first.stop()
  const before = performance.now()
  const second = await start(store)
  t.equal(second.topics.get('wide')!.partitions.length, 1000)
  t.ok(performance.now() - before < 2000)
  await second.stop()
  const ids = Array.from({ length: 2000 }, newTopicId)
  t.ok(ids.every((id) => /^\w[\w-]{21}$/.test(id)))
  t.equal(new Set(ids).size, ids.length)
})
