import fc from 'fast-check'
import t from 'tap'
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import { emptyGroup, type Answer, type Effect, type Group, type GroupEvent, type GroupLimits, type JoinRequest, type Reply } from '../../../src/broker/groups/group.js'
import { step } from '../../../src/broker/groups/group-state.js'

const LIMITS: GroupLimits = { initialRebalanceDelayMs: 0, groupSizeMax: 5 }
const RANGE = [{ name: 'range', metadata: Buffer.from('r') }]
const BOTH = [...RANGE, { name: 'sticky', metadata: Buffer.from('s') }]

function joinRequest (change: Partial<JoinRequest>): JoinRequest {
  return {
    reply: 0, memberId: '', newMemberId: 'new', instanceId: null, clientId: 'c', clientHost: '/127.0.0.1', sessionTimeoutMs: 10_000,
    rebalanceTimeoutMs: 60_000, protocolType: 'consumer', protocols: RANGE, requiresKnownMemberId: false, canSkipAssignment: false, ...change
  }
}

/** A group under test: events in, answers by reply out. */
class Machine {
  group: Group = emptyGroup('g', 0)
  readonly answers = new Map<Reply, Answer>()
  readonly timers = new Map<string, number>()
  persistCount = 0
  private nextReply = 1

  constructor (private readonly limits: GroupLimits = LIMITS) {}

  send (event: GroupEvent): readonly Effect[] {
    const { group, effects } = step(this.group, event, this.limits, 0)
    this.group = group
    for (const effect of effects) {
      if (effect.kind === 'answer') {
        if (this.answers.has(effect.reply)) throw new Error(`reply ${effect.reply} is answered twice`)
        this.answers.set(effect.reply, effect.answer)
      } else if (effect.kind === 'start-timer') this.timers.set(effect.timer, effect.delayMs)
      else if (effect.kind === 'cancel-timer') this.timers.delete(effect.timer)
      else this.persistCount++
    }
    return effects
  }

  join (change: Partial<JoinRequest> = {}): Reply {
    const reply = this.nextReply++
    this.send({ kind: 'join', request: joinRequest({ reply, newMemberId: `m${reply}`, ...change }) })
    return reply
  }

  sync (memberId: string, assignments: Record<string, string> = {}, change: { generation?: number, instanceId?: string, protocolName?: string } = {}): Reply {
    const reply = this.nextReply++
    this.send({
      kind: 'sync',
      request: {
        reply, memberId, instanceId: change.instanceId ?? null, generation: change.generation ?? this.group.generation, protocolType: null, protocolName: change.protocolName ?? null,
        assignments: new Map(Object.entries(assignments).map(([id, text]) => [id, Buffer.from(text)]))
      }
    })
    return reply
  }

  heartbeat (memberId: string, generation = this.group.generation): ErrorCode {
    const reply = this.nextReply++
    this.send({ kind: 'heartbeat', reply, member: { memberId, instanceId: null }, generation })
    return (this.answers.get(reply) as { errorCode: ErrorCode }).errorCode
  }

  leave (...members: { memberId: string, instanceId: string | null }[]): any {
    const reply = this.nextReply++
    this.send({ kind: 'leave', reply, members })
    return this.answers.get(reply)
  }

  stored (errorCode: ErrorCode = ErrorCode.NONE): void {
    this.send({ kind: 'stored', generation: this.group.generation, errorCode })
  }

  answer (reply: Reply): any { return this.answers.get(reply) }

  /** Two members in a stable group: m1 leads. */
  static stable (change: Partial<JoinRequest> = {}): Machine {
    const machine = new Machine()
    machine.join({ newMemberId: 'm1', ...change })
    machine.join({ newMemberId: 'm2' })
    machine.join({ memberId: 'm1', ...change })
    machine.sync('m1', { m1: 'a', m2: 'b' })
    machine.sync('m2')
    machine.stored()
    return machine
  }
}

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
  machine.send({ kind: 'stored', generation: 1, errorCode: ErrorCode.NONE })
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
  const machine = Machine.stable({ instanceId: 'i1' })
  machine.join({ instanceId: 'i1', newMemberId: 'm1b', protocols: [{ name: 'range', metadata: Buffer.from('more') }] })
  t.equal(machine.group.phase, 'PreparingRebalance')
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
  for (let i = 0; i < LIMITS.groupSizeMax; i++) machine.join()
  t.equal(machine.answer(machine.join()).errorCode, ErrorCode.GROUP_MAX_SIZE_REACHED)
})

