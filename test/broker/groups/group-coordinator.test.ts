/** The coordinator with its log: what is durable when, what a restart finds, what expires. */
import { pino } from 'pino'
import t from 'tap'
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import { ZERO_UUID } from '../../../src/protocol/schema.js'
import type { Log, LogOptions, LogStore } from '../../../src/log/log.js'
import { LogError } from '../../../src/log/log.js'
import { MemoryLogStore } from '../../../src/log/memory-log.js'
import { parseBrokerConfig } from '../../../src/broker/config/broker-config.js'
import { openGroupCoordinator, type GroupCoordinator, type OffsetToCommit } from '../../../src/broker/groups/group-coordinator.js'
import { OFFSETS_TOPIC } from '../../../src/broker/groups/group-storage.js'
import type { JoinAnswer, JoinRequest } from '../../../src/broker/groups/group.js'
import { MetadataLog } from '../../../src/broker/topics/metadata-log.js'
import { openTopics, type TopicRegistry } from '../../../src/broker/topics/topic-registry.js'
import type { Topic } from '../../../src/broker/topics/topics.js'
import { ManualClock } from '../support/manual-clock.js'

const logger = pino({ level: 'silent' })

/** A store whose commits a test can hold back or make fail, for the logs of groups. */
class GatedStore extends MemoryLogStore {
  gate: Promise<void> = Promise.resolve()
  private opened: Log[] = []

  hold (): { release: () => void, fail: () => void } {
    let release = (): void => {}
    let fail = (): void => {}
    this.gate = new Promise((resolve, reject) => {
      release = resolve
      fail = () => reject(new LogError('failed', 'no disk'))
    })
    this.gate.catch(() => {})
    return { release: () => { this.gate = Promise.resolve(); release() }, fail: () => { this.gate = Promise.resolve(); fail() } }
  }

  /** A process that dies leaves its logs as they are. */
  async crash (): Promise<void> {
    for (const log of this.opened.splice(0)) await log.close()
  }

  override async open (name: string, options: LogOptions): Promise<Log> {
    const log = await super.open(name, options)
    this.opened.push(log)
    if (!name.startsWith(OFFSETS_TOPIC)) return log
    return new Proxy(log, {
      get: (target, property) => {
        const value = Reflect.get(target, property, target)
        if (property === 'append') {
          return (entry: Uint8Array) => {
            const { baseOffset } = target.append(entry)
            const committed = this.gate
            committed.catch(() => {})
            return { baseOffset, committed }
          }
        }
        return typeof value === 'function' ? value.bind(target) : value
      }
    })
  }
}

interface Setup { readonly groups: GroupCoordinator, readonly topics: TopicRegistry, readonly topic: Topic, readonly clock: ManualClock, readonly store: GatedStore, readonly restart: () => Promise<Setup> }

async function open (settings: Record<string, string> = {}, store = new GatedStore(), clock = new ManualClock()): Promise<Setup> {
  const { config } = parseBrokerConfig({ 'offsets.topic.num.partitions': '3', ...settings })
  const metadata = await MetadataLog.open({ store: store as LogStore, config, clock, logger })
  const topics = await openTopics({ store: store as LogStore, metadata, config, clock, logger })
  const topic = await topics.getOrCreate('t') as Topic
  const groups = await openGroupCoordinator({ topics, config, clock, logger })
  return {
    groups,
    topics,
    topic,
    clock,
    store,
    restart: async () => {
      await store.crash()
      clock.timers.clear()
      return await open(settings, store, clock)
    }
  }
}

function joinRequest (change: Partial<JoinRequest> = {}): Omit<JoinRequest, 'reply' | 'newMemberId'> {
  return {
    memberId: '', instanceId: null, clientId: 'c', clientHost: '/127.0.0.1', sessionTimeoutMs: 10_000, rebalanceTimeoutMs: 60_000, protocolType: 'consumer',
    protocols: [{ name: 'range', metadata: Buffer.from([0, 0, 0, 0, 0, 1, 0, 1, 116, 255, 255, 255, 255]) }], requiresKnownMemberId: false, canSkipAssignment: false, ...change
  }
}

