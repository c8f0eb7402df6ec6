/**
 * The classic consumer groups of this broker. Owns what the pure state machine (group-state.ts) does not: timers, the log, the requests
 * that wait for an answer, and the committed offsets.
 *
 * An answer that a write stands behind (a leader's assignment, a commit) is given when the write is durable. After a restart a group
 * is as it was last stored, with new sessions, so that members that come back in time just go on.
 */
import { randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'
import type { BrokerConfig } from '../config/broker-config.js'
import type { Clock, Timer } from '../clock.js'
import type { StateRecord } from '../state-log.js'
import type { Topics } from '../topics/topics.js'
import { emptyGroup, type Answer, type Effect, type Group, type GroupEvent, type GroupLimits, type JoinAnswer, type JoinRequest, type LeaveAnswer, type MemberIdentity, type Reply, type SyncAnswer, type SyncRequest, type TimerKey } from './group.js'
import { checkMember, step } from './group-state.js'
import { GroupStorage } from './group-storage.js'
import { groupDeletedRecord, groupRecord, offsetRecord, type CommittedOffset } from './records.js'

export interface GroupCoordinatorOptions {
  readonly topics: Topics
  readonly config: BrokerConfig
  readonly clock: Clock
  readonly logger: Logger
}

/** One offset of a commit. */
export interface OffsetToCommit {
  readonly topicName: string
  readonly partition: number
  readonly offset: number
  readonly leaderEpoch: number
  readonly metadata: string
}

/** A group with all that belongs to it. */
interface Entry {
  group: Group
  readonly timers: Map<TimerKey, Timer>
  /** By topic, then by partition. */
  readonly offsets: Map<string, Map<number, CommittedOffset>>
}

/** Opens the coordinator with everything that was stored. */
export async function openGroupCoordinator (options: GroupCoordinatorOptions): Promise<GroupCoordinator> {
  const coordinator = new GroupCoordinator(options)
  await coordinator.load()
  return coordinator
}

export class GroupCoordinator {
  private readonly entries = new Map<string, Entry>()
  private readonly waiting = new Map<Reply, (answer: Answer) => void>()
  private readonly storage: GroupStorage
  private readonly limits: GroupLimits
  private readonly unsubscribe: () => void
  private expiryTimer: Timer | undefined
  private nextReply = 1
  private closed = false

  constructor (private readonly options: GroupCoordinatorOptions) {
    const { topics, config, clock } = options
    this.storage = new GroupStorage({ topics, config, clock, live: (partition) => this.live(partition) })
    this.limits = {
      initialRebalanceDelayMs: config['group.initial.rebalance.delay.ms'],
      groupSizeMax: config['group.max.size']
    }
    this.unsubscribe = topics.onChange((change) => {
      if (change.kind === 'deleted') this.dropOffsetsOf(change.topic.name)
    })
  }

  async load (): Promise<void> {
    await this.storage.load((record) => {
      const entry = this.entry(record.groupId)
      if (record.kind === 'offset') setOffset(entry, record.topicName, record.partition, record.value)
      else entry.group = record.value ?? emptyGroup(record.groupId, this.options.clock.now())
    })
    for (const [groupId, entry] of this.entries) {
      if (isForgotten(entry)) this.entries.delete(groupId)
      for (const { memberId, sessionTimeoutMs } of entry.group.members.values()) this.startTimer(groupId, entry, `session:${memberId}`, sessionTimeoutMs)
    }
    this.expireOffsetsLater()
  }

  /** Makes the topic where groups are stored: a client that looks for its coordinator is about to need it. */
  async ready (): Promise<Refusal | undefined> {
    return this.closed ? { errorCode: ErrorCode.COORDINATOR_NOT_AVAILABLE, errorMessage: 'the broker is closing' } : await this.storage.ensure()
  }

  async join (groupId: string, request: Omit<JoinRequest, 'reply' | 'newMemberId'>): Promise<JoinAnswer> {
    const newMemberId = `${request.instanceId ?? (request.clientId === '' ? 'member' : request.clientId)}-${randomUUID()}`
    return await this.ask<JoinAnswer>(groupId, (reply) => ({ kind: 'join', request: { ...request, reply, newMemberId } }))
  }

  async sync (groupId: string, request: Omit<SyncRequest, 'reply'>): Promise<SyncAnswer> {
    return await this.ask<SyncAnswer>(groupId, (reply) => ({ kind: 'sync', request: { ...request, reply } }))
  }

  async heartbeat (groupId: string, member: MemberIdentity, generation: number): Promise<ErrorCode> {
    return (await this.ask<{ errorCode: ErrorCode }>(groupId, (reply) => ({ kind: 'heartbeat', reply, member, generation }))).errorCode
  }

  async leave (groupId: string, members: readonly MemberIdentity[]): Promise<LeaveAnswer> {
    return await this.ask<LeaveAnswer>(groupId, (reply) => ({ kind: 'leave', reply, members }))
  }

  /** Checks that a member may commit, or why not (Kafka: ClassicGroup.validateOffsetCommit). */
  checkCommit (groupId: string, identity: MemberIdentity, generation: number): ErrorCode {
    const group = this.entries.get(groupId)?.group
    if (group === undefined || group.phase === 'Empty') {
      if (generation < 0) return ErrorCode.NONE
      return group === undefined ? ErrorCode.ILLEGAL_GENERATION : ErrorCode.UNKNOWN_MEMBER_ID
    }
    const errorCode = checkMember(group, identity)
    if (errorCode !== ErrorCode.NONE) return errorCode
    if (generation !== group.generation) return ErrorCode.ILLEGAL_GENERATION
    return group.phase === 'CompletingRebalance' ? ErrorCode.REBALANCE_IN_PROGRESS : ErrorCode.NONE
  }

  /** Commits offsets that `checkCommit` allowed: all of them, or none, and durable when this resolves. */
  async commit (groupId: string, memberId: string, offsets: readonly OffsetToCommit[]): Promise<ErrorCode> {
    if (this.closed) return ErrorCode.NOT_COORDINATOR
    if (offsets.length === 0) return ErrorCode.NONE
    this.run(groupId, { kind: 'alive', memberId })
    const committedAtMs = this.options.clock.now()
    const values = offsets.map(({ topicName, partition, offset, leaderEpoch, metadata }) => ({ topicName, partition, value: { offset, leaderEpoch, metadata, committedAtMs } }))
    const records = values.map(({ topicName, partition, value }) => offsetRecord(groupId, topicName, partition, value))
    const refusal = await this.storage.write(groupId, records, () => {
      for (const { topicName, partition, value } of values) setOffset(this.entry(groupId), topicName, partition, value)
    })
    return refusal === undefined ? ErrorCode.NONE : coordinatorError(refusal)
  }

  /** Committed offsets by topic and partition; undefined for a group that has none. */
  offsets (groupId: string): ReadonlyMap<string, ReadonlyMap<number, CommittedOffset>> | undefined {
    return this.entries.get(groupId)?.offsets
  }

  group (groupId: string): Group | undefined { return this.entries.get(groupId)?.group }
  groups (): Group[] { return [...this.entries.values()].map(({ group }) => group) }

  /** Deletes a group without members, with its offsets. */
  async delete (groupId: string): Promise<ErrorCode> {
    const entry = this.entries.get(groupId)
    if (entry === undefined) return ErrorCode.GROUP_ID_NOT_FOUND
    if (entry.group.phase !== 'Empty' || entry.group.pendingMembers.size > 0) return ErrorCode.NON_EMPTY_GROUP
    const refusal = await this.storage.write(groupId, [...offsetDeletions(groupId, entry), groupDeletedRecord(groupId)], () => {
      // A member that joined meanwhile has a group again: that one is stored when its assignment is.
      if (entry.group.phase === 'Empty') this.entries.delete(groupId)
      else entry.offsets.clear()
    })
    return refusal === undefined ? ErrorCode.NONE : coordinatorError(refusal)
  }

  /** Deletes committed offsets of a group (OffsetDelete). */
  async deleteOffsets (groupId: string, partitions: readonly { readonly topicName: string, readonly partition: number }[]): Promise<ErrorCode> {
    const entry = this.entries.get(groupId)
    if (entry === undefined) return ErrorCode.GROUP_ID_NOT_FOUND
    const known = partitions.filter(({ topicName, partition }) => entry.offsets.get(topicName)?.has(partition))
    if (known.length === 0) return ErrorCode.NONE
    const records = known.map(({ topicName, partition }) => offsetRecord(groupId, topicName, partition, null))
    const refusal = await this.storage.write(groupId, records, () => {
      for (const { topicName, partition } of known) setOffset(entry, topicName, partition, null)
    })
    return refusal === undefined ? ErrorCode.NONE : coordinatorError(refusal)
  }

  /** Answers every request that waits, so that its client looks for another coordinator, and stops all timers. */
  async close (): Promise<void> {
    this.closed = true
    this.unsubscribe()
    this.expiryTimer?.cancel()
    for (const entry of this.entries.values()) for (const timer of entry.timers.values()) timer.cancel()
    for (const [reply, resolve] of [...this.waiting]) {
      this.waiting.delete(reply)
      resolve(closedAnswer())
    }
  }

  private async ask<T> (groupId: string, event: (reply: Reply) => GroupEvent): Promise<T> {
    if (this.closed) return closedAnswer() as T
    const reply = this.nextReply++
    return await new Promise<T>((resolve) => {
      this.waiting.set(reply, resolve as (answer: Answer) => void)
      this.run(groupId, event(reply))
    })
  }

  private run (groupId: string, event: GroupEvent): void {
    if (this.closed) return
    const entry = this.entry(groupId)
    const { group, effects } = step(entry.group, event, this.limits, this.options.clock.now())
    if (group.phase !== entry.group.phase) {
      this.options.logger.info({ group: groupId, generation: group.generation, members: group.members.size }, `group ${groupId}: ${entry.group.phase} -> ${group.phase}`)
    }
    entry.group = group
    for (const effect of effects) this.perform(groupId, entry, effect)
    if (isForgotten(entry)) this.entries.delete(groupId)
  }

  private perform (groupId: string, entry: Entry, effect: Effect): void {
    switch (effect.kind) {
      case 'answer': {
        this.waiting.get(effect.reply)?.(effect.answer)
        this.waiting.delete(effect.reply)
        break
      }
      case 'start-timer': this.startTimer(groupId, entry, effect.timer, effect.delayMs); break
      case 'cancel-timer': {
        entry.timers.get(effect.timer)?.cancel()
        entry.timers.delete(effect.timer)
        break
      }
      case 'persist': void this.persist(groupId, entry.group); break
    }
  }

  private async persist (groupId: string, group: Group): Promise<void> {
    const refusal = await this.storage.write(groupId, [groupRecord(group)], () => {})
    if (refusal !== undefined) this.options.logger.error({ group: groupId, reason: refusal.errorMessage }, `group ${groupId} cannot be stored`)
    if (this.entries.has(groupId)) {
      this.run(groupId, { kind: 'stored', generation: group.generation, errorCode: refusal === undefined ? ErrorCode.NONE : coordinatorError(refusal) })
    }
  }

  private startTimer (groupId: string, entry: Entry, key: TimerKey, delayMs: number): void {
    entry.timers.get(key)?.cancel()
    entry.timers.set(key, this.options.clock.setTimer(delayMs, () => {
      entry.timers.delete(key)
      this.run(groupId, timerEvent(key))
    }))
  }

  private entry (groupId: string): Entry {
    let entry = this.entries.get(groupId)
    if (entry === undefined) {
      entry = { group: emptyGroup(groupId, this.options.clock.now()), timers: new Map(), offsets: new Map() }
      this.entries.set(groupId, entry)
    }
    return entry
  }

  private * live (partition: number): Generator<StateRecord> {
    for (const [groupId, { group, offsets }] of this.entries) {
      if (this.storage.partitionOf(groupId) !== partition) continue
      if (group.generation > 0) yield groupRecord(group)
      for (const [topicName, partitions] of offsets) {
        for (const [index, value] of partitions) yield offsetRecord(groupId, topicName, index, value)
      }
    }
  }

  private dropOffsetsOf (topicName: string): void {
    for (const [groupId, entry] of this.entries) {
      const partitions = [...entry.offsets.get(topicName)?.keys() ?? []]
      if (partitions.length > 0) void this.deleteOffsets(groupId, partitions.map((partition) => ({ topicName, partition })))
    }
  }

  private expireOffsetsLater (): void {
    this.expiryTimer = this.options.clock.setTimer(this.options.config['offsets.retention.check.interval.ms'], () => {
      for (const [groupId, entry] of [...this.entries]) void this.expireOffsets(groupId, entry)
      this.expireOffsetsLater()
    })
  }

  /** Offsets of a group without members expire some time after it became empty, or after their commit if it never had any (KIP-211). */
  private async expireOffsets (groupId: string, entry: Entry): Promise<void> {
    if (entry.group.phase !== 'Empty') return
    const retentionMs = this.options.config['offsets.retention.minutes'] * 60_000
    const emptySinceMs = entry.group.generation > 0 ? entry.group.phaseSinceMs : 0
    const nowMs = this.options.clock.now()
    const expired: { topicName: string, partition: number }[] = []
    for (const [topicName, partitions] of entry.offsets) {
      for (const [partition, { committedAtMs }] of partitions) {
        if (Math.max(committedAtMs, emptySinceMs) + retentionMs <= nowMs) expired.push({ topicName, partition })
      }
    }
    await this.deleteOffsets(groupId, expired)
    if (expired.length > 0 && entry.offsets.size === 0) await this.delete(groupId)
  }
}

/** A group that never came to be: someone asked in vain. */
function isForgotten ({ group, offsets, timers }: Entry): boolean {
  return group.phase === 'Empty' && group.generation === 0 && group.pendingMembers.size === 0 && offsets.size === 0 && timers.size === 0
}

function setOffset ({ offsets }: Entry, topicName: string, partition: number, value: CommittedOffset | null): void {
  const partitions = offsets.get(topicName)
  if (value !== null) {
    if (partitions === undefined) offsets.set(topicName, new Map([[partition, value]]))
    else partitions.set(partition, value)
  } else if (partitions !== undefined) {
    partitions.delete(partition)
    if (partitions.size === 0) offsets.delete(topicName)
  }
}

function * offsetDeletions (groupId: string, { offsets }: Entry): Generator<StateRecord> {
  for (const [topicName, partitions] of offsets) for (const partition of partitions.keys()) yield offsetRecord(groupId, topicName, partition, null)
}

function timerEvent (key: TimerKey): GroupEvent {
  if (key === 'join') return { kind: 'join-deadline' }
  if (key === 'sync') return { kind: 'sync-deadline' }
  const memberId = key.slice(key.indexOf(':') + 1)
  return key.startsWith('session:') ? { kind: 'session-expired', memberId } : { kind: 'pending-expired', memberId }
}

/** What a storage failure means to a group's client: look for the coordinator again. */
function coordinatorError ({ errorCode }: Refusal): ErrorCode {
  return errorCode === ErrorCode.MESSAGE_TOO_LARGE ? ErrorCode.INVALID_COMMIT_OFFSET_SIZE : ErrorCode.COORDINATOR_NOT_AVAILABLE
}

/** Fits every kind of request; handlers read the fields of theirs. */
function closedAnswer (): Answer {
  const errorCode = ErrorCode.NOT_COORDINATOR
  return {
    kind: 'join', errorCode, memberId: '', generation: -1, protocolType: null, protocolName: null, leaderId: '', skipAssignment: false, members: [], assignment: Buffer.alloc(0)
  } as Answer
}
