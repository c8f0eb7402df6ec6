/**
 * One step of a group in the making: replaces `group` value by value and collects effects. What may happen to a group is in
 * group-state.ts; here is how: members, timers, answers, writes.
 */
import { ErrorCode } from '../../protocol/error-codes.js'
import type {
  Answer, Effect, Group, GroupLimits, JoinRequest, LeaveAnswer, Member, Reply, TimerKey, Write
} from './group.js'

export const NO_ASSIGNMENT = Buffer.alloc(0)
const NO_GENERATION = -1

export class GroupChange {
  readonly effects: Effect[] = []

  constructor (public group: Group, protected readonly limits: GroupLimits, private readonly nowMs: number) {}

  // Values

  protected get members (): Member[] { return [...this.group.members.values()] }

  protected set (change: Partial<Group>): void {
    this.group = { ...this.group, ...change }
  }

  protected setPhase (phase: Group['phase']): void {
    this.set({ phase, phaseSinceMs: this.nowMs, initialJoin: null })
  }

  protected setMember (member: Member): void {
    this.set({ members: new Map(this.group.members).set(member.memberId, member) })
  }

  /** Replaces every member, in one go. */
  protected setMembers (change: (member: Member) => Member): void {
    this.set({ members: new Map(this.members.map(change).map((member) => [member.memberId, member])) })
  }

  protected setPending (memberId: string, pending: boolean): void {
    const pendingMembers = new Set(this.group.pendingMembers)
    if (pending) pendingMembers.add(memberId)
    else {
      pendingMembers.delete(memberId)
      this.cancelTimer(`pending:${memberId}`)
    }
    this.set({ pendingMembers })
  }

  /** A member is gone; what it waited for is answered. The oldest of the others leads if it led. */
  protected remove (member: Member): void {
    const { memberId } = member
    if (member.awaitingJoin !== null) this.refuseReply(member.awaitingJoin, '', ErrorCode.UNKNOWN_MEMBER_ID)
    if (member.awaitingSync !== null) this.refuseSync(member.awaitingSync, ErrorCode.UNKNOWN_MEMBER_ID)
    this.cancelTimer(`session:${memberId}`)
    const members = new Map(this.group.members)
    members.delete(memberId)
    this.set({ members, leaderId: this.group.leaderId === memberId ? [...members.keys()][0] ?? null : this.group.leaderId })
  }

  protected persist (): Write {
    const write = this.group.writes + 1
    this.set({ writes: write })
    this.effects.push({ kind: 'persist', write })
    return write
  }

  // Timers

  protected rebalanceTimeoutMs (): number {
    return this.members.reduce((maxMs, { rebalanceTimeoutMs }) => Math.max(maxMs, rebalanceTimeoutMs), 0)
  }

  protected restartSession ({ memberId, sessionTimeoutMs }: Member): void {
    this.startTimer(`session:${memberId}`, sessionTimeoutMs)
  }

  protected startTimer (timer: TimerKey, delayMs: number): void {
    this.effects.push({ kind: 'start-timer', timer, delayMs })
  }

  protected cancelTimer (timer: TimerKey): void {
    this.effects.push({ kind: 'cancel-timer', timer })
  }

  // Answers

  protected answerJoin (reply: Reply, member: Member, how: { readonly leads: boolean, readonly skipAssignment?: boolean, readonly leaderId?: string | null }): void {
    const { generation, protocolType, protocolName, leaderId } = this.group
    this.restartSession(member)
    this.answer(reply, {
      kind: 'join',
      errorCode: ErrorCode.NONE,
      memberId: member.memberId,
      generation,
      protocolType,
      protocolName,
      leaderId: how.leaderId ?? leaderId ?? '',
      skipAssignment: how.skipAssignment ?? false,
      members: how.leads ? this.members : []
    })
  }

  protected refuseJoin (request: JoinRequest, errorCode: ErrorCode): void {
    this.refuseReply(request.reply, request.memberId, errorCode)
  }

  protected refuseReply (reply: Reply, memberId: string, errorCode: ErrorCode): void {
    this.answer(reply, {
      kind: 'join', errorCode, memberId, generation: NO_GENERATION, protocolType: null, protocolName: null, leaderId: '', skipAssignment: false, members: []
    })
  }

  protected answerSync (reply: Reply, member: Member): void {
    const { protocolType, protocolName } = this.group
    this.restartSession(member)
    this.answer(reply, { kind: 'sync', errorCode: ErrorCode.NONE, protocolType, protocolName, assignment: member.assignment })
  }

  protected refuseSync (reply: Reply, errorCode: ErrorCode): void {
    this.answer(reply, { kind: 'sync', errorCode, protocolType: null, protocolName: null, assignment: NO_ASSIGNMENT })
  }

  protected answerHeartbeat (reply: Reply, errorCode: ErrorCode): void {
    this.answer(reply, { kind: 'heartbeat', errorCode })
  }

  protected answerLeave (reply: Reply, members: LeaveAnswer['members']): void {
    this.answer(reply, { kind: 'leave', members })
  }

  private answer (reply: Reply, answer: Answer): void {
    this.effects.push({ kind: 'answer', reply, answer })
  }
}
