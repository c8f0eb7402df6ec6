/** The group APIs over real sockets, in every version: what members, administrators and consumers without a group are answered. */
import { test } from 'tap'
import { Broker } from '../../../src/broker/broker.js'
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import { ZERO_UUID, type Api, type RequestInputOf, type ResponseOf } from '../../../src/protocol/schema.js'
import { metadata } from '../../../src/protocol/schemas/03-metadata.js'
import { offsetCommit } from '../../../src/protocol/schemas/08-offset-commit.js'
import { offsetFetch } from '../../../src/protocol/schemas/09-offset-fetch.js'
import { findCoordinator } from '../../../src/protocol/schemas/10-find-coordinator.js'
import { joinGroup } from '../../../src/protocol/schemas/11-join-group.js'
import { heartbeat } from '../../../src/protocol/schemas/12-heartbeat.js'
import { leaveGroup } from '../../../src/protocol/schemas/13-leave-group.js'
import { syncGroup } from '../../../src/protocol/schemas/14-sync-group.js'
import { describeGroups } from '../../../src/protocol/schemas/15-describe-groups.js'
import { listGroups } from '../../../src/protocol/schemas/16-list-groups.js'
import { createTopics } from '../../../src/protocol/schemas/19-create-topics.js'
import { deleteGroups } from '../../../src/protocol/schemas/42-delete-groups.js'
import { offsetDelete } from '../../../src/protocol/schemas/47-offset-delete.js'
import { TestClient } from '../support/client.js'

/** ConsumerProtocolSubscription v0 of the topic 't'. */
const SUBSCRIPTION = Buffer.from([0, 0, 0, 0, 0, 1, 0, 1, 116, 255, 255, 255, 255])
const NOWHERE = 'AQIDBAUGBwgJCgsMDQ4PEA'
const UNKNOWN_GROUP = { errorCode: 0, groupState: 'Dead', protocolType: '', protocolData: '', members: [] }

type Join = ResponseOf<typeof joinGroup>

class Session {
  private readonly clients: TestClient[] = []

  private constructor (readonly broker: Broker, readonly main: TestClient, readonly topicId: string) {}

  static async start (config: Record<string, string> = {}): Promise<Session> {
    const broker = await Broker.start({ port: 0, storage: 'memory', config: { 'offsets.topic.num.partitions': '3', ...config } })
    const main = await TestClient.connect(broker.port)
    await main.send(createTopics, 5, { topics: [{ name: 't', numPartitions: 2, replicationFactor: 1, assignments: [], configs: [] }], timeoutMs: 1000, validateOnly: false })
    const { topics } = await main.send(metadata, 12, { topics: [{ topicId: ZERO_UUID, name: 't' }], allowAutoTopicCreation: false })
    const session = new Session(broker, main, topics[0]!.topicId)
    session.clients.push(main)
    return session
  }

  async client (): Promise<TestClient> {
    const client = await TestClient.connect(this.broker.port)
    this.clients.push(client)
    return client
  }

  async send<A extends Api<any, any>> (api: A, version: number, request: RequestInputOf<A>): Promise<ResponseOf<A>> {
    return await this.main.send(api, version, request)
  }

  async join (groupId: string, change: Partial<RequestInputOf<typeof joinGroup>> = {}, version = 9, client = this.main): Promise<Join> {
    const protocols = [{ name: 'range', metadata: SUBSCRIPTION }]
    return await client.send(joinGroup, version, { groupId, sessionTimeoutMs: 10_000, rebalanceTimeoutMs: 60_000, memberId: '', protocolType: 'consumer', protocols, ...change })
  }

  /** Joins as clients do that know KIP-394. */
  async joinKnown (groupId: string, change: Partial<RequestInputOf<typeof joinGroup>> = {}, version = 9, client = this.main): Promise<Join> {
    const first = await this.join(groupId, change, version, client)
    return first.errorCode === ErrorCode.MEMBER_ID_REQUIRED ? await this.join(groupId, { ...change, memberId: first.memberId }, version, client) : first
  }

