import { pino } from 'pino'
import t from 'tap'
import { ErrorCode, type Refusal } from '../../../src/protocol/error-codes.js'
import { MemoryLogStore } from '../../../src/log/memory-log.js'
import { LogError, type Log, type LogOptions, type LogStore } from '../../../src/log/log.js'
import { encodeBatch } from '../../../src/protocol/records.js'
import { systemClock } from '../../../src/broker/clock.js'
import { parseBrokerConfig } from '../../../src/broker/config/broker-config.js'
import { MetadataLog } from '../../../src/broker/topics/metadata-log.js'
import { newTopicId, openTopics, type TopicRegistry } from '../../../src/broker/topics/topic-registry.js'
import { ProducerIds } from '../../../src/broker/producer-ids.js'
import type { NewTopic, Topic } from '../../../src/broker/topics/topics.js'

const logger = pino({ level: 'silent' })

async function open (store: LogStore, settings: Record<string, string | boolean> = {}): Promise<{ topics: TopicRegistry, metadata: MetadataLog, close: () => Promise<void> }> {
  const { config } = parseBrokerConfig(settings)
  const metadata = await MetadataLog.open({ store, config, clock: systemClock, logger })
  const topics = await openTopics({ store, metadata, config, clock: systemClock, logger })
  return { topics, metadata, close: async () => { await topics.close(); await metadata.close() } }
}

const newTopic = (change: Partial<NewTopic> = {}): NewTopic => ({ name: 't', partitionCount: 1, replicationFactor: 1, ...change })
const created = (result: Topic | Refusal): Topic => 'errorCode' in result ? t.fail(result.errorMessage) as never : result

t.test('what a topic may be', async (t) => {
  const { topics } = await open(new MemoryLogStore())
  await topics.create(newTopic({ name: 'with.dot' }))
  for (const [change, errorCode] of [
    [{ name: '' }, ErrorCode.INVALID_TOPIC_EXCEPTION],
    [{ name: '.' }, ErrorCode.INVALID_TOPIC_EXCEPTION],
    [{ name: '..' }, ErrorCode.INVALID_TOPIC_EXCEPTION],
    [{ name: 'a b' }, ErrorCode.INVALID_TOPIC_EXCEPTION],
    [{ name: 'ä' }, ErrorCode.INVALID_TOPIC_EXCEPTION],
    [{ name: 'x'.repeat(250) }, ErrorCode.INVALID_TOPIC_EXCEPTION],
    [{ name: 'with_dot' }, ErrorCode.INVALID_TOPIC_EXCEPTION],
    [{ name: '__consumer_offsets' }, ErrorCode.INVALID_TOPIC_EXCEPTION],
    [{ name: 'with.dot' }, ErrorCode.TOPIC_ALREADY_EXISTS],
    [{ partitionCount: 0 }, ErrorCode.INVALID_PARTITIONS],
    [{ partitionCount: -2 }, ErrorCode.INVALID_PARTITIONS],
    [{ partitionCount: 2 ** 31 - 1 }, ErrorCode.INVALID_PARTITIONS],
    [{ replicationFactor: 0 }, ErrorCode.INVALID_REPLICATION_FACTOR],
    [{ replicationFactor: 3 }, ErrorCode.INVALID_REPLICATION_FACTOR],
    [{ configs: new Map([['no.such', '1']]) }, ErrorCode.INVALID_CONFIG],
    [{ configs: new Map([['retention.ms', 'soon']]) }, ErrorCode.INVALID_CONFIG],
    [{ configs: new Map([['cleanup.policy', 'shred']]) }, ErrorCode.INVALID_CONFIG],
    [{ configs: new Map([['segment.bytes', '1']]) }, ErrorCode.INVALID_CONFIG],
    [{ configs: new Map([['retention.ms', null]]) }, ErrorCode.INVALID_CONFIG]
  ] as const) {
    t.match(await topics.create(newTopic(change)), { errorCode, errorMessage: /./ }, JSON.stringify(change).slice(0, 60))
  }
  t.equal(topics.all().length, 1)
})