const syncRequest = ({ memberId, generation }: JoinAnswer, assignments: Record<string, string> = {}) => ({
  memberId, instanceId: null, generation, protocolType: null, protocolName: null, assignments: new Map(Object.entries(assignments).map(([id, text]) => [id, Buffer.from(text)]))
})

/** One member in a stable group. */
async function stable (groups: GroupCoordinator, groupId = 'g', change: Partial<JoinRequest> = {}): Promise<JoinAnswer> {
  const member = await groups.join(groupId, joinRequest(change))
  const { errorCode } = await groups.sync(groupId, syncRequest(member, { [member.memberId]: 'all of t' }))
  t.equal(errorCode, 0)
  return member
}

const offset = (topic: Topic, value: number, change: Partial<OffsetToCommit> = {}): OffsetToCommit =>
  ({ topicName: topic.name, topicId: topic.id, partition: 0, offset: value, leaderEpoch: 2, metadata: 'here', ...change })
const simple = { memberId: '', instanceId: null }
const identity = ({ memberId }: JoinAnswer) => ({ memberId, instanceId: null })
const committed = (groups: GroupCoordinator, groupId = 'g', topicName = 't'): number | undefined => groups.offsets(groupId)?.get(topicName)?.get(0)?.offset
/** Lets everything happen that needs no time. */
const settled = async (): Promise<void> => { for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve)) }
const timeless = Symbol('waits')
const now = async <T>(promise: Promise<T>): Promise<T | symbol> => await Promise.race([promise, settled().then(() => timeless)])

t.test('a restart after a crash changes nothing for a member: no rebalance, no lost offset', async (t) => {
  const first = await open()
  const member = await stable(first.groups)
  const other = await stable(first.groups, 'other', { instanceId: 'i' })
  t.equal(await first.groups.commit('g', [offset(first.topic, 41)]), 0)
  t.equal(await first.groups.commit('simple', [offset(first.topic, 7)]), 0)
  const { groups, clock } = await first.restart()
  t.match(groups.group('g'), { phase: 'Stable', generation: 1, leaderId: member.memberId, protocolName: 'range', protocolType: 'consumer' })
  t.equal(await groups.heartbeat('g', identity(member), 1), ErrorCode.NONE)
  t.equal(groups.checkCommit('g', identity(member), 1), ErrorCode.NONE)
  t.equal((await groups.sync('g', syncRequest(member))).assignment.toString(), 'all of t')
  t.same([...groups.offsets('g')!], [['t', new Map([[0, { offset: 41, leaderEpoch: 2, metadata: 'here', committedAtMs: clock.nowMs, topicId: first.topic.id }]])]])
  t.equal(committed(groups, 'simple'), 7)
  t.equal((await groups.heartbeat('other', { memberId: other.memberId, instanceId: 'i' }, 1)), ErrorCode.NONE)
  clock.advance(10_001)
  t.equal(await groups.heartbeat('g', identity(member), 1), ErrorCode.UNKNOWN_MEMBER_ID, 'sessions begin anew, and end')
})

t.test('a member that was in the middle of a rebalance when the broker died is told to join', async (t) => {
  const first = await open()
  const member = await stable(first.groups)
  void first.groups.join('g', joinRequest())
  const again = await first.groups.join('g', joinRequest({ memberId: member.memberId }))
  t.equal(again.generation, 2)
  const { groups } = await first.restart()
  t.equal(await groups.heartbeat('g', identity(member), 2), ErrorCode.ILLEGAL_GENERATION)
  t.equal((await groups.join('g', joinRequest({ memberId: member.memberId }))).generation, 2)
})