  async sync (groupId: string, { memberId, generationId }: Join, assignment: string | null = null, version = 5, client = this.main): Promise<ResponseOf<typeof syncGroup>> {
    const assignments = assignment === null ? [] : [{ memberId, assignment: Buffer.from(assignment) }]
    return await client.send(syncGroup, version, { groupId, generationId, memberId, assignments })
  }

  async commit (groupId: string, offset: number, change: Partial<RequestInputOf<typeof offsetCommit>> = {}, version = 9): Promise<number> {
    const partitions = [{ partitionIndex: 0, committedOffset: offset, committedLeaderEpoch: 0, committedMetadata: 'm' }]
    const { topics } = await this.send(offsetCommit, version, { groupId, memberId: '', topics: [{ name: 't', topicId: this.topicId, partitions }], ...change })
    return topics[0]!.partitions[0]!.errorCode
  }

  async committed (groupId: string): Promise<number> {
    const { groups } = await this.send(offsetFetch, 8, { groupId, topics: null, groups: [{ groupId, topics: [{ name: 't', topicId: ZERO_UUID, partitionIndexes: [0] }] }] })
    return groups[0]!.topics[0]!.partitions[0]!.committedOffset
  }

  async heartbeat (groupId: string, { memberId, generationId }: Pick<Join, 'memberId' | 'generationId'>, version = 4): Promise<number> {
    return (await this.send(heartbeat, version, { groupId, generationId, memberId })).errorCode
  }

  async state (groupId: string): Promise<string> {
    return (await this.send(describeGroups, 5, { groups: [groupId], includeAuthorizedOperations: false })).groups[0]!.groupState
  }

  async stop (): Promise<void> {
    for (const client of this.clients) client.close()
    await this.broker.close()
  }
}

test('a member lives in every version of the protocol', async (t) => {
  const session = await Session.start()
  t.teardown(async () => { await session.stop() })
  for (let version = 0; version <= 9; version++) {
    const groupId = `lives-${version}`
    const first = await session.join(groupId, {}, version)
    if (version >= 4) t.match(first, { errorCode: ErrorCode.MEMBER_ID_REQUIRED, memberId: /^test-[0-9a-f-]{36}$/, generationId: -1, protocolName: version >= 7 ? null : '' })
    const member = version >= 4 ? await session.join(groupId, { memberId: first.memberId }, version) : first
    t.match(member, { errorCode: 0, generationId: 1, protocolName: 'range', leader: member.memberId, skipAssignment: false, members: [{ memberId: member.memberId, metadata: SUBSCRIPTION }] }, `JoinGroup ${version}`)
    t.equal(member.protocolType, version >= 7 ? 'consumer' : null)
    const sync = await session.sync(groupId, member, 'mine', Math.min(version, 5))
    t.match(sync, { errorCode: 0, assignment: Buffer.from('mine'), protocolType: version >= 5 ? 'consumer' : null, protocolName: version >= 5 ? 'range' : null }, `SyncGroup ${Math.min(version, 5)}`)
    t.equal(await session.heartbeat(groupId, member, Math.min(version, 4)), 0, `Heartbeat ${Math.min(version, 4)}`)
    const { groups } = await session.send(describeGroups, Math.min(version, 6), { groups: [groupId, 'none'], includeAuthorizedOperations: version % 2 === 1 })
    t.match(groups[0], {
      errorCode: 0, groupState: 'Stable', protocolType: 'consumer', protocolData: 'range',
      authorizedOperations: version >= 3 && version % 2 === 1 ? 3400 : -2147483648,
      members: [{ memberId: member.memberId, clientId: 'test', clientHost: '/127.0.0.1', memberMetadata: SUBSCRIPTION, memberAssignment: Buffer.from('mine') }]
    }, `DescribeGroups ${Math.min(version, 6)}`)
    t.match(groups[1], version >= 6 ? { ...UNKNOWN_GROUP, errorCode: ErrorCode.GROUP_ID_NOT_FOUND, errorMessage: 'Group none not found.' } : UNKNOWN_GROUP)
    const leaveVersion = Math.min(version, 5)
    const left = await session.send(leaveGroup, leaveVersion, { groupId, memberId: member.memberId, members: [{ memberId: member.memberId }] })
    t.match(left, { errorCode: 0, members: leaveVersion >= 3 ? [{ memberId: member.memberId, groupInstanceId: null, errorCode: 0 }] : [] }, `LeaveGroup ${leaveVersion}`)
    t.equal(await session.state(groupId), 'Empty')
  }
})

