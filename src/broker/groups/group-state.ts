/**
 * The classic consumer group as a pure state machine: `step(group, event, limits, nowMs)` gives the next group and what is to be
 * done: answers, timers, a write. The coordinator (group-coordinator.ts) owns the timers, the log and the waiting requests.
 *
 *     Empty -> PreparingRebalance -> CompletingRebalance -> Stable, and from each of them back to PreparingRebalance or Empty.
 *
 * PreparingRebalance holds JoinGroups until all members have sent one, CompletingRebalance holds SyncGroups until the leader's
 * assignment is durable. Behaviour of Kafka's ClassicGroup and GroupMetadataManager 4.x, with KIP-345 (static members), KIP-394
 * (known member ids) and KIP-814 (skipAssignment); the two differences are told where they are made.
 */
import { ErrorCode } from '../../protocol/error-codes.js'
import {
  memberWithInstance, NEW_MEMBER_JOIN_TIMEOUT_MS, type Effect, type Group, type GroupEvent, type GroupLimits, type JoinRequest, type Member,
  type MemberIdentity, type Reply, type SyncRequest, type Write
} from './group.js'
import { GroupChange, NO_ASSIGNMENT } from './group-change.js'
import { canJoin, chooseProtocol, sameProtocols } from './protocols.js'
import { sameSubscription } from './subscription.js'

export interface Step {
  readonly group: Group
  readonly effects: readonly Effect[]
}

export function step (group: Group, event: GroupEvent, limits: GroupLimits, nowMs: number): Step {
  const rules = new GroupRules(group, limits, nowMs)
  switch (event.kind) {
    case 'join': rules.join(event.request); break
    case 'sync': rules.sync(event.request); break
    case 'heartbeat': rules.heartbeat(event.reply, event.member, event.generation); break
    case 'leave': rules.leave(event.reply, event.members); break
    case 'alive': rules.alive(event.memberId); break
    case 'session-expired': rules.sessionExpired(event.memberId); break
    case 'pending-expired': rules.pendingExpired(event.memberId); break
    case 'join-deadline': rules.joinDeadline(); break
    case 'sync-deadline': rules.syncDeadline(); break
    case 'abandoned': rules.abandoned(event.reply); break
    case 'stored': rules.stored(event.write, event.errorCode); break
  }
  return { group: rules.group, effects: rules.effects }
}

/** One member's identity against the group, as every request but a first JoinGroup is checked. */
export function checkMember (group: Group, { memberId, instanceId }: MemberIdentity): ErrorCode {
  if (instanceId !== null) {
    const known = memberWithInstance(group, instanceId)
    if (known === undefined) return ErrorCode.UNKNOWN_MEMBER_ID
    return known.memberId === memberId ? ErrorCode.NONE : ErrorCode.FENCED_INSTANCE_ID
  }
  return group.members.has(memberId) ? ErrorCode.NONE : ErrorCode.UNKNOWN_MEMBER_ID
}