t.test('defaults come from the broker; validation changes nothing; a clamp takes any replication factor', async (t) => {
  const { topics } = await open(new MemoryLogStore(), { 'num.partitions': '3', 'log.retention.hours': '1', 'haulout.replication.factor.clamp': true })
  await topics.create(newTopic({ name: 'maybe', validateOnly: true }))
  t.equal(topics.get('maybe'), undefined)
  const topic = created(await topics.create(newTopic({ partitionCount: -1, replicationFactor: 3, configs: new Map([['cleanup.policy', 'compact']]) })))
  t.equal(topic.partitions.length, 3)
  t.equal(topic.config['retention.ms'], 3_600_000)
  t.same(topic.config['cleanup.policy'], ['compact'])
  t.equal(topics.getById(topic.id), topic)
})

t.test('missing topics are made once, if at all', async (t) => {
  const { topics } = await open(new MemoryLogStore())
  const both = await Promise.all([topics.getOrCreate('auto'), topics.getOrCreate('auto')])
  t.equal(both[0], both[1])
  const without = await open(new MemoryLogStore(), { 'auto.create.topics.enable': false })
  t.match(await without.topics.getOrCreate('auto'), { errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION })
})

t.test('everything survives a restart: ids, partitions, settings, records; a deleted topic stays deleted', async (t) => {
  const store = new MemoryLogStore()
  const first = await open(store)
  const kept = created(await first.topics.create(newTopic({ name: 'kept', partitionCount: 2, configs: new Map([['retention.ms', '5']]) })))
  const gone = created(await first.topics.create(newTopic({ name: 'gone' })))
  first.topics.get('kept')!.partitions[1]!.append(encodeBatch([{ key: null, value: Buffer.from('v'), timestampMs: 1 }]), 'broker')
  await first.topics.addPartitions(kept, 4)
  await first.topics.delete(gone)
  await first.close()
  const { topics } = await open(store)
  const again = topics.get('kept')!
  t.match({ id: again.id, count: again.partitions.length, end: again.partitions[1]!.highWatermark, retention: again.config['retention.ms'] }, { id: kept.id, count: 4, end: 1, retention: 5 })
  t.equal(topics.get('gone'), undefined)
  const anew = created(await topics.create(newTopic({ name: 'gone' })))
  t.not(anew.id, gone.id)
  t.equal(anew.partitions[0]!.logEndOffset, 0)
})

t.test('growing: never smaller, never the same', async (t) => {
  const { topics } = await open(new MemoryLogStore())
  const topic = created(await topics.create(newTopic({ partitionCount: 2 })))
  t.match(await topics.addPartitions(topic, 2), { errorCode: ErrorCode.INVALID_PARTITIONS })
  t.match(await topics.addPartitions(topic, 1), { errorCode: ErrorCode.INVALID_PARTITIONS })
  t.equal(await topics.addPartitions(topic, 5, true), undefined)
  t.equal(topic.partitions.length, 2, 'only validated')
  t.equal(await topics.addPartitions(topic, 5), undefined)
  t.same(topic.partitions.map(({ index }) => index), [0, 1, 2, 3, 4])
})

t.test('a log that no topic owns is set aside, neither adopted nor deleted', async (t) => {
  const store = new MemoryLogStore()
  const stray = await store.open('t-0', { layout: (await import('../../../src/log/log.js')).RECORD_BATCH_LAYOUT })
  stray.append(encodeBatch([{ key: null, value: Buffer.from('old'), timestampMs: 1 }]))
  await stray.close()
  const { topics } = await open(store)
  const topic = created(await topics.create(newTopic()))
  t.equal(topic.partitions[0]!.logEndOffset, 0)
  t.ok((await store.names()).some((name) => /^t-0\.\w+\.stray$/.test(name)))
})