test('leaving twice, or nothing that is known', async (t) => {
  const session = await Session.start()
  t.teardown(async () => { await session.stop() })
  t.match(await session.send(leaveGroup, 2, { groupId: 'none', memberId: 'm', members: [] }), { errorCode: ErrorCode.UNKNOWN_MEMBER_ID })
  t.match(await session.send(leaveGroup, 5, { groupId: 'none', memberId: '', members: [{ memberId: 'm' }] }), { errorCode: 0, members: [{ memberId: 'm', errorCode: ErrorCode.UNKNOWN_MEMBER_ID }] })
  t.match(await session.send(leaveGroup, 5, { groupId: '', memberId: '', members: [] }), { errorCode: ErrorCode.INVALID_GROUP_ID })
  const member = await session.joinKnown('static', { groupInstanceId: 'i' })
  t.match(member.memberId, /^i-/)
  const left = await session.send(leaveGroup, 4, { groupId: 'static', memberId: '', members: [{ memberId: '', groupInstanceId: 'i' }, { memberId: '', groupInstanceId: 'other' }] })
  t.match(left.members, [{ memberId: '', groupInstanceId: 'i', errorCode: 0 }, { groupInstanceId: 'other', errorCode: ErrorCode.UNKNOWN_MEMBER_ID }])
})

test('what JoinGroup, SyncGroup and Heartbeat refuse', async (t) => {
  const session = await Session.start({ 'group.min.session.timeout.ms': '7000', 'group.max.session.timeout.ms': '20000' })
  t.teardown(async () => { await session.stop() })
  t.match(await session.join(''), { errorCode: ErrorCode.INVALID_GROUP_ID, memberId: '', generationId: -1 })
  t.match(await session.join('g', { sessionTimeoutMs: 6999, memberId: 'm' }), { errorCode: ErrorCode.INVALID_SESSION_TIMEOUT, memberId: 'm' })
  t.match(await session.join('g', { sessionTimeoutMs: 20_001 }), { errorCode: ErrorCode.INVALID_SESSION_TIMEOUT })
  t.match(await session.join('g', { memberId: 'm' }), { errorCode: ErrorCode.UNKNOWN_MEMBER_ID, memberId: 'm' })
  t.match(await session.join('g', { protocolType: '' }), { errorCode: ErrorCode.INCONSISTENT_GROUP_PROTOCOL })
  const member = await session.joinKnown('g')
  await session.sync('g', member, 'x')
  t.match(await session.join('g', { protocolType: 'connect' }), { errorCode: ErrorCode.INCONSISTENT_GROUP_PROTOCOL })
  t.match(await session.join('g', { protocols: [{ name: 'roundrobin', metadata: SUBSCRIPTION }] }, 1), { errorCode: ErrorCode.INCONSISTENT_GROUP_PROTOCOL, protocolName: '' })
  t.match(await session.sync('', member), { errorCode: ErrorCode.INVALID_GROUP_ID })
  t.match(await session.sync('none', member), { errorCode: ErrorCode.UNKNOWN_MEMBER_ID, assignment: Buffer.alloc(0) })
  t.match(await session.sync('g', { ...member, generationId: 9 }), { errorCode: ErrorCode.ILLEGAL_GENERATION })
  t.match(await session.send(syncGroup, 5, { groupId: 'g', generationId: 1, memberId: member.memberId, protocolType: 'connect', protocolName: 'range', assignments: [] }), { errorCode: ErrorCode.INCONSISTENT_GROUP_PROTOCOL })
  t.equal(await session.heartbeat('', member), ErrorCode.INVALID_GROUP_ID)
  t.equal(await session.heartbeat('none', member), ErrorCode.UNKNOWN_MEMBER_ID)
  t.equal(await session.heartbeat('g', { ...member, generationId: 0 }), ErrorCode.ILLEGAL_GENERATION)
  t.equal(await session.heartbeat('g', member), 0)
})