class GroupRules extends GroupChange {
  join (request: JoinRequest): void {
    const { group } = this
    const replaced = request.memberId === '' && request.instanceId !== null ? memberWithInstance(group, request.instanceId) : undefined
    if (!this.hasRoomFor(replaced?.memberId ?? request.memberId)) return this.turnAway(request)
    if (!canJoin(group, request.protocolType, request.protocols)) return this.refuseJoin(request, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    if (replaced !== undefined) return this.replaceStatic(request, replaced)
    if (request.memberId === '') return this.joinAsNew(request)
    // Static members have no pending ids.
    if (group.pendingMembers.has(request.memberId) && request.instanceId === null) return this.joinAsPending(request)
    const errorCode = checkMember(group, request)
    if (errorCode !== ErrorCode.NONE) return this.refuseJoin(request, errorCode)
    this.rejoin(request, group.members.get(request.memberId)!)
  }

  sync (request: SyncRequest): void {
    const { group } = this
    const errorCode = this.checkGeneration(request, request.generation) ?? this.checkProtocol(request)
    if (errorCode !== undefined) return this.refuseSync(request.reply, errorCode)
    if (group.phase === 'PreparingRebalance') return this.refuseSync(request.reply, ErrorCode.REBALANCE_IN_PROGRESS)
    const member = { ...group.members.get(request.memberId)!, synced: true }
    if (group.phase === 'Stable') {
      this.setMember(member)
      this.answerSync(request.reply, member)
    } else {
      this.awaitAssignment(request, member)
    }
    if (this.members.every(({ synced }) => synced)) this.cancelTimer('sync')
  }

  heartbeat (reply: Reply, identity: MemberIdentity, generation: number): void {
    const errorCode = this.checkGeneration(identity, generation)
    if (errorCode !== undefined) return this.answerHeartbeat(reply, errorCode)
    this.restartSession(this.group.members.get(identity.memberId)!)
    this.answerHeartbeat(reply, this.group.phase === 'PreparingRebalance' ? ErrorCode.REBALANCE_IN_PROGRESS : ErrorCode.NONE)
  }

  leave (reply: Reply, identities: readonly MemberIdentity[]): void {
    const countBefore = this.group.members.size
    this.answerLeave(reply, identities.map((identity) => ({ ...identity, errorCode: this.leaveOne(identity) })))
    if (this.group.members.size < countBefore) this.afterRemoval()
    else this.tryCompleteJoin()
  }

  alive (memberId: string): void {
    const member = this.group.members.get(memberId)
    if (member !== undefined) this.restartSession(member)
  }

  sessionExpired (memberId: string): void {
    const member = this.group.members.get(memberId)
    if (member === undefined) return
    // Who waits for an answer is kept waiting by the group; its session begins anew with the answer.
    if (!member.isNew && (member.awaitingJoin !== null || member.awaitingSync !== null)) return
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
    const { phase, initialJoin } = this.group
    if (phase !== 'PreparingRebalance') return
    if (initialJoin?.newMemberAdded === true && initialJoin.remainingMs > 0) return this.keepInitialJoinOpen(initialJoin.remainingMs)
    for (const member of this.members) if (member.awaitingJoin === null && member.instanceId === null) this.remove(member)
    const joined = this.members.some(({ awaitingJoin }) => awaitingJoin !== null)
    if (joined || this.group.members.size === 0) this.completeJoin()
    else this.startTimer('join', this.rebalanceTimeoutMs())
  }

  /** The time to sync is over: members that did not are gone. */
  syncDeadline (): void {
    if (this.group.phase !== 'CompletingRebalance' && this.group.phase !== 'Stable') return
    const late = this.members.filter(({ synced }) => !synced)
    for (const member of late) this.remove(member)
    if (late.length > 0) this.afterRemoval()
  }

  /**
   * Kafka never learns of it. Here a new member, which may not even know its id, is forgotten at once, so that nobody waits for it and
   * nothing is assigned to it; any other gets the time of its session to come back.
   */
  abandoned (reply: Reply): void {
    const member = this.members.find(({ awaitingJoin, awaitingSync }) => awaitingJoin === reply || awaitingSync === reply)
    if (member === undefined) return
    if (member.isNew) {
      this.remove(member)
      return this.afterRemoval()
    }
    if (member.awaitingJoin === reply) {
      this.refuseReply(reply, member.memberId, ErrorCode.REBALANCE_IN_PROGRESS)
      this.setMember({ ...member, awaitingJoin: null, resumption: null })
    } else {
      this.refuseSync(reply, ErrorCode.REBALANCE_IN_PROGRESS)
      this.setMember({ ...member, awaitingSync: null })
    }
    this.restartSession(member)
  }

  stored (write: Write, errorCode: ErrorCode): void {
    if (this.group.storing === write) this.assignmentStored(errorCode)
    const resumed = this.members.find(({ resumption }) => resumption?.write === write)
    if (resumed !== undefined) this.resume(resumed, errorCode)
  }

  // Joining

  /** Whoever waits for the rebalance counts; so the last to rejoin have to go when the largest size was made smaller. */
  private hasRoomFor (memberId: string): boolean {
    const { phase, members } = this.group
    const { groupSizeMax } = this.limits
    if (phase === 'Empty') return true
    if (phase !== 'PreparingRebalance') return members.has(memberId) || members.size < groupSizeMax
    return members.get(memberId)?.awaitingJoin != null || this.members.filter(({ awaitingJoin }) => awaitingJoin !== null).length < groupSizeMax
  }

  private turnAway (request: JoinRequest): void {
    const member = this.group.members.get(request.memberId)
    if (member !== undefined) this.remove(member)
    this.setPending(request.memberId, false)
    this.refuseReply(request.reply, '', ErrorCode.GROUP_MAX_SIZE_REACHED)
    this.tryCompleteJoin()
  }

  private joinAsNew (request: JoinRequest): void {
    if (request.instanceId !== null || !request.requiresKnownMemberId) return this.addMember(request, request.newMemberId)
    this.setPending(request.newMemberId, true)
    this.startTimer(`pending:${request.newMemberId}`, request.sessionTimeoutMs)
    this.refuseReply(request.reply, request.newMemberId, ErrorCode.MEMBER_ID_REQUIRED)
  }

  private joinAsPending (request: JoinRequest): void {
    this.setPending(request.memberId, false)
    this.addMember(request, request.memberId)
  }

  private addMember (request: JoinRequest, memberId: string): void {
    const { members, initialJoin, leaderId } = this.group
    if (members.size === 0) this.set({ protocolType: request.protocolType })
    this.set({ leaderId: leaderId ?? memberId, initialJoin: initialJoin && { ...initialJoin, newMemberAdded: true } })
    this.setMember({
      memberId,
      instanceId: request.instanceId,
      ...settingsOf(request),
      assignment: NO_ASSIGNMENT,
      awaitingJoin: request.reply,
      awaitingSync: null,
      synced: false,
      isNew: true,
      resumption: null
    })
    this.startTimer(`session:${memberId}`, NEW_MEMBER_JOIN_TIMEOUT_MS)
    this.rebalance()
  }

  private rejoin (request: JoinRequest, member: Member): void {
    const unchanged = sameProtocols(member.protocols, request.protocols)
    const { phase, leaderId } = this.group
    const leads = leaderId === member.memberId
    // The answer to its first try was lost: it gets the same again.
    if (phase === 'CompletingRebalance' && unchanged) return this.answerJoin(request.reply, member, { leads })
    // A leader comes back because something that it assigns has changed.
    if (phase === 'Stable' && unchanged && !leads) return this.answerJoin(request.reply, member, { leads })
    // A client that asks twice waits for one answer only: the earlier request is given up.
    if (member.awaitingJoin !== null) this.refuseReply(member.awaitingJoin, member.memberId, ErrorCode.REBALANCE_IN_PROGRESS)
    this.setMember({ ...member, ...settingsOf(request), awaitingJoin: request.reply, resumption: null })
    this.rebalance()
  }

  /**
   * A static member came back under a new id: it goes on with what it had if nothing has changed for the others (KIP-345). Kafka looks
   * at the protocol only; here a consumer that wants other topics than before makes its group rebalance, or it would not get them.
   */
  private replaceStatic (request: JoinRequest, old: Member): void {
    const { phase, protocolType, protocolName, leaderId } = this.group
    const memberId = request.newMemberId
    if (old.awaitingJoin !== null) this.refuseReply(old.awaitingJoin, old.memberId, ErrorCode.FENCED_INSTANCE_ID)
    if (old.awaitingSync !== null) this.refuseSync(old.awaitingSync, ErrorCode.FENCED_INSTANCE_ID)
    this.cancelTimer(`session:${old.memberId}`)
    const member = { ...old, memberId, ...settingsOf(request), awaitingJoin: request.reply, awaitingSync: null, isNew: false, resumption: null }
    this.setMembers((one) => one === old ? member : one)
    if (leaderId === old.memberId) this.set({ leaderId: memberId })
    const metadata = (one: Pick<Member, 'protocols'>): Buffer => one.protocols.find(({ name }) => name === protocolName)?.metadata ?? NO_ASSIGNMENT
    const unchanged = chooseProtocol(this.group.members.values()) === protocolName && sameSubscription(protocolType, metadata(old), metadata(member))
    if (phase !== 'Stable' || !unchanged) return this.rebalance()
    this.setMember({ ...member, resumption: { write: this.persist(), canSkipAssignment: request.canSkipAssignment, leaderId } })
  }

  private resume (member: Member, errorCode: ErrorCode): void {
    const { awaitingJoin, resumption, memberId } = member
    this.setMember({ ...member, awaitingJoin: null, resumption: null })
    if (errorCode !== ErrorCode.NONE) {
      this.restartSession(member)
      return this.refuseReply(awaitingJoin!, '', errorCode)
    }
    const leads = this.group.leaderId === memberId
    if (resumption!.canSkipAssignment) return this.answerJoin(awaitingJoin!, member, { leads, skipAssignment: leads })
    // An older client would assign anew if it were told that it leads: it is told that its former self does (KIP-814).
    this.answerJoin(awaitingJoin!, member, { leads: false, leaderId: resumption!.leaderId })
  }

  // Rebalancing

  private rebalance (): void {
    if (this.group.phase === 'PreparingRebalance') this.tryCompleteJoin()
    else this.prepareRebalance()
  }

  private prepareRebalance (): void {
    const { phase } = this.group
    if (phase === 'CompletingRebalance') this.forgetAssignments(ErrorCode.REBALANCE_IN_PROGRESS)
    this.cancelTimer('sync')
    this.setPhase('PreparingRebalance')
    if (phase === 'Empty') return this.openInitialJoin()
    // Who came back without a rebalance is answered by this one.
    if (phase === 'Stable') this.setMembers((member) => member.resumption === null ? member : { ...member, resumption: null })
    this.startTimer('join', this.rebalanceTimeoutMs())
    this.tryCompleteJoin()
  }

  /** The first rebalance waits for a time, not for anybody: a pending member may be one that gave up long ago. */
  private openInitialJoin (): void {
    const { initialRebalanceDelayMs } = this.limits
    if (initialRebalanceDelayMs <= 0) return this.completeJoin()
    this.set({ initialJoin: { newMemberAdded: false, remainingMs: Math.max(this.rebalanceTimeoutMs() - initialRebalanceDelayMs, 0) } })
    this.startTimer('join', initialRebalanceDelayMs)
  }

  /** Someone came during the last delay: perhaps more will. */
  private keepInitialJoinOpen (remainingMs: number): void {
    const delayMs = Math.min(this.limits.initialRebalanceDelayMs, remainingMs)
    this.set({ initialJoin: { newMemberAdded: false, remainingMs: remainingMs - delayMs } })
    this.startTimer('join', delayMs)
  }

  private tryCompleteJoin (): void {
    const { phase, initialJoin, pendingMembers } = this.group
    if (phase !== 'PreparingRebalance' || initialJoin !== null || pendingMembers.size > 0) return
    if (this.members.every(({ awaitingJoin }) => awaitingJoin !== null)) this.completeJoin()
  }

  private completeJoin (): void {
    this.cancelTimer('join')
    const generation = this.group.generation + 1
    const joined = this.members
    if (joined.length === 0) {
      this.set({ generation, protocolName: null, leaderId: null })
      this.setPhase('Empty')
      this.persist()
      return
    }
    const leader = this.group.members.get(this.group.leaderId ?? '')
    const { memberId: leaderId } = leader?.awaitingJoin != null ? leader : joined.find(({ awaitingJoin }) => awaitingJoin !== null)!
    this.set({ generation, leaderId, protocolName: chooseProtocol(joined), storing: null })
    this.setPhase('CompletingRebalance')
    this.setMembers((member) => ({ ...member, awaitingJoin: null, synced: false, isNew: false, assignment: NO_ASSIGNMENT }))
    for (const member of joined) {
      if (member.awaitingJoin === null) this.restartSession(member)
      else this.answerJoin(member.awaitingJoin, member, { leads: member.memberId === leaderId })
    }
    this.startTimer('sync', this.rebalanceTimeoutMs())
  }

  private awaitAssignment (request: SyncRequest, member: Member): void {
    if (member.awaitingSync !== null) this.refuseSync(member.awaitingSync, ErrorCode.REBALANCE_IN_PROGRESS)
    this.setMember({ ...member, awaitingSync: request.reply })
    this.restartSession(member)
    if (request.memberId !== this.group.leaderId || this.group.storing !== null) return
    this.setMembers((one) => ({ ...one, assignment: request.assignments.get(one.memberId) ?? NO_ASSIGNMENT }))
    this.set({ storing: this.persist() })
  }

  private assignmentStored (errorCode: ErrorCode): void {
    if (errorCode !== ErrorCode.NONE) {
      this.forgetAssignments(errorCode)
      return this.prepareRebalance()
    }
    const waiting = this.members
    this.set({ storing: null })
    this.setPhase('Stable')
    this.setMembers((member) => ({ ...member, awaitingSync: null }))
    for (const member of waiting) if (member.awaitingSync !== null) this.answerSync(member.awaitingSync, member)
  }

  private forgetAssignments (errorCode: ErrorCode): void {
    const waiting = this.members
    this.set({ storing: null })
    this.setMembers((member) => ({ ...member, assignment: NO_ASSIGNMENT, awaitingSync: null }))
    for (const member of waiting) {
      if (member.awaitingSync === null) continue
      this.refuseSync(member.awaitingSync, errorCode)
      this.restartSession(member)
    }
  }

  // Leaving

  private leaveOne ({ memberId, instanceId }: MemberIdentity): ErrorCode {
    if (memberId !== '' && this.group.pendingMembers.has(memberId)) {
      this.setPending(memberId, false)
      return ErrorCode.NONE
    }
    // An administrator removes a static member by its instance id alone.
    const removed = memberId === '' && instanceId !== null ? memberWithInstance(this.group, instanceId) : undefined
    const errorCode = removed === undefined ? checkMember(this.group, { memberId, instanceId }) : ErrorCode.NONE
    if (errorCode === ErrorCode.NONE) this.remove(removed ?? this.group.members.get(memberId)!)
    return errorCode
  }

  private afterRemoval (): void {
    if (this.group.phase === 'Stable' || this.group.phase === 'CompletingRebalance') this.prepareRebalance()
    else this.tryCompleteJoin()
  }

  // Checks

  /** Why a member of that generation may not go on; undefined when it may. */
  private checkGeneration (identity: MemberIdentity, generation: number): ErrorCode | undefined {
    const errorCode = checkMember(this.group, identity)
    if (errorCode !== ErrorCode.NONE) return errorCode
    return generation === this.group.generation ? undefined : ErrorCode.ILLEGAL_GENERATION
  }

  private checkProtocol ({ protocolType, protocolName }: SyncRequest): ErrorCode | undefined {
    const wrong = (protocolType !== null && protocolType !== this.group.protocolType) || (protocolName !== null && protocolName !== this.group.protocolName)
    return wrong ? ErrorCode.INCONSISTENT_GROUP_PROTOCOL : undefined
  }
}

/** What a member may change with every JoinGroup. */
function settingsOf ({ clientId, clientHost, sessionTimeoutMs, rebalanceTimeoutMs, protocols }: JoinRequest):
Pick<Member, 'clientId' | 'clientHost' | 'sessionTimeoutMs' | 'rebalanceTimeoutMs' | 'protocols'> {
  return { clientId, clientHost, sessionTimeoutMs, rebalanceTimeoutMs, protocols }
}
