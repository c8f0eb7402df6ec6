/** The rules of a group, one after the other: what is answered, written, waited for. */
import t from 'tap'
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import type { JoinRequest } from '../../../src/broker/groups/group.js'
import { BOTH, LIMITS, Machine } from './machine.js'

t.test('a first member joins, leads and gets what it assigned', async (t) => {
  const machine = new Machine()
  const join = machine.join({ newMemberId: 'm1' })
  t.match(machine.answer(join), { errorCode: 0, memberId: 'm1', leaderId: 'm1', generation: 1, protocolName: 'range', members: [{ memberId: 'm1' }] })
  const sync = machine.sync('m1', { m1: 'all' })
  t.equal(machine.answer(sync), undefined, 'the answer waits for the write')
  t.equal(machine.persistCount, 1)
  machine.stored()
  t.same(machine.answer(sync).assignment.toString(), 'all')
  t.equal(machine.group.phase, 'Stable')
  t.equal(machine.heartbeat('m1'), ErrorCode.NONE)
})

t.test('a known member id is required, and the id that was given counts (KIP-394)', async (t) => {
  const machine = new Machine()
  const first = machine.join({ requiresKnownMemberId: true, newMemberId: 'm1' })
  t.match(machine.answer(first), { errorCode: ErrorCode.MEMBER_ID_REQUIRED, memberId: 'm1' })
  t.ok(machine.timers.has('pending:m1'))
  const second = machine.join({ requiresKnownMemberId: true, memberId: 'm1' })
  t.match(machine.answer(second), { errorCode: 0, memberId: 'm1', generation: 1 })
  t.notOk(machine.timers.has('pending:m1'))
  t.match(machine.answer(machine.join({ memberId: 'stranger' })), { errorCode: ErrorCode.UNKNOWN_MEMBER_ID })
})

t.test('a pending member holds the join up until it comes or expires', async (t) => {
  const machine = Machine.stable()
  machine.join({ requiresKnownMemberId: true, newMemberId: 'm3' })
  const joins = [machine.join({ memberId: 'm1', protocols: BOTH }), machine.join({ memberId: 'm2' })]
  t.same(joins.map((join) => machine.answer(join)), [undefined, undefined])
  machine.send({ kind: 'pending-expired', memberId: 'm3' })
  t.match(joins.map((join) => machine.answer(join).generation), [3, 3])
})

t.test('a second member makes everyone rejoin', async (t) => {
  const machine = new Machine()
  machine.join({ newMemberId: 'm1' })
  machine.sync('m1', { m1: 'all' })
  machine.stored()
  const second = machine.join({ newMemberId: 'm2' })
  t.equal(machine.group.phase, 'PreparingRebalance')
  t.equal(machine.heartbeat('m1'), ErrorCode.REBALANCE_IN_PROGRESS)
  t.equal(machine.answer(machine.sync('m1')).errorCode, ErrorCode.REBALANCE_IN_PROGRESS)
  const first = machine.join({ memberId: 'm1' })
  t.match(machine.answer(first), { generation: 2, leaderId: 'm1', members: [{}, {}] })
  t.match(machine.answer(second), { generation: 2, leaderId: 'm1', members: [] })
  const follower = machine.sync('m2')
  t.equal(machine.answer(follower), undefined, 'a follower waits for the leader')
  machine.sync('m1', { m1: 'a', m2: 'b' })
  machine.stored()
  t.equal(machine.answer(follower).assignment.toString(), 'b')
})

t.test('a member that syncs while a rebalance begins is sent back to join', async (t) => {
  const machine = new Machine()
  machine.join({ newMemberId: 'm1' })
  const sync = machine.sync('m1', { m1: 'all' })
  machine.join({ newMemberId: 'm2' })
  t.equal(machine.answer(sync).errorCode, ErrorCode.REBALANCE_IN_PROGRESS)
  machine.send({ kind: 'stored', write: 1, errorCode: ErrorCode.NONE })
  t.equal(machine.group.phase, 'PreparingRebalance', 'a write that comes too late changes nothing')
})

t.test('an assignment that cannot be stored is no assignment', async (t) => {
  const machine = new Machine()
  machine.join({ newMemberId: 'm1' })
  const sync = machine.sync('m1', { m1: 'all' })
  machine.stored(ErrorCode.COORDINATOR_NOT_AVAILABLE)
  t.equal(machine.answer(sync).errorCode, ErrorCode.COORDINATOR_NOT_AVAILABLE)
  t.equal(machine.group.phase, 'PreparingRebalance')
})

