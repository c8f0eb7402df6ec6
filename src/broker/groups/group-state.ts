/**
 * The classic consumer group as a pure state machine: `step(group, event, limits, nowMs)` gives the next group and what is to be
 * done: answers, timers, a write. The coordinator (group-coordinator.ts) owns the timers, the log and the waiting requests.
 *
 *     Empty -> PreparingRebalance -> CompletingRebalance -> Stable, and from each of them back to PreparingRebalance or Empty.
 *
 * Behaviour of Kafka's ClassicGroup and GroupMetadataManager 4.x; KIP-345 static members, KIP-394 known member ids, KIP-814.
 */
import { ErrorCode } from '../../protocol/error-codes.js'
import {
  memberWithInstance, type Answer, type Effect, type Group, type GroupEvent, type GroupLimits, type JoinRequest, type Member, type MemberIdentity,
  type Reply, type SyncRequest, type TimerKey
} from './group.js'
import { canJoin, chooseProtocol, sameProtocols } from './protocols.js'

export interface Step {
  readonly group: Group
  readonly effects: readonly Effect[]
}

const NO_ASSIGNMENT = Buffer.alloc(0)
const UNKNOWN_GENERATION = -1

export function step (group: Group, event: GroupEvent, limits: GroupLimits, nowMs: number): Step {
  const change = new Change(group, limits, nowMs)
  switch (event.kind) {
    case 'join': change.join(event.request); break
    case 'sync': change.sync(event.request); break
    case 'heartbeat': change.heartbeat(event.reply, event.member, event.generation); break
    case 'leave': change.leave(event.reply, event.members); break
    case 'alive': change.alive(event.memberId); break
    case 'session-expired': change.sessionExpired(event.memberId); break
    case 'pending-expired': change.pendingExpired(event.memberId); break
    case 'join-deadline': change.joinDeadline(); break
    case 'sync-deadline': change.syncDeadline(); break
    case 'stored': change.stored(event.generation, event.errorCode); break
  }
  return { group: change.group, effects: change.effects }
}

/** One member's identity against the group, as every request but JoinGroup is checked. */
export function checkMember (group: Group, { memberId, instanceId }: MemberIdentity): ErrorCode {
  if (instanceId !== null) {
    const known = memberWithInstance(group, instanceId)
    if (known === undefined) return ErrorCode.UNKNOWN_MEMBER_ID
    return known.memberId === memberId ? ErrorCode.NONE : ErrorCode.FENCED_INSTANCE_ID
  }
  return group.members.has(memberId) ? ErrorCode.NONE : ErrorCode.UNKNOWN_MEMBER_ID
}

/** One step in the making: replaces `group` value by value and collects effects. */
class Change {
  readonly effects: Effect[] = []

  constructor (public group: Group, private readonly limits: GroupLimits, private readonly nowMs: number) {}

