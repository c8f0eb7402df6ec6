/** A group under test. */
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import { emptyGroup, type Answer, type Effect, type Group, type GroupEvent, type GroupLimits, type JoinRequest, type Reply, type Write } from '../../../src/broker/groups/group.js'
import { step } from '../../../src/broker/groups/group-state.js'

export const LIMITS: GroupLimits = { initialRebalanceDelayMs: 0, groupSizeMax: 5 }
export const RANGE = [{ name: 'range', metadata: Buffer.from('r') }]
export const BOTH = [...RANGE, { name: 'sticky', metadata: Buffer.from('s') }]

export function joinRequest (change: Partial<JoinRequest>): JoinRequest {
  return {
    reply: 0, memberId: '', newMemberId: 'new', instanceId: null, clientId: 'c', clientHost: '/127.0.0.1', sessionTimeoutMs: 10_000,
    rebalanceTimeoutMs: 60_000, protocolType: 'consumer', protocols: RANGE, requiresKnownMemberId: false, canSkipAssignment: false, ...change
  }
}

/** Events in, answers by reply out. */
export class Machine {
  group: Group = emptyGroup('g', 0)
  readonly answers = new Map<Reply, Answer>()
  readonly timers = new Map<string, number>()
  readonly writes: Write[] = []
  persistCount = 0
  private nextReply = 1

  constructor (public limits: GroupLimits = LIMITS) {}

  send (event: GroupEvent): readonly Effect[] {
    const { group, effects } = step(this.group, event, this.limits, 0)
    this.group = group
    for (const effect of effects) {
      if (effect.kind === 'answer') {
        if (this.answers.has(effect.reply)) throw new Error(`reply ${effect.reply} is answered twice`)
        this.answers.set(effect.reply, effect.answer)
      } else if (effect.kind === 'start-timer') this.timers.set(effect.timer, effect.delayMs)
      else if (effect.kind === 'cancel-timer') this.timers.delete(effect.timer)
      else {
        this.persistCount++
        this.writes.push(effect.write)
      }
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

  /** The last write is done; those before it are forgotten. */
  stored (errorCode: ErrorCode = ErrorCode.NONE): void {
    this.writes.length = 0
    this.send({ kind: 'stored', write: this.group.writes, errorCode })
  }

  storeOldest (errorCode: ErrorCode): void {
    const write = this.writes.shift()
    if (write !== undefined) this.send({ kind: 'stored', write, errorCode })
  }

  /** Ends a timer, if it runs. */
  expire (timer: string): void {
    if (!this.timers.delete(timer)) return
    if (timer === 'join' || timer === 'sync') this.send({ kind: `${timer}-deadline` })
    else this.send({ kind: timer.startsWith('session:') ? 'session-expired' : 'pending-expired', memberId: timer.slice(timer.indexOf(':') + 1) })
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