t.test('assignments and commits are answered when they are durable', async (t) => {
  const { groups, topic, store } = await open()
  const member = await groups.join('g', joinRequest())
  await groups.ready()
  const gate = store.hold()
  const sync = groups.sync('g', syncRequest(member, { [member.memberId]: 'x' }))
  const commit = groups.commit('simple', [offset(topic, 1)])
  t.same([await now(sync), await now(commit)], [timeless, timeless])
  t.equal(committed(groups, 'simple'), undefined, 'nor is what is not durable told to anyone')
  t.equal(groups.group('g')?.phase, 'CompletingRebalance')
  gate.release()
  t.match(await sync, { errorCode: 0, assignment: Buffer.from('x') })
  t.equal(await commit, 0)
  t.equal(committed(groups, 'simple'), 1)
})

t.test('a disk that fails: nothing is acknowledged, nothing is told', async (t) => {
  const { groups, topic, store } = await open()
  const member = await groups.join('g', joinRequest())
  await groups.ready()
  const gate = store.hold()
  const sync = groups.sync('g', syncRequest(member, { [member.memberId]: 'x' }))
  const commit = groups.commit('simple', [offset(topic, 1)])
  await settled()
  gate.fail()
  t.equal((await sync).errorCode, ErrorCode.NOT_COORDINATOR)
  t.equal(await commit, ErrorCode.NOT_COORDINATOR)
  t.equal(groups.group('simple'), undefined)
  t.equal(groups.group('g')?.phase, 'PreparingRebalance')
})

t.test('a commit of many partitions is one batch; one that no segment holds is refused as Kafka refuses it', async (t) => {
  const many = (topic: Topic, count: number): OffsetToCommit[] => Array.from({ length: count }, (_, partition) => offset(topic, 1, { partition, metadata: 'x'.repeat(4096) }))
  const first = await open({ 'offsets.topic.segment.bytes': '1' })
  t.equal(await first.groups.commit('g', many(first.topic, 300)), ErrorCode.INVALID_COMMIT_OFFSET_SIZE)
  t.equal(first.groups.group('g'), undefined)
  t.equal(await first.groups.commit('g', many(first.topic, 200)), 0)
  t.equal((await first.restart()).groups.offsets('g')?.get('t')?.size, 200)
})

t.test('who may commit', async (t) => {
  const { groups } = await open()
  t.equal(groups.checkCommit('none', simple, -1), ErrorCode.NONE)
  t.equal(groups.checkCommit('none', simple, 3), ErrorCode.GROUP_ID_NOT_FOUND)
  const member = await groups.join('g', joinRequest())
  t.equal(groups.checkCommit('g', identity(member), 1), ErrorCode.REBALANCE_IN_PROGRESS)
  await groups.sync('g', syncRequest(member))
  t.equal(groups.checkCommit('g', identity(member), 1), ErrorCode.NONE)
  t.equal(groups.checkCommit('g', identity(member), 2), ErrorCode.ILLEGAL_GENERATION)
  t.equal(groups.checkCommit('g', simple, -1), ErrorCode.UNKNOWN_MEMBER_ID, 'no stranger commits for a group with members')
  t.equal(groups.checkCommit('g', { memberId: member.memberId, instanceId: 'i' }, 1), ErrorCode.UNKNOWN_MEMBER_ID)
  void groups.join('g', joinRequest())
  t.equal(groups.group('g')?.phase, 'PreparingRebalance')
  t.equal(groups.checkCommit('g', identity(member), 1), ErrorCode.NONE, 'before it rejoins a member commits what it did')
  await groups.leave('g', [identity(member)])
})

t.test('a commit keeps a member alive', async (t) => {
  const { groups, clock } = await open()
  const member = await stable(groups)
  for (let i = 0; i < 5; i++) {
    clock.advance(9000)
    t.equal(groups.checkCommit('g', identity(member), 1), ErrorCode.NONE)
  }
  clock.advance(10_001)
  t.equal(groups.checkCommit('g', identity(member), 1), ErrorCode.UNKNOWN_MEMBER_ID)
})