test('members on their own connections rebalance; one whose connection breaks while it joins holds nobody up', async (t) => {
  const session = await Session.start()
  t.teardown(async () => { await session.stop() })
  const [one, two, three] = [session.main, await session.client(), await session.client()]
  const first = await session.joinKnown('g')
  await session.sync('g', first, 'all')
  const second = session.joinKnown('g', {}, 9, two)
  while (await session.heartbeat('g', first) !== ErrorCode.REBALANCE_IN_PROGRESS) await new Promise((resolve) => setTimeout(resolve, 5))
  const again = await session.join('g', { memberId: first.memberId }, 9, one)
  const other = await second
  t.match([again, other], [{ errorCode: 0, generationId: 2, members: [{}, {}] }, { errorCode: 0, generationId: 2, members: [], leader: first.memberId }])
  const waiting = session.sync('g', other, null, 5, two)
  const led = await session.send(syncGroup, 5, {
    groupId: 'g', generationId: 2, memberId: first.memberId, assignments: [{ memberId: first.memberId, assignment: Buffer.from('one') }, { memberId: other.memberId, assignment: Buffer.from('two') }]
  })
  t.same([led.assignment.toString(), (await waiting).assignment.toString()], ['one', 'two'])

  const lost = session.joinKnown('g', {}, 9, three).catch((error: Error) => error.message)
  while (await session.heartbeat('g', again) !== ErrorCode.REBALANCE_IN_PROGRESS) await new Promise((resolve) => setTimeout(resolve, 5))
  three.close()
  t.match(await lost, /closed/)
  const startedMs = performance.now()
  const both = await Promise.all([session.join('g', { memberId: first.memberId }), session.join('g', { memberId: other.memberId }, 9, two)])
  t.match(both, [{ errorCode: 0, generationId: 3 }, { errorCode: 0, generationId: 3 }])
  t.equal(both[0]!.members.length, 2, 'nothing is assigned to the one that is gone')
  t.ok(performance.now() - startedMs < 5000)
})

test('FindCoordinator in every version', async (t) => {
  const session = await Session.start()
  t.teardown(async () => { await session.stop() })
  for (let version = 0; version <= 6; version++) {
    const answer = await session.send(findCoordinator, version, { key: 'g', keyType: 0, coordinatorKeys: ['g', 'h'] })
    const here = { nodeId: 1, host: '127.0.0.1', port: session.broker.port, errorCode: 0 }
    t.match(answer, version >= 4 ? { coordinators: [{ key: 'g', ...here }, { key: 'h', ...here }] } : here, `version ${version}`)
  }
  t.match(await session.send(findCoordinator, 4, { key: '', keyType: 1, coordinatorKeys: ['transaction'] }), { coordinators: [{ key: 'transaction', nodeId: 1, errorCode: 0 }] })
  t.match(await session.send(findCoordinator, 6, { key: '', keyType: 2, coordinatorKeys: ['g:x:0'] }), { coordinators: [{ nodeId: -1, host: '', port: -1, errorCode: ErrorCode.INVALID_REQUEST }] })
  t.match(await session.send(findCoordinator, 1, { key: 'g', keyType: 9, coordinatorKeys: [] }), { errorCode: ErrorCode.INVALID_REQUEST, errorMessage: /key type 9/ })
})

