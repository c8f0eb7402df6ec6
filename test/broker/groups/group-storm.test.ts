/** A group to which anything happens, in any order: what must be so all the time. */
import fc from 'fast-check'
import t from 'tap'
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import type { Answer, Effect, Group, GroupEvent, JoinRequest, Member, Reply } from '../../../src/broker/groups/group.js'
import { BOTH, Machine, RANGE } from './machine.js'

/** What may happen next; `who` picks a member, a pending member, or a stranger. */
const EVENT = fc.oneof(
  { weight: 10, arbitrary: fc.record({ kind: fc.constant('join' as const), who: fc.nat(), known: fc.boolean(), both: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('join-new' as const), instanceId: fc.constantFrom(null, null, 'i1', 'i2'), known: fc.boolean(), both: fc.boolean(), canSkip: fc.boolean() }) },
  { weight: 10, arbitrary: fc.record({ kind: fc.constant('sync' as const), who: fc.nat(), stale: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('heartbeat' as const), who: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const), who: fc.array(fc.nat(), { minLength: 1, maxLength: 2 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('timer' as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('abandoned' as const), which: fc.nat() }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('stored' as const), ok: fc.nat(5) }) }
)
type RandomEvent = typeof EVENT extends fc.Arbitrary<infer E> ? E : never

/** A group to which anything happens, and what must be so all the time. */
class Storm extends Machine {
  readonly asked: Reply[] = []

  apply (event: RandomEvent): void {
    const { group } = this
    const someone = (who: number): Pick<Member, 'memberId' | 'instanceId'> => {
      const all = [...group.members.values(), ...[...group.pendingMembers].map((memberId) => ({ memberId, instanceId: null })), { memberId: 'stranger', instanceId: null }]
      return all[who % all.length]!
    }
    const protocols = (both: boolean): JoinRequest['protocols'] => both ? BOTH : RANGE
    switch (event.kind) {
      case 'join': {
        const { memberId, instanceId } = someone(event.who)
        this.asked.push(this.join({ memberId, instanceId, requiresKnownMemberId: event.known, protocols: protocols(event.both) }))
        break
      }
      case 'join-new': {
        const { instanceId, known, both, canSkip } = event
        this.asked.push(this.join({ instanceId, requiresKnownMemberId: known, protocols: protocols(both), canSkipAssignment: canSkip }))
        break
      }
      case 'sync': {
        const { memberId, instanceId } = someone(event.who)
        const generation = group.generation - (event.stale === 0 ? 1 : 0)
        const assignments = Object.fromEntries([...group.members.keys()].map((id) => [id, `${id} in ${generation}`]))
        this.asked.push(this.sync(memberId, assignments, { generation, ...(instanceId !== null && { instanceId }) }))
        break
      }
      case 'heartbeat': this.heartbeat(someone(event.who).memberId); break
      case 'leave': this.leave(...event.who.map(someone)); break
      case 'timer': this.expire([...this.timers.keys()][event.which % this.timers.size] ?? ''); break
      case 'abandoned': this.send({ kind: 'abandoned', reply: this.asked[event.which % this.asked.length] ?? 0 }); break
      case 'stored': this.storeOldest(event.ok === 0 ? ErrorCode.NOT_COORDINATOR : ErrorCode.NONE); break
    }
  }

  /** Two members agree, one of them static. */
  settle (): void {
    this.asked.push(this.join({ instanceId: 'i1' }), this.join())
    this.expire('join')
    this.expire('join')
    for (const memberId of this.group.members.keys()) this.asked.push(this.join({ memberId }))
    for (const { memberId, instanceId } of this.group.members.values()) {
      const assignments = Object.fromEntries([...this.group.members.keys()].map((id) => [id, `${id} in ${this.group.generation}`]))
      this.asked.push(this.sync(memberId, assignments, instanceId === null ? {} : { instanceId }))
    }
    this.storeOldest(ErrorCode.NONE)
  }

  /** Time goes by and nobody says anything more. */
  fallSilent (): void {
    for (let turn = 0; turn < 100 && (this.timers.size > 0 || this.writes.length > 0); turn++) {
      while (this.writes.length > 0) this.storeOldest(ErrorCode.NONE)
      for (const timer of [...this.timers.keys()]) this.expire(timer)
    }
  }

  override send (event: GroupEvent): readonly Effect[] {
    const before = this.group
    const effects = super.send(event)
    for (const effect of effects) if (effect.kind === 'answer') this.checkAnswer(effect.answer)
    this.check(before)
    return effects
  }

  private checkAnswer (answer: Answer): void {
    const { generation, leaderId } = this.group
    if (answer.kind === 'join' && answer.errorCode === ErrorCode.NONE) {
      if (answer.generation !== generation) this.fail('an answer of another generation')
      if (answer.members.length > 0 && answer.memberId !== leaderId) this.fail('members are told to one that does not lead')
      if (answer.memberId === leaderId && answer.members.length === 0 && answer.leaderId === leaderId) this.fail('a leader is not told its members')
    }
    // Static members change their ids: what counts is the generation.
    if (answer.kind === 'sync' && answer.errorCode === ErrorCode.NONE && answer.assignment.length > 0 && !answer.assignment.toString().endsWith(` in ${generation}`)) {
      this.fail('an assignment of another generation')
    }
  }

  private check (before: Group): void {
    const { group, timers } = this
    const members = [...group.members.values()]
    if (group.generation < before.generation || group.generation > before.generation + 1) this.fail('the generation leapt')
    if (group.phase === 'Empty' && members.length > 0) this.fail('an empty group has members')
    if (group.phase === 'PreparingRebalance' ? !timers.has('join') : timers.has('join')) this.fail('nothing ends the join, or something that is none')
    if (group.phase === 'CompletingRebalance' && members.some(({ synced }) => !synced) && !timers.has('sync')) this.fail('nothing ends the wait for a sync')
    if (group.phase !== 'Empty' && group.phase !== 'PreparingRebalance' && !group.members.has(group.leaderId ?? '')) this.fail('no leader')
    if (group.storing !== null && group.phase !== 'CompletingRebalance') this.fail('an assignment is stored that nobody waits for')
    const instances = members.map(({ instanceId }) => instanceId).filter((id) => id !== null)
    if (new Set(instances).size < instances.length) this.fail('two members are one instance')
    for (const { memberId, awaitingJoin, awaitingSync, resumption, isNew } of members) {
      const waits = awaitingJoin !== null || awaitingSync !== null
      if (!timers.has(`session:${memberId}`) && (!waits || isNew)) this.fail(`nothing ends the session of ${memberId}`)
      if (group.phase === 'Stable' && (awaitingSync !== null || (awaitingJoin !== null) !== (resumption !== null))) this.fail('a stable group keeps someone waiting')
    }
    for (const timer of timers.keys()) {
      const [kind, id] = timer.split(':')
      if (kind === 'session' && !group.members.has(id!)) this.fail(`a timer of a member that is gone, ${id}`)
      if (kind === 'pending' && !group.pendingMembers.has(id!)) this.fail(`a timer of a pending member that is gone, ${id}`)
    }
    for (const id of group.pendingMembers) if (!timers.has(`pending:${id}`)) this.fail(`nothing ends the wait for ${id}`)
  }

  private fail (what: string): never {
    throw new Error(`${what}: ${JSON.stringify({ ...this.group, members: [...this.group.members.values()], pendingMembers: [...this.group.pendingMembers], timers: [...this.timers.keys()] })}`)
  }
}

t.test('any sequence of events: one answer each, one leader, assignments of their generation, a timer for whatever is waited for', async (t) => {
  let stable = 0
  for (const initialRebalanceDelayMs of [0, 10]) {
    fc.assert(fc.property(fc.boolean(), fc.array(EVENT, { minLength: 20, maxLength: 80, size: 'max' }), (settled, events) => {
      const storm = new Storm({ initialRebalanceDelayMs, groupSizeMax: 4 })
      if (settled) storm.settle()
      for (const event of events) {
        storm.apply(event)
        if (storm.group.phase === 'Stable' && storm.group.members.size > 1) stable++
        const waiting = new Set([...storm.group.members.values()].flatMap(({ awaitingJoin, awaitingSync }) => [awaitingJoin, awaitingSync]))
        for (const reply of storm.asked) if (storm.answers.has(reply) === waiting.has(reply)) throw new Error(`reply ${reply} is neither answered nor waiting, or both`)
      }
      storm.fallSilent()
      if (storm.group.phase !== 'Empty' || storm.timers.size > 0) throw new Error(`a group that nobody talks to is not empty: ${storm.group.phase}`)
      for (const reply of storm.asked) if (!storm.answers.has(reply)) throw new Error(`reply ${reply} is never answered`)
    }), { numRuns: 1500 })
  }
  t.ok(stable > 500, `groups of several members became stable: ${stable} steps`)
})