t.test('deletion takes the group with its offsets, those on their way too', async (t) => {
  const first = await open()
  const { groups, topic, store } = first
  const member = await stable(groups)
  await groups.commit('g', [offset(topic, 1)])
  t.equal(await groups.delete('g'), ErrorCode.NON_EMPTY_GROUP)
  t.equal(await groups.delete('none'), ErrorCode.GROUP_ID_NOT_FOUND)
  await groups.leave('g', [identity(member)])
  const gate = store.hold()
  const commit = groups.commit('g', [offset(topic, 2, { partition: 5 })])
  const deletion = groups.delete('g')
  await settled()
  gate.release()
  t.same([await commit, await deletion], [0, 0])
  t.equal(groups.group('g'), undefined)
  const again = await first.restart()
  t.same([again.groups.groups().length, again.groups.offsets('g')], [0, undefined])
})

t.test('a group that is joined while it is deleted lives on', async (t) => {
  const first = await open()
  const { groups, topic, store } = first
  await groups.commit('g', [offset(topic, 1)])
  const gate = store.hold()
  const deletion = groups.delete('g')
  const member = await groups.join('g', joinRequest())
  gate.release()
  t.equal(await deletion, 0)
  t.equal(committed(groups), undefined)
  t.equal((await groups.sync('g', syncRequest(member, { [member.memberId]: 'x' }))).errorCode, 0)
  const again = await first.restart()
  t.equal(await again.groups.heartbeat('g', identity(member), 1), ErrorCode.NONE)
})

t.test('offsets of a deleted topic are gone, and stay gone when it is made again', async (t) => {
  const first = await open()
  const { groups, topics, topic, store } = first
  const kept = await topics.getOrCreate('kept') as Topic
  await groups.commit('g', [offset(topic, 1), offset(kept, 2)])
  const gate = store.hold()
  const late = groups.commit('g', [offset(topic, 3)])
  await topics.delete(topic)
  const made = await topics.getOrCreate('t') as Topic
  gate.release()
  t.equal(await late, 0)
  await settled()
  t.same([...groups.offsets('g')!.keys()], ['kept'])
  await first.restart().then(async ({ groups }) => {
    t.same([...groups.offsets('g')!.keys()], ['kept'])
    await groups.commit('g', [offset(made, 9)])
    t.equal(committed(groups), 9)
  })
})

t.test('a crash between the end of a topic and that of its offsets', async (t) => {
  const first = await open()
  await first.groups.commit('g', [offset(first.topic, 1, { topicId: 'AQIDBAUGBwgJCgsMDQ4PEA' }), offset(first.topic, 1, { topicName: 'gone', topicId: ZERO_UUID })])
  const { groups } = await first.restart()
  await settled()
  t.equal(groups.group('g'), undefined)
})

t.test('offsets expire when nobody has used them for long (KIP-211)', async (t) => {
  const { groups, topics, topic, clock } = await open({ 'offsets.retention.minutes': '10', 'offsets.retention.check.interval.ms': '60000' })
  const unsubscribed = await topics.getOrCreate('u') as Topic
  const wait = async (minutes: number, act = async (): Promise<unknown> => undefined): Promise<void> => {
    for (let half = 0; half < minutes * 2; half++) {
      clock.advance(30_000)
      await act()
      await settled()
    }
  }
  const member = await stable(groups, 'g', { sessionTimeoutMs: 40_000 })
  const alive = async (): Promise<unknown> => await groups.heartbeat('g', identity(member), 1)
  await groups.commit('g', [offset(topic, 1), offset(unsubscribed, 2)])
  await groups.commit('simple', [offset(topic, 3)])
  await wait(8, alive)
  t.same([committed(groups), committed(groups, 'g', 'u'), committed(groups, 'simple')], [1, 2, 3])
  await wait(4, alive)
  t.same([committed(groups), committed(groups, 'g', 'u'), committed(groups, 'simple')], [1, undefined, undefined], 'members keep what they are subscribed to')
  t.equal(groups.group('simple'), undefined)
  await groups.leave('g', [identity(member)])
  await wait(9)
  t.equal(committed(groups), 1, 'from the time when the group became empty')
  await wait(3)
  t.same([groups.group('g'), groups.groups().length], [undefined, 0], 'a group goes with its last offset')
})