  join (request: JoinRequest): void {
    const { group } = this
    if (group.phase === 'Dead') return this.refuseJoin(request, ErrorCode.COORDINATOR_NOT_AVAILABLE)
    const replaced = request.memberId === '' && request.instanceId !== null ? memberWithInstance(group, request.instanceId) : undefined
    if (!canJoin(group, request.protocolType, request.protocols, replaced?.memberId ?? request.memberId)) {
      return this.refuseJoin(request, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    }
    if (request.memberId === '') return this.joinAsNew(request, replaced)
    if (group.pendingMembers.has(request.memberId)) return this.joinAsPending(request)
    const errorCode = checkMember(group, request)
    if (errorCode !== ErrorCode.NONE) return this.refuseJoin(request, errorCode)
    this.rejoin(request, group.members.get(request.memberId)!)
  }

  sync (request: SyncRequest): void {
    const { group } = this
    const errorCode = this.checkGeneration(request, request.generation) ?? this.checkProtocol(request)
    if (errorCode !== undefined) return this.refuseSync(request.reply, errorCode)
    const member = group.members.get(request.memberId)!
    switch (group.phase) {
      case 'PreparingRebalance': return this.refuseSync(request.reply, ErrorCode.REBALANCE_IN_PROGRESS)
      case 'Stable':
        this.restartSession(member)
        return this.answerSync(request.reply, member)
      case 'CompletingRebalance': return this.awaitAssignment(request, member)
      default: return this.refuseSync(request.reply, ErrorCode.UNKNOWN_MEMBER_ID)
    }
  }

  heartbeat (reply: Reply, identity: MemberIdentity, generation: number): void {
    const errorCode = this.checkGeneration(identity, generation)
    if (errorCode !== undefined) return this.answer(reply, { kind: 'heartbeat', errorCode })
    this.restartSession(this.group.members.get(identity.memberId)!)
    const rebalancing = this.group.phase === 'PreparingRebalance'
    this.answer(reply, { kind: 'heartbeat', errorCode: rebalancing ? ErrorCode.REBALANCE_IN_PROGRESS : ErrorCode.NONE })
  }

  leave (reply: Reply, identities: readonly MemberIdentity[]): void {
    const gone: Member[] = []
    const members = identities.map((identity) => {
      const { errorCode, member } = this.leaving(identity)
      if (member !== undefined) gone.push(member)
      return { ...identity, errorCode }
    })
    this.answer(reply, { kind: 'leave', members })
    for (const member of gone) this.remove(member)
    if (gone.length > 0) this.afterRemoval()
    else this.tryCompleteJoin()
  }

  alive (memberId: string): void {
    const member = this.group.members.get(memberId)
    if (member !== undefined) this.restartSession(member)
  }

  sessionExpired (memberId: string): void {
    const member = this.group.members.get(memberId)
    // A member whose JoinGroup waits for an answer is kept waiting by the broker, not by itself.
    if (member === undefined || member.awaitingJoin !== null) return
    this.remove(member)
    this.afterRemoval()
  }

  pendingExpired (memberId: string): void {
    if (!this.group.pendingMembers.has(memberId)) return
    this.setPending(memberId, false)
    this.tryCompleteJoin()
  }

  /** The time for members to rejoin is over: go on with those that did. A static member may still come back, within its session. */
  joinDeadline (): void {
    if (this.group.phase !== 'PreparingRebalance') return
    for (const member of [...this.group.members.values()]) {
      if (member.awaitingJoin === null && member.instanceId === null) this.remove(member)
    }
    const joined = [...this.group.members.values()].some(({ awaitingJoin }) => awaitingJoin !== null)
    if (joined || this.group.members.size === 0) this.completeJoin()
    else this.startTimer('join', this.rebalanceTimeoutMs())
  }

  /** The time to sync is over: members that did not are gone. */
  syncDeadline (): void {
    if (this.group.phase !== 'CompletingRebalance' && this.group.phase !== 'Stable') return
    const late = [...this.group.members.values()].filter(({ synced }) => !synced)
    for (const member of late) this.remove(member)
    if (late.length > 0) this.afterRemoval()
  }

  stored (generation: number, errorCode: ErrorCode): void {
    const { group } = this
    if (group.phase !== 'CompletingRebalance' || group.generation !== generation || !group.storing) return
    this.set({ storing: false })
    if (errorCode !== ErrorCode.NONE) {
      this.forgetAssignments(errorCode)
      return this.prepareRebalance()
    }
    this.setPhase('Stable')
    for (const member of group.members.values()) {
      if (member.awaitingSync === null) continue
      this.setMember({ ...member, awaitingSync: null })
      this.answerSync(member.awaitingSync, member)
    }
  }

  // Joining

  private joinAsNew (request: JoinRequest, replaced: Member | undefined): void {
    if (replaced !== undefined) return this.replaceStatic(request, replaced)
    const { members, pendingMembers } = this.group
    if (members.size + pendingMembers.size >= this.limits.groupSizeMax) return this.refuseJoin(request, ErrorCode.GROUP_MAX_SIZE_REACHED)
    if (request.instanceId !== null || !request.requiresKnownMemberId) return this.addMember(request, request.newMemberId)
    this.setPending(request.newMemberId, true)
    this.startTimer(`pending:${request.newMemberId}`, request.sessionTimeoutMs)
    this.refuseJoin({ ...request, memberId: request.newMemberId }, ErrorCode.MEMBER_ID_REQUIRED)
  }

  private joinAsPending (request: JoinRequest): void {
    this.setPending(request.memberId, false)
    this.addMember(request, request.memberId)
  }

  private addMember (request: JoinRequest, memberId: string): void {
    const first = this.group.members.size === 0 && this.group.phase === 'Empty'
    this.set({ protocolType: request.protocolType, leaderId: this.group.leaderId ?? memberId })
    this.setMember({ ...identityOf(request, memberId), assignment: NO_ASSIGNMENT, awaitingJoin: request.reply, awaitingSync: null, synced: false })
    this.rebalance(first ? this.limits.initialRebalanceDelayMs : 0)
  }

  private rejoin (request: JoinRequest, member: Member): void {
    const unchanged = sameProtocols(member.protocols, request.protocols)
    const { phase, leaderId } = this.group
    // The answer to its first try was lost: it gets the same again.
    if (phase === 'CompletingRebalance' && unchanged) return this.answerJoin(request.reply, member, leaderId === member.memberId)
    // A leader comes back because something that it assigns has changed.
    if (phase === 'Stable' && unchanged && leaderId !== member.memberId) return this.answerJoin(request.reply, member, false)
    if (phase === 'Empty') return this.refuseJoin(request, ErrorCode.UNKNOWN_MEMBER_ID)
    this.updateAndRebalance(request, member, member.memberId)
  }

  private updateAndRebalance (request: JoinRequest, member: Member, memberId: string): void {
    // A client that asks twice waits for one answer only: the earlier request is given up.
    if (member.awaitingJoin !== null) this.refuseReply(member.awaitingJoin, memberId, ErrorCode.UNKNOWN_MEMBER_ID)
    this.setMember({ ...member, ...identityOf(request, memberId), awaitingJoin: request.reply })
    this.cancelTimer(`session:${memberId}`)
    this.rebalance(0)
  }

  /** A static member came back with a new id; what it had goes on if nothing has changed for the others (KIP-345). */
  private replaceStatic (request: JoinRequest, old: Member): void {
    const memberId = request.newMemberId
    const wasLeader = this.group.leaderId === old.memberId
    this.fence(old)
    this.renameMember(old, { ...old, ...identityOf(request, memberId), awaitingJoin: null, awaitingSync: null })
    if (wasLeader) this.set({ leaderId: memberId })
    const member = this.group.members.get(memberId)!
    const protocolStays = chooseProtocol(this.group.members.values()) === this.group.protocolName
    if (this.group.phase !== 'Stable' || !sameProtocols(old.protocols, request.protocols) || !protocolStays) {
      return this.updateAndRebalance(request, member, memberId)
    }
    this.restartSession(member)
    this.effects.push({ kind: 'persist' })
    if (wasLeader && !request.canSkipAssignment) {
      // An older client would assign anew if it were told that it leads: it is told that its former self does.
      this.answer(request.reply, { ...this.joinAnswer(member, false), leaderId: old.memberId })
    } else {
      this.answer(request.reply, { ...this.joinAnswer(member, wasLeader), skipAssignment: wasLeader })
    }
  }

  private fence (old: Member): void {
    if (old.awaitingJoin !== null) this.refuseReply(old.awaitingJoin, old.memberId, ErrorCode.FENCED_INSTANCE_ID)
    if (old.awaitingSync !== null) this.refuseSync(old.awaitingSync, ErrorCode.FENCED_INSTANCE_ID)
    this.cancelTimer(`session:${old.memberId}`)
  }

  // Rebalancing

  private rebalance (delayMs: number): void {
    if (this.group.phase === 'PreparingRebalance') this.tryCompleteJoin()
    else this.prepareRebalance(delayMs)
  }

  private prepareRebalance (delayMs = 0): void {
    if (this.group.phase === 'CompletingRebalance') this.forgetAssignments(ErrorCode.REBALANCE_IN_PROGRESS)
    this.cancelTimer('sync')
    this.setPhase('PreparingRebalance')
    if (delayMs > 0) return this.startTimer('join', delayMs)
    this.startTimer('join', this.rebalanceTimeoutMs())
    this.tryCompleteJoin()
  }

  private tryCompleteJoin (): void {
    const { phase, members, pendingMembers } = this.group
    // With an initial delay the group waits for its end, whoever has come.
    if (phase !== 'PreparingRebalance' || this.waitsForFirstMembers()) return
    const waiting = [...members.values()].every(({ awaitingJoin }) => awaitingJoin !== null)
    if (waiting && pendingMembers.size === 0) this.completeJoin()
  }

  private waitsForFirstMembers (): boolean {
    return this.limits.initialRebalanceDelayMs > 0 && this.group.generation === 0 && this.group.members.size > 0 &&
      this.nowMs - this.group.phaseSinceMs < this.limits.initialRebalanceDelayMs
  }

  private completeJoin (): void {
    this.cancelTimer('join')
    const generation = this.group.generation + 1
    if (this.group.members.size === 0) {
      this.set({ generation, protocolName: null, leaderId: null })
      this.setPhase('Empty')
      this.effects.push({ kind: 'persist' })
      return
    }
    const leader = this.group.members.get(this.group.leaderId ?? '')
    const leaderId = leader?.awaitingJoin != null ? leader.memberId : [...this.group.members.values()].find(({ awaitingJoin }) => awaitingJoin !== null)!.memberId
    this.set({ generation, leaderId, protocolName: chooseProtocol(this.group.members.values()), storing: false })
    this.setPhase('CompletingRebalance')
    const joined = [...this.group.members.values()]
    for (const member of joined) this.setMember({ ...member, awaitingJoin: null, synced: false, assignment: NO_ASSIGNMENT })
    for (const member of joined) {
      if (member.awaitingJoin === null) this.restartSession(member)
      else this.answerJoin(member.awaitingJoin, member, member.memberId === leaderId)
    }
    this.startTimer('sync', this.rebalanceTimeoutMs())
  }

  private awaitAssignment (request: SyncRequest, member: Member): void {
    if (member.awaitingSync !== null) this.refuseSync(member.awaitingSync, ErrorCode.REBALANCE_IN_PROGRESS)
    this.setMember({ ...member, awaitingSync: request.reply, synced: true })
    this.restartSession(member)
    if (request.memberId === this.group.leaderId && !this.group.storing) {
      for (const one of [...this.group.members.values()]) this.setMember({ ...one, assignment: request.assignments.get(one.memberId) ?? NO_ASSIGNMENT })
      this.set({ storing: true })
      this.effects.push({ kind: 'persist' })
    }
    if ([...this.group.members.values()].every(({ synced }) => synced)) this.cancelTimer('sync')
  }

  private forgetAssignments (errorCode: ErrorCode): void {
    this.set({ storing: false })
    for (const member of [...this.group.members.values()]) {
      this.setMember({ ...member, assignment: NO_ASSIGNMENT, awaitingSync: null })
      if (member.awaitingSync !== null) this.refuseSync(member.awaitingSync, errorCode)
    }
  }

  // Leaving

  private leaving ({ memberId, instanceId }: MemberIdentity): { errorCode: ErrorCode, member?: Member } {
    if (instanceId !== null) {
      const member = memberWithInstance(this.group, instanceId)
      if (member === undefined) return { errorCode: ErrorCode.UNKNOWN_MEMBER_ID }
      // An administrator removes a static member by its instance id alone.
      return memberId === '' || memberId === member.memberId ? { errorCode: ErrorCode.NONE, member } : { errorCode: ErrorCode.FENCED_INSTANCE_ID }
    }
    if (this.group.pendingMembers.has(memberId)) {
      this.setPending(memberId, false)
      return { errorCode: ErrorCode.NONE }
    }
    const member = this.group.members.get(memberId)
    return member === undefined ? { errorCode: ErrorCode.UNKNOWN_MEMBER_ID } : { errorCode: ErrorCode.NONE, member }
  }

  private remove (member: Member): void {
    const { memberId } = member
    if (member.awaitingJoin !== null) this.refuseReply(member.awaitingJoin, memberId, ErrorCode.UNKNOWN_MEMBER_ID)
    if (member.awaitingSync !== null) this.refuseSync(member.awaitingSync, ErrorCode.UNKNOWN_MEMBER_ID)
    this.cancelTimer(`session:${memberId}`)
    const members = new Map(this.group.members)
    members.delete(memberId)
    const leaderId = this.group.leaderId === memberId ? [...members.keys()][0] ?? null : this.group.leaderId
    this.set({ members, leaderId })
  }

  private afterRemoval (): void {
    if (this.group.phase === 'Stable' || this.group.phase === 'CompletingRebalance') this.prepareRebalance()
    else this.tryCompleteJoin()
  }

  // Checks and answers

  /** Why a member of that generation may not go on; undefined when it may. */
  private checkGeneration (identity: MemberIdentity, generation: number): ErrorCode | undefined {
    if (this.group.phase === 'Dead') return ErrorCode.COORDINATOR_NOT_AVAILABLE
    const errorCode = checkMember(this.group, identity)
    if (errorCode !== ErrorCode.NONE) return errorCode
    return generation === this.group.generation ? undefined : ErrorCode.ILLEGAL_GENERATION
  }

  private checkProtocol ({ protocolType, protocolName }: SyncRequest): ErrorCode | undefined {
    const wrong = (protocolType !== null && protocolType !== this.group.protocolType) || (protocolName !== null && protocolName !== this.group.protocolName)
    return wrong ? ErrorCode.INCONSISTENT_GROUP_PROTOCOL : undefined
  }

  private joinAnswer (member: Member, withMembers: boolean): Answer & { kind: 'join' } {
    const { generation, protocolType, protocolName, leaderId, members } = this.group
    return {
      kind: 'join',
      errorCode: ErrorCode.NONE,
      memberId: member.memberId,
      generation,
      protocolType,
      protocolName,
      leaderId: leaderId ?? '',
      skipAssignment: false,
      members: withMembers ? [...members.values()] : []
    }
  }

  private answerJoin (reply: Reply, member: Member, withMembers: boolean): void {
    this.restartSession(member)
    this.answer(reply, this.joinAnswer(member, withMembers))
  }

  private answerSync (reply: Reply, member: Member): void {
    const { protocolType, protocolName } = this.group
    this.answer(reply, { kind: 'sync', errorCode: ErrorCode.NONE, protocolType, protocolName, assignment: member.assignment })
  }

  private refuseJoin (request: JoinRequest, errorCode: ErrorCode): void {
    this.refuseReply(request.reply, request.memberId, errorCode)
  }

  private refuseReply (reply: Reply, memberId: string, errorCode: ErrorCode): void {
    this.answer(reply, {
      kind: 'join', errorCode, memberId, generation: UNKNOWN_GENERATION, protocolType: null, protocolName: null, leaderId: '', skipAssignment: false, members: []
    })
  }

  private refuseSync (reply: Reply, errorCode: ErrorCode): void {
    this.answer(reply, { kind: 'sync', errorCode, protocolType: null, protocolName: null, assignment: NO_ASSIGNMENT })
  }

  private answer (reply: Reply, answer: Answer): void {
    this.effects.push({ kind: 'answer', reply, answer })
  }

  // Values and timers

  private set (change: Partial<Group>): void {
    this.group = { ...this.group, ...change }
  }

  private setPhase (phase: Group['phase']): void {
    this.set({ phase, phaseSinceMs: this.nowMs })
  }

  private setMember (member: Member): void {
    this.set({ members: new Map(this.group.members).set(member.memberId, member) })
  }

  /** Keeps the member's place in the order. */
  private renameMember (old: Member, member: Member): void {
    this.set({ members: new Map([...this.group.members].map(([id, one]) => id === old.memberId ? [member.memberId, member] : [id, one])) })
  }

  private setPending (memberId: string, pending: boolean): void {
    const pendingMembers = new Set(this.group.pendingMembers)
    if (pending) pendingMembers.add(memberId)
    else {
      pendingMembers.delete(memberId)
      this.cancelTimer(`pending:${memberId}`)
    }
    this.set({ pendingMembers })
  }

  private rebalanceTimeoutMs (): number {
    return Math.max(...[...this.group.members.values()].map((member) => member.rebalanceTimeoutMs), 0)
  }

  private restartSession ({ memberId, sessionTimeoutMs }: Member): void {
    this.startTimer(`session:${memberId}`, sessionTimeoutMs)
  }

  private startTimer (timer: TimerKey, delayMs: number): void {
    this.effects.push({ kind: 'start-timer', timer, delayMs })
  }

  private cancelTimer (timer: TimerKey): void {
    this.effects.push({ kind: 'cancel-timer', timer })
  }
}

/** What a JoinGroup says of a member. */
function identityOf (request: JoinRequest, memberId: string): Omit<Member, 'assignment' | 'awaitingJoin' | 'awaitingSync' | 'synced'> {
  return {
    memberId,
    instanceId: request.instanceId,
    clientId: request.clientId,
    clientHost: request.clientHost,
    sessionTimeoutMs: request.sessionTimeoutMs,
    rebalanceTimeoutMs: request.rebalanceTimeoutMs,
    protocols: request.protocols
  }
}