t.test('topic ids are what Kafka prints', async (t) => {
  const ids = new Set(Array.from({ length: 1000 }, newTopicId))
  t.equal(ids.size, 1000)
  for (const id of ids) t.match(id, /^[A-Za-z0-9_][A-Za-z0-9_-]{21}$/)
})

t.test('producer ids are never given twice, whatever a crash leaves', async (t) => {
  const store = new MemoryLogStore()
  const seen = new Set<number>()
  for (let restart = 0; restart < 3; restart++) {
    const { metadata, close } = await open(store)
    const producerIds = new ProducerIds(metadata)
    const ids = await Promise.all(Array.from({ length: 1500 }, async () => await producerIds.next()))
    for (const id of ids) {
      if (seen.has(id)) t.fail(`${id} was given before`)
      seen.add(id)
    }
    await close()
  }
  t.equal(seen.size, 4500)
})

/** A store that stops dead before its nth change, as a machine that loses power; what was done before stays. */
class DyingStore extends MemoryLogStore {
  private readonly openLogs = new Set<Log>()
  constructor (private readonly content: MemoryLogStore, public changesLeft: number) { super() }
  override async names (): Promise<readonly string[]> { return await this.content.names() }
  override async remove (name: string): Promise<void> { await this.change(); await this.content.remove(name) }
  override async rename (from: string, to: string): Promise<void> { await this.change(); await this.content.rename(from, to) }
  override async open (name: string, options: LogOptions): Promise<Log> {
    const log = await this.content.open(name, options)
    this.openLogs.add(log)
    const append = log.append.bind(log)
    log.append = (entry) => {
      if (this.changesLeft-- <= 0) throw new LogError('failed', 'power is off')
      return append(entry)
    }
    return log
  }

  async reboot (): Promise<void> { for (const log of this.openLogs) await log.close() }
  private async change (): Promise<void> { if (this.changesLeft-- <= 0) await new Promise(() => {}) }
}

t.test('a crash at any point leaves the old state or the new one', async (t) => {
  const crashCountMax = 30
  let finished = false
  for (let changes = 0; changes < crashCountMax && !finished; changes++) {
    const content = new MemoryLogStore()
    const dying = new DyingStore(content, changes)
    const done: string[] = []
    const life = (async () => {
      const { topics } = await open(dying)
      const step = async (name: string, work: () => Promise<unknown>): Promise<void> => {
        const result: any = await work()
        if (result?.errorCode !== undefined) throw new Error(result.errorMessage)
        done.push(name)
      }
      await step('create a', async () => await topics.create(newTopic({ name: 'a', partitionCount: 2 })))
      await step('create b', async () => await topics.create(newTopic({ name: 'b' })))
      await step('delete a', async () => await topics.delete(topics.get('a')!))
      await step('create a again', async () => await topics.create(newTopic({ name: 'a', partitionCount: 3 })))
      await step('grow b', async () => await topics.addPartitions(topics.get('b')!, 4))
      finished = true
    })().catch(() => {})
    await Promise.race([life, new Promise((resolve) => setTimeout(resolve, 20))])
    await dying.reboot()
    const { topics } = await open(content)
    const counts = { a: topics.get('a')?.partitions.length, b: topics.get('b')?.partitions.length }
    // The step that was cut short may have happened or not; those before it have.
    const states = [{ a: undefined, b: undefined }, { a: 2, b: undefined }, { a: 2, b: 1 }, { a: undefined, b: 1 }, { a: 3, b: 1 }, { a: 3, b: 4 }]
    const allowed = states.slice(done.length, done.length + 2)
    t.ok(allowed.some((state) => state.a === counts.a && state.b === counts.b), `after ${changes} changes and ${done.length} steps: ${JSON.stringify(counts)}`)
    t.same((await content.names()).filter((name) => name.endsWith('.stray')), [], 'nothing is left over')
  }
  t.ok(finished)
})