t.test('compaction keeps groups as they were stored, and no more than that', async (t) => {
  const first = await open({ 'offsets.topic.num.partitions': '1' })
  const { groups, topics, topic } = first
  const member = await stable(groups)
  void groups.join('g', joinRequest())
  const again = await groups.join('g', joinRequest({ memberId: member.memberId }))
  t.equal(again.generation, 2, 'a rebalance is under way, whose assignment nobody has made')
  const partition = topics.get(OFFSETS_TOPIC)!.partitions[0]!
  for (let i = 1; i <= 4000; i++) await groups.commit('simple', [offset(topic, i, { metadata: 'm'.repeat(400) })])
  await settled()
  t.ok(partition.logStartOffset > 0, `compacted up to ${partition.logStartOffset}`)
  t.ok(partition.bytes < 3 * 1024 * 1024, `${partition.bytes} bytes`)
  t.ok(partition.logEndOffset - partition.logStartOffset < 4000, 'what was compacted away is not compacted again and again')
  const { groups: restarted } = await first.restart()
  t.match(restarted.group('g'), { phase: 'Stable', generation: 1 })
  t.equal((await restarted.sync('g', syncRequest(member))).assignment.toString(), 'all of t')
  t.equal(committed(restarted, 'simple'), 4000)
})

t.test('a client that is gone while its join waits holds nobody up', async (t) => {
  const { groups } = await open()
  const member = await stable(groups)
  const connection = new AbortController()
  const newcomer = groups.join('g', joinRequest(), connection.signal)
  const rejoin = groups.join('g', joinRequest({ memberId: member.memberId, protocols: [{ name: 'range', metadata: Buffer.from('other') }] }))
  t.match(await rejoin, { generation: 2 })
  t.equal((await newcomer).generation, 2)
  connection.abort()
  t.equal(groups.group('g')?.members.size, 2, 'an answered request is over')

  const lost = new AbortController()
  const third = groups.join('g', joinRequest(), lost.signal)
  t.equal(groups.group('g')?.members.size, 3)
  lost.abort()
  t.equal((await third).errorCode, ErrorCode.UNKNOWN_MEMBER_ID)
  t.equal(groups.group('g')?.members.size, 2)
  t.equal((await groups.join('g2', joinRequest(), lost.signal)).errorCode, 0, 'who is answered at once was not kept waiting')
})

t.test('closing answers whoever waits, and leaves no timer', async (t) => {
  const { groups, topic, clock } = await open()
  const member = await stable(groups)
  const waiting = groups.join('g', joinRequest())
  await groups.close()
  t.equal((await waiting).errorCode, ErrorCode.NOT_COORDINATOR)
  t.equal((await groups.join('g', joinRequest())).errorCode, ErrorCode.NOT_COORDINATOR)
  t.equal(await groups.heartbeat('g', identity(member), 1), ErrorCode.NOT_COORDINATOR)
  t.same((await groups.leave('g', [identity(member)])).members, [])
  t.equal(await groups.commit('g', [offset(topic, 1)]), ErrorCode.NOT_COORDINATOR)
  t.equal(await groups.delete('g'), ErrorCode.NOT_COORDINATOR)
  t.match(await groups.ready(), { errorCode: ErrorCode.COORDINATOR_NOT_AVAILABLE })
  t.equal(clock.timers.size, 0)
})

t.test('who asks in vain leaves nothing behind', async (t) => {
  const { groups, clock } = await open()
  const timers = clock.timers.size
  await groups.heartbeat('x', { memberId: 'm', instanceId: null }, 1)
  await groups.sync('x', { ...syncRequest({ memberId: 'm', generation: 1 } as JoinAnswer) })
  await groups.leave('x', [{ memberId: 'm', instanceId: null }])
  await groups.join('x', joinRequest({ memberId: 'm' }))
  await groups.join('x', joinRequest({ protocols: [] }))
  const { memberId } = await groups.join('x', joinRequest({ requiresKnownMemberId: true }))
  t.equal(groups.groups().length, 1)
  await groups.leave('x', [{ memberId, instanceId: null }])
  t.same([groups.groups().length, clock.timers.size], [0, timers])
})