test('offsets of consumers without a group, in every version', async (t) => {
  const session = await Session.start()
  t.teardown(async () => { await session.stop() })
  for (let version = 2; version <= 10; version++) {
    const groupId = `simple-${version}`
    t.equal(await session.commit(groupId, 100 + version, {}, version), 0, `OffsetCommit ${version}`)
    t.equal(await session.committed(groupId), 100 + version)
    const { groups } = await session.send(describeGroups, 5, { groups: [groupId], includeAuthorizedOperations: false })
    t.match(groups[0], { groupState: 'Empty', protocolType: '' })
  }
  const groupId = 'simple-9'
  for (let version = 1; version <= 7; version++) {
    const all = version >= 2 ? await session.send(offsetFetch, version, { groupId, topics: null, groups: [] }) : undefined
    if (all !== undefined) t.match(all, { errorCode: 0, topics: [{ name: 't', partitions: [{ partitionIndex: 0, committedOffset: 109 }] }] })
    const { topics } = await session.send(offsetFetch, version, { groupId, topics: [{ name: 't', partitionIndexes: [0, 1, 7] }, { name: 'nowhere', partitionIndexes: [0] }], groups: [], ...(version >= 7 && { requireStable: true }) })
    t.match(topics, [
      { name: 't', partitions: [{ committedOffset: 109, metadata: 'm', errorCode: 0, committedLeaderEpoch: version >= 5 ? 0 : -1 }, { committedOffset: -1, metadata: '', errorCode: 0 }, { committedOffset: -1 }] },
      { name: 'nowhere', partitions: [{ committedOffset: -1, errorCode: 0 }] }
    ], `OffsetFetch ${version}`)
  }
  for (let version = 8; version <= 10; version++) {
    const topicId = version >= 10 ? session.topicId : ZERO_UUID
    const { groups } = await session.send(offsetFetch, version, {
      groupId: '',
      topics: null,
      requireStable: version % 2 === 0,
      groups: [
        { groupId, topics: null, memberId: 'whoever', memberEpoch: 3 },
        { groupId: 'simple-4', topics: [{ name: 't', topicId, partitionIndexes: [0] }] },
        { groupId: 'none', topics: [{ name: 'nowhere', topicId: NOWHERE, partitionIndexes: [3] }] }
      ]
    })
    t.match(groups, [
      { groupId, errorCode: 0, topics: [{ ...(version >= 10 ? { topicId } : { name: 't' }), partitions: [{ partitionIndex: 0, committedOffset: 109, metadata: 'm' }] }] },
      { groupId: 'simple-4', errorCode: 0, topics: [{ partitions: [{ committedOffset: 104 }] }] },
      { groupId: 'none', errorCode: 0, topics: [{ partitions: [{ partitionIndex: 3, committedOffset: -1, errorCode: version >= 10 ? ErrorCode.UNKNOWN_TOPIC_ID : 0 }] }] }
    ], `OffsetFetch ${version}`)
  }
})

test('what OffsetCommit refuses, one by one and as a whole', async (t) => {
  const session = await Session.start({ 'offset.metadata.max.bytes': '5' })
  t.teardown(async () => { await session.stop() })
  const member = await session.joinKnown('g')
  const row = (partitionIndex: number, committedMetadata: string | null = 'ok') => ({ partitionIndex, committedOffset: 3, committedMetadata })
  const identity = { memberId: member.memberId, generationIdOrMemberEpoch: 1 }
  t.equal(await session.commit('g', 1, identity), ErrorCode.REBALANCE_IN_PROGRESS)
  await session.sync('g', member, 'x')
  const { topics } = await session.send(offsetCommit, 9, {
    groupId: 'g', ...identity, topics: [{ name: 't', partitions: [row(0, '12345'), row(1, '123456'), row(2)] }, { name: 'nowhere', partitions: [row(0)] }]
  })
  t.same(topics.map(({ partitions }) => partitions.map(({ errorCode }) => errorCode)), [[0, ErrorCode.OFFSET_METADATA_TOO_LARGE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION], [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]])
  t.equal(await session.committed('g'), 3)
  const byId = await session.send(offsetCommit, 10, { groupId: 'g', ...identity, topics: [{ topicId: NOWHERE, partitions: [row(0)] }, { topicId: session.topicId, partitions: [row(0, null)] }] })
  t.same(byId.topics.map(({ topicId, partitions }) => [topicId, partitions[0]!.errorCode]), [[NOWHERE, ErrorCode.UNKNOWN_TOPIC_ID], [session.topicId, 0]])
  for (const [change, version, errorCode] of [
    [{ ...identity, generationIdOrMemberEpoch: 2 }, 9, ErrorCode.ILLEGAL_GENERATION],
    [{ ...identity, memberId: 'stranger' }, 9, ErrorCode.UNKNOWN_MEMBER_ID],
    [{ ...identity, groupInstanceId: 'i' }, 9, ErrorCode.UNKNOWN_MEMBER_ID],
    [{}, 9, ErrorCode.UNKNOWN_MEMBER_ID],
    [{ groupId: 'none', ...identity }, 8, ErrorCode.ILLEGAL_GENERATION],
    [{ groupId: 'none', ...identity }, 9, ErrorCode.GROUP_ID_NOT_FOUND]
  ] as const) {
    t.equal(await session.commit('g', 9, change, version), errorCode, JSON.stringify(change))
  }
  t.equal(await session.committed('g'), 3)
})