t.test('generations, ids and protocols are checked', async (t) => {
  const machine = Machine.stable()
  t.equal(machine.heartbeat('m1', 1), ErrorCode.ILLEGAL_GENERATION)
  t.equal(machine.heartbeat('stranger'), ErrorCode.UNKNOWN_MEMBER_ID)
  t.equal(machine.answer(machine.sync('m1', {}, { generation: 9 })).errorCode, ErrorCode.ILLEGAL_GENERATION)
  t.equal(machine.answer(machine.sync('m1', {}, { protocolName: 'sticky' })).errorCode, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
  t.equal(machine.answer(machine.join({ protocolType: 'connect' })).errorCode, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
  t.equal(machine.answer(machine.join({ protocols: [{ name: 'other', metadata: Buffer.alloc(0) }] })).errorCode, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
  t.equal(machine.answer(machine.join({ protocols: [] })).errorCode, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
  t.equal(machine.group.phase, 'Stable', 'nothing of it disturbs the group')
})

t.test('a follower that rejoins unchanged is answered at once; a leader that does starts a rebalance', async (t) => {
  const machine = Machine.stable()
  t.match(machine.answer(machine.join({ memberId: 'm2' })), { errorCode: 0, generation: 2, members: [] })
  t.equal(machine.group.phase, 'Stable')
  t.equal(machine.answer(machine.join({ memberId: 'm1' })), undefined)
  t.equal(machine.group.phase, 'PreparingRebalance')
})

t.test('a join whose answer was lost is answered again', async (t) => {
  const machine = new Machine()
  machine.join({ newMemberId: 'm1' })
  t.match(machine.answer(machine.join({ memberId: 'm1' })), { errorCode: 0, generation: 1, leaderId: 'm1', members: [{ memberId: 'm1' }] })
})

t.test('a session that expires makes the others rejoin; the last one empties the group', async (t) => {
  const machine = Machine.stable()
  machine.send({ kind: 'session-expired', memberId: 'm1' })
  t.equal(machine.group.phase, 'PreparingRebalance')
  const join = machine.join({ memberId: 'm2' })
  t.match(machine.answer(join), { leaderId: 'm2', generation: 3, members: [{ memberId: 'm2' }] })
  machine.send({ kind: 'session-expired', memberId: 'm2' })
  t.match(machine.group, { phase: 'Empty', generation: 4, leaderId: null, protocolName: null })
  t.equal(machine.timers.size, 0, [...machine.timers.keys()].join())
})

t.test('members that do not rejoin in time are gone', async (t) => {
  const machine = Machine.stable()
  const join = machine.join({ memberId: 'm1' })
  machine.send({ kind: 'join-deadline' })
  t.match(machine.answer(join), { generation: 3, leaderId: 'm1', members: [{ memberId: 'm1' }] })
  t.equal(machine.group.members.size, 1)
})

t.test('members that do not sync in time are gone', async (t) => {
  const machine = new Machine()
  machine.join({ newMemberId: 'm1' })
  machine.join({ newMemberId: 'm2' })
  machine.join({ memberId: 'm1' })
  const sync = machine.sync('m2')
  machine.send({ kind: 'sync-deadline' })
  t.equal(machine.answer(sync).errorCode, ErrorCode.REBALANCE_IN_PROGRESS)
  t.same([...machine.group.members.keys()], ['m2'])
})

t.test('leaving: known, unknown, pending, static by instance id', async (t) => {
  const machine = Machine.stable({ instanceId: 'i1' })
  machine.join({ requiresKnownMemberId: true, newMemberId: 'm9' })
  const answer = machine.leave({ memberId: 'm9', instanceId: null }, { memberId: 'stranger', instanceId: null }, { memberId: 'wrong', instanceId: 'i1' }, { memberId: '', instanceId: 'i1' })
  t.same(answer.members.map(({ errorCode }: any) => errorCode), [ErrorCode.NONE, ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_INSTANCE_ID, ErrorCode.NONE])
  t.equal(machine.group.phase, 'PreparingRebalance')
  t.same([...machine.group.members.keys()], ['m2'])
})

t.test('a static member that comes back keeps its place without a rebalance (KIP-345, KIP-814)', async (t) => {
  for (const canSkipAssignment of [false, true]) {
    const machine = Machine.stable({ instanceId: 'i1' })
    const persistCount = machine.persistCount
    const join = machine.join({ instanceId: 'i1', newMemberId: 'm1b', canSkipAssignment })
    t.equal(machine.answer(join), undefined, 'its new id is not known for sure before it is stored')
    machine.stored()
    t.match(machine.answer(join), canSkipAssignment
      ? { errorCode: 0, memberId: 'm1b', leaderId: 'm1b', skipAssignment: true, members: [{}, {}], generation: 2 }
      : { errorCode: 0, memberId: 'm1b', leaderId: 'm1', skipAssignment: false, members: [], generation: 2 })
    t.equal(machine.group.phase, 'Stable')
    t.equal(machine.persistCount, persistCount + 1)
    t.equal(machine.answer(machine.sync('m1b', {}, { instanceId: 'i1' })).assignment.toString(), 'a')
    t.equal(machine.answer(machine.sync('m1', {}, { instanceId: 'i1' })).errorCode, ErrorCode.FENCED_INSTANCE_ID)
    t.equal(machine.answer(machine.join({ memberId: 'm1', instanceId: 'i1' })).errorCode, ErrorCode.FENCED_INSTANCE_ID)
  }
})

t.test('a static member that comes back with another subscription makes everyone rejoin', async (t) => {
  const subscription = (userData: string, ...topics: string[]): Buffer => Buffer.concat([
    Buffer.from([0, 1, 0, 0, 0, topics.length]), ...topics.map((topic) => Buffer.from(`\0${String.fromCharCode(topic.length)}${topic}`)), Buffer.from(userData)
  ])
  const ranges = (metadata: Buffer): JoinRequest['protocols'] => [{ name: 'range', metadata }]
  const comeBack = (protocols: JoinRequest['protocols']): Machine => {
    const machine = Machine.stable({ instanceId: 'i1', protocols: ranges(subscription('owned: 1, 2', 'a', 'b')) })
    machine.join({ instanceId: 'i1', newMemberId: 'm1b', protocols })
    return machine
  }
  t.equal(comeBack(ranges(subscription('owned: none', 'b', 'a'))).group.phase, 'Stable', 'what it owned does not count')
  t.equal(comeBack(ranges(subscription('owned: none', 'a', 'b', 'c'))).group.phase, 'PreparingRebalance')
  t.equal(comeBack(ranges(Buffer.from('no subscription'))).group.phase, 'PreparingRebalance')
})

t.test('a static member that comes back while others rebalance, or whose new id cannot be stored', async (t) => {
  const rebalancing = Machine.stable({ instanceId: 'i1' })
  const first = rebalancing.join({ instanceId: 'i1', newMemberId: 'm1b' })
  const second = rebalancing.join({ memberId: 'm2', protocols: [{ name: 'range', metadata: Buffer.from('changed') }] })
  t.match(rebalancing.answer(first), { errorCode: 0, generation: 3, leaderId: 'm1b', members: [{}, {}], skipAssignment: false })
  t.match(rebalancing.answer(second), { errorCode: 0, generation: 3 })
  rebalancing.stored()
  t.equal(rebalancing.group.phase, 'CompletingRebalance', 'a write of before says nothing of this generation')

  const failing = Machine.stable({ instanceId: 'i1' })
  const join = failing.join({ instanceId: 'i1', newMemberId: 'm1b' })
  failing.stored(ErrorCode.NOT_COORDINATOR)
  t.match(failing.answer(join), { errorCode: ErrorCode.NOT_COORDINATOR })
  t.ok(failing.timers.has('session:m1b'))
  t.equal(failing.group.phase, 'Stable')

  const completing = new Machine()
  const old = completing.join({ newMemberId: 'm1', instanceId: 'i1' })
  const sync = completing.sync('m1', { m1: 'all' }, { instanceId: 'i1' })
  completing.join({ instanceId: 'i1', newMemberId: 'm1b' })
  t.match(completing.answer(old), { generation: 1 })
  t.match(completing.answer(sync), { errorCode: ErrorCode.FENCED_INSTANCE_ID })
  t.match(completing.group, { phase: 'CompletingRebalance', generation: 2, leaderId: 'm1b' })
})

t.test('a static member may miss a rebalance within its session', async (t) => {
  const machine = Machine.stable({ instanceId: 'i1' })
  const join = machine.join({ memberId: 'm2', protocols: [{ name: 'range', metadata: Buffer.from('changed') }] })
  machine.send({ kind: 'join-deadline' })
  t.match(machine.answer(join), { errorCode: 0, leaderId: 'm2', members: [{}, {}] })
  t.ok(machine.group.members.has('m1'))
})

t.test('the protocol is the one that most members like best among those that all know', async (t) => {
  const machine = new Machine()
  const sticky = [{ name: 'sticky', metadata: Buffer.from('s') }, { name: 'range', metadata: Buffer.from('r') }]
  machine.join({ newMemberId: 'm1', protocols: BOTH })
  machine.join({ newMemberId: 'm2', protocols: sticky })
  machine.join({ newMemberId: 'm3', protocols: sticky })
  t.equal(machine.answer(machine.join({ memberId: 'm1', protocols: BOTH })).protocolName, 'sticky')
})

t.test('a group has a largest size', async (t) => {
  const machine = new Machine()
  for (let i = 1; i <= LIMITS.groupSizeMax; i++) machine.join({ newMemberId: `m${i}` })
  machine.join({ memberId: 'm1' })
  t.match(machine.group, { phase: 'CompletingRebalance', generation: 2 })
  t.match(machine.answer(machine.join()), { errorCode: ErrorCode.GROUP_MAX_SIZE_REACHED, memberId: '' })
  t.match(machine.answer(machine.join({ memberId: 'm2' })), { errorCode: 0, generation: 2 }, 'who is in it stays')
})

t.test('whoever rejoins last has to go where the largest size was made smaller', async (t) => {
  const machine = Machine.stable()
  machine.limits = { ...LIMITS, groupSizeMax: 1 }
  machine.join({ memberId: 'm1' })
  t.match(machine.answer(machine.join({ memberId: 'm2' })), { errorCode: ErrorCode.GROUP_MAX_SIZE_REACHED })
  t.match(machine.group, { phase: 'CompletingRebalance', generation: 3 })
  t.same([...machine.group.members.keys()], ['m1'])
})

t.test('an initial delay gathers the first members, and goes on while more come', async (t) => {
  const machine = new Machine({ ...LIMITS, initialRebalanceDelayMs: 3000 })
  const joins = [machine.join({ rebalanceTimeoutMs: 8000 }), machine.join({ rebalanceTimeoutMs: 8000 })]
  t.equal(machine.timers.get('join'), 3000)
  machine.send({ kind: 'join-deadline' })
  t.same(joins.map((join) => machine.answer(join)), [undefined, undefined])
  t.equal(machine.timers.get('join'), 3000)
  joins.push(machine.join())
  machine.send({ kind: 'join-deadline' })
  t.equal(machine.timers.get('join'), 2000, 'but no longer than the rebalance timeout')
  joins.push(machine.join())
  machine.send({ kind: 'join-deadline' })
  t.same(joins.map((join) => machine.answer(join).generation), [1, 1, 1, 1])
})

t.test('the first rebalance waits for no pending member: it may be one that gave up', async (t) => {
  const machine = new Machine()
  machine.join({ requiresKnownMemberId: true, newMemberId: 'lost' })
  machine.join({ requiresKnownMemberId: true, newMemberId: 'm1' })
  t.match(machine.answer(machine.join({ memberId: 'm1' })), { errorCode: 0, generation: 1 })
})

t.test('a follower that syncs when the group is stable has synced', async (t) => {
  const machine = new Machine()
  machine.join({ newMemberId: 'm1' })
  machine.join({ newMemberId: 'm2' })
  machine.join({ memberId: 'm1' })
  machine.sync('m1', { m1: 'a', m2: 'b' })
  machine.stored()
  t.ok(machine.timers.has('sync'))
  t.equal(machine.answer(machine.sync('m2')).assignment.toString(), 'b')
  t.notOk(machine.timers.has('sync'))
  machine.send({ kind: 'sync-deadline' })
  t.equal(machine.group.phase, 'Stable')
})

t.test('sessions do not end while the group keeps a member waiting, and begin anew with the answer', async (t) => {
  const machine = new Machine()
  machine.join({ newMemberId: 'm1' })
  machine.join({ newMemberId: 'm2' })
  machine.join({ memberId: 'm1' })
  machine.sync('m2')
  machine.expire('session:m2')
  t.ok(machine.group.members.has('m2'))
  machine.sync('m1')
  machine.stored()
  t.equal(machine.timers.get('session:m2'), 10_000)
  machine.join({ memberId: 'm1' })
  machine.expire('session:m1')
  t.ok(machine.group.members.has('m1'))
  machine.expire('session:m2')
  t.same([...machine.group.members.keys()], ['m1'])
  t.equal(machine.timers.get('session:m1'), 10_000)
})

t.test('a new member does not wait for its first answer for ever', async (t) => {
  const machine = Machine.stable()
  const join = machine.join({ newMemberId: 'm3' })
  t.equal(machine.timers.get('session:m3'), 300_000)
  machine.expire('session:m3')
  t.match(machine.answer(join), { errorCode: ErrorCode.UNKNOWN_MEMBER_ID, memberId: '' })
  t.same([...machine.group.members.keys()], ['m1', 'm2'])
})

t.test('clients that are gone while their request waits', async (t) => {
  const newcomer = Machine.stable()
  const join = newcomer.join({ newMemberId: 'm3' })
  newcomer.join({ memberId: 'm1' })
  const last = newcomer.join({ memberId: 'm2' })
  t.match(newcomer.answer(last), { generation: 3 })
  t.equal(newcomer.answer(join).generation, 3)
  newcomer.send({ kind: 'abandoned', reply: join })
  t.equal(newcomer.group.members.size, 3, 'who was answered waits no more')

  const gone = Machine.stable()
  const lost = gone.join({ newMemberId: 'm3' })
  gone.join({ memberId: 'm1' })
  gone.send({ kind: 'abandoned', reply: lost })
  t.notOk(gone.group.members.has('m3'), 'a new one is forgotten')
  t.match(gone.answer(gone.join({ memberId: 'm2' })), { generation: 3 })

  const known = Machine.stable()
  const first = known.join({ memberId: 'm1' })
  known.send({ kind: 'abandoned', reply: first })
  t.match(known.answer(first), { errorCode: ErrorCode.REBALANCE_IN_PROGRESS })
  t.equal(known.timers.get('session:m1'), 10_000, 'a known one has the time of its session')
  known.join({ memberId: 'm2' })
  t.equal(known.group.phase, 'PreparingRebalance')
  t.match(known.answer(known.join({ memberId: 'm1' })), { generation: 3 })

  const syncing = new Machine()
  syncing.join({ newMemberId: 'm1' })
  const sync = syncing.sync('m1', { m1: 'all' })
  syncing.send({ kind: 'abandoned', reply: sync })
  syncing.stored()
  t.equal(syncing.answer(syncing.sync('m1')).assignment.toString(), 'all')
})

t.test('a member that joins without its instance id keeps it', async (t) => {
  const machine = Machine.stable({ instanceId: 'i1' })
  machine.join({ memberId: 'm1' })
  machine.join({ memberId: 'm2' })
  t.equal(machine.group.members.get('m1')?.instanceId, 'i1')
  t.match(machine.answer(machine.join({ memberId: 'm2', instanceId: 'i1' })), { errorCode: ErrorCode.FENCED_INSTANCE_ID })
})

t.test('a member that leaves twice in one request is unknown the second time', async (t) => {
  const machine = Machine.stable()
  const { members } = machine.leave({ memberId: 'm2', instanceId: null }, { memberId: 'm2', instanceId: null })
  t.same(members.map(({ errorCode }: any) => errorCode), [ErrorCode.NONE, ErrorCode.UNKNOWN_MEMBER_ID])
})

t.test('a group of a thousand members rebalances in little time', async (t) => {
  const machine = new Machine({ initialRebalanceDelayMs: 1, groupSizeMax: 10_000 })
  const startedMs = performance.now()
  for (let i = 0; i < 1000; i++) machine.join({ newMemberId: `m${i}` })
  machine.send({ kind: 'join-deadline' })
  machine.send({ kind: 'join-deadline' })
  for (let i = 0; i < 1000; i++) machine.sync(`m${i}`)
  machine.stored()
  t.equal(machine.group.phase, 'Stable')
  t.ok(performance.now() - startedMs < 5000, `${performance.now() - startedMs} ms`)
})