t.test('an initial delay gathers the first members', async (t) => {
  const machine = new Machine({ ...LIMITS, initialRebalanceDelayMs: 3000 })
  const joins = [machine.join(), machine.join()]
  t.same(joins.map((join) => machine.answer(join)), [undefined, undefined])
  t.equal(machine.timers.get('join'), 3000)
  machine.send({ kind: 'join-deadline' })
  t.same(joins.map((join) => machine.answer(join).generation), [1, 1])
})

t.test('any sequence of events: one answer each, growing generations, one leader, no timers of members that are gone', async (t) => {
  const id = fc.constantFrom('', 'm1', 'm2', 'm3', 'm4', 'm5', 'm6')
  const instance = fc.option(fc.constantFrom('i1', 'i2'), { nil: null, freq: 4 })
  const event = fc.oneof(
    fc.record({ kind: fc.constant('join' as const), memberId: id, instanceId: instance, known: fc.boolean(), both: fc.boolean() }),
    fc.record({ kind: fc.constant('sync' as const), memberId: id, stale: fc.boolean() }),
    fc.record({ kind: fc.constant('heartbeat' as const), memberId: id }),
    fc.record({ kind: fc.constant('leave' as const), memberId: id, instanceId: instance }),
    fc.record({ kind: fc.constantFrom('session-expired' as const, 'pending-expired' as const), memberId: id }),
    fc.record({ kind: fc.constantFrom('join-deadline' as const, 'sync-deadline' as const) }),
    fc.record({ kind: fc.constant('stored' as const), ok: fc.boolean() })
  )
  fc.assert(fc.property(fc.array(event, { maxLength: 60 }), (events) => {
    const machine = new Machine()
    const asked: Reply[] = []
    let generation = 0
    for (const one of events) {
      switch (one.kind) {
        case 'join': asked.push(machine.join({ memberId: one.memberId, instanceId: one.instanceId, requiresKnownMemberId: one.known, protocols: one.both ? BOTH : RANGE, newMemberId: `m${machine.answers.size % 6 + 1}x${asked.length}` })); break
        case 'sync': asked.push(machine.sync(one.memberId, { [one.memberId]: 'x' }, { generation: machine.group.generation - (one.stale ? 1 : 0) })); break
        case 'heartbeat': machine.heartbeat(one.memberId); break
        case 'leave': machine.leave(one); break
        case 'stored': machine.stored(one.ok ? ErrorCode.NONE : ErrorCode.COORDINATOR_NOT_AVAILABLE); break
        default: machine.send(one as GroupEvent)
      }
      check(machine, generation)
      generation = machine.group.generation
    }
    const waiting = new Set([...machine.group.members.values()].flatMap(({ awaitingJoin, awaitingSync }) => [awaitingJoin, awaitingSync]))
    for (const reply of asked) if (machine.answers.has(reply) === waiting.has(reply)) throw new Error(`reply ${reply} is neither answered nor waiting, or both`)
  }), { numRuns: 2000 })
  t.pass()
})

function check ({ group, timers }: Machine, generationBefore: number): void {
  const fail = (what: string): never => { throw new Error(`${what}: ${JSON.stringify({ ...group, members: [...group.members.keys()] })}`) }
  if (group.generation < generationBefore) fail('the generation fell')
  if (group.phase === 'Empty' && group.members.size > 0) fail('an empty group has members')
  if (group.phase !== 'Empty' && group.phase !== 'PreparingRebalance' && !group.members.has(group.leaderId ?? '')) fail('no leader')
  if (group.phase === 'Stable' && [...group.members.values()].some(({ awaitingJoin, awaitingSync }) => awaitingJoin !== null || awaitingSync !== null)) fail('a stable group keeps someone waiting')
  for (const timer of timers.keys()) {
    const [kind, id] = timer.split(':')
    if (kind === 'session' && !group.members.has(id!)) fail(`a timer of a member that is gone, ${id}`)
    if (kind === 'pending' && !group.pendingMembers.has(id!)) fail(`a timer of a pending member that is gone, ${id}`)
  }
  if (group.phase === 'PreparingRebalance' && !timers.has('join')) fail('nothing ends the join')
}