test('ListGroups in every version, by state and by type', async (t) => {
  const session = await Session.start()
  t.teardown(async () => { await session.stop() })
  await session.commit('simple', 1)
  await session.sync('stable', await session.joinKnown('stable'), 'x')
  await session.joinKnown('completing', { protocolType: 'connect' })
  for (let version = 0; version <= 5; version++) {
    const { errorCode, groups } = await session.send(listGroups, version, {})
    t.equal(errorCode, 0)
    t.same(groups.map(({ groupId, protocolType, groupState, groupType }) => [groupId, protocolType, groupState, groupType]).sort(), [
      ['completing', 'connect', 'CompletingRebalance'], ['simple', '', 'Empty'], ['stable', 'consumer', 'Stable']
    ].map(([id, type, state]) => [id, type, version >= 4 ? state : '', version >= 5 ? 'classic' : '']), `version ${version}`)
  }
  const listed = async (statesFilter: string[], typesFilter: string[] = []): Promise<string[]> => (await session.send(listGroups, 5, { statesFilter, typesFilter })).groups.map(({ groupId }) => groupId).sort()
  t.same(await listed(['stable', 'Empty']), ['simple', 'stable'])
  t.same(await listed(['Dead']), [])
  t.same(await listed([], ['Classic']), ['completing', 'simple', 'stable'])
  t.same(await listed([], ['consumer', 'no such type']), [])
})

test('DeleteGroups in every version, and OffsetDelete', async (t) => {
  const session = await Session.start()
  t.teardown(async () => { await session.stop() })
  await session.sync('busy', await session.joinKnown('busy'), 'x')
  for (let version = 0; version <= 3; version++) {
    await session.commit(`old-${version}`, 5)
    const { results } = await session.send(deleteGroups, version, { groupsNames: [`old-${version}`, 'busy', 'none'] })
    t.same(results.map(({ groupId, errorCode }) => [groupId, errorCode]), [[`old-${version}`, 0], ['busy', ErrorCode.NON_EMPTY_GROUP], ['none', ErrorCode.GROUP_ID_NOT_FOUND]], `version ${version}`)
    t.equal(await session.committed(`old-${version}`), -1)
  }
  const remove = async (groupId: string, name = 't', partitionIndex = 0): Promise<number[]> => {
    const { errorCode, topics } = await session.send(offsetDelete, 0, { groupId, topics: [{ name, partitions: [{ partitionIndex }] }] })
    return [errorCode, ...topics.flatMap(({ partitions }) => partitions.map((row) => row.errorCode))]
  }
  await session.commit('simple', 5)
  t.same(await remove('none'), [ErrorCode.GROUP_ID_NOT_FOUND])
  t.same(await remove('busy'), [0, ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC])
  t.same(await remove('simple', 'nowhere'), [0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION])
  t.same(await remove('simple', 't', 1), [0, 0], 'nothing to delete is fine')
  t.equal(await session.committed('simple'), 5)
  t.same(await remove('simple'), [0, 0])
  t.equal(await session.committed('simple'), -1)
  await session.joinKnown('connect', { protocolType: 'connect' })
  t.same(await remove('connect'), [ErrorCode.NON_EMPTY_GROUP])
})

test('a closing broker lets waiting members go', async (t) => {
  const session = await Session.start()
  const first = await session.joinKnown('g')
  await session.sync('g', first, 'x')
  const waiting = session.joinKnown('g', {}, 9, await session.client()).then(({ errorCode }) => errorCode, () => ErrorCode.NOT_COORDINATOR)
  while (await session.heartbeat('g', first) !== ErrorCode.REBALANCE_IN_PROGRESS) await new Promise((resolve) => setTimeout(resolve, 5))
  const startedMs = performance.now()
  await session.broker.close()
  t.equal(await waiting, ErrorCode.NOT_COORDINATOR)
  t.ok(performance.now() - startedMs < 2000)
  await session.stop()
})
