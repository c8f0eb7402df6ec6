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
import { ZERO_UUID } from '../../protocol/schema.js'
import type { BrokerConfig } from '../config/broker-config.js'
import type { Clock, Timer } from '../clock.js'
import type { StateRecord } from '../state-log.js'
import type { Topics } from '../topics/topics.js'
import { CommittedOffsets, expiredOffsets, type TopicPartition } from './committed-offsets.js'
import {
  emptyGroup, type Answer, type Effect, type Group, type GroupEvent, type GroupLimits, type JoinAnswer, type JoinRequest, type LeaveAnswer,
  type MemberIdentity, type Reply, type SyncAnswer, type SyncRequest, type TimerKey, type Write
} from './group.js'
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
export interface OffsetToCommit extends TopicPartition {
  readonly topicId: string
  readonly offset: number
  readonly leaderEpoch: number
  readonly metadata: string
}

/** A group with all that belongs to it. */
interface Entry {
  group: Group
  /** The group as it stands in the log; undefined when it does not. */
  stored: Group | undefined
  readonly timers: Map<TimerKey, Timer>
  readonly offsets: CommittedOffsets
  /** Commits on their way to the log: a deletion that follows them must delete them too. */
  readonly commitsInFlight: Set<readonly OffsetToCommit[]>
}

/** A request that waits for the group. */
interface Waiting {
  readonly resolve: (answer: Answer) => void
  readonly forget: () => void
}

/** Opens the coordinator with everything that was stored. */
export async function openGroupCoordinator (options: GroupCoordinatorOptions): Promise<GroupCoordinator> {
  const coordinator = new GroupCoordinator(options)
  await coordinator.load()
  return coordinator
}

export class GroupCoordinator {
  private readonly entries = new Map<string, Entry>()
  private readonly waiting = new Map<Reply, Waiting>()
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
      if (change.kind === 'deleted') for (const groupId of this.entries.keys()) this.dropOrphans(groupId)
    })
  }

  async load (): Promise<void> {
    await this.storage.load((record) => {
      const entry = this.entry(record.groupId)
      if (record.kind === 'group') {
        entry.stored = record.value ?? undefined
        entry.group = record.value ?? emptyGroup(record.groupId, this.options.clock.now())
      } else if (record.value !== null) entry.offsets.set(record, record.value)
      else entry.offsets.delete(record)
    })
    for (const [groupId, entry] of this.entries) {
      for (const { memberId, sessionTimeoutMs } of entry.group.members.values()) this.startTimer(groupId, entry, `session:${memberId}`, sessionTimeoutMs)
      this.dropOrphans(groupId)
      this.forgetIfNothing(groupId)
    }
    this.expireOffsetsLater()
  }

  /** Makes the topic where groups are stored: a client that looks for its coordinator is about to need it. */
  async ready (): Promise<Refusal | undefined> {
    return this.closed ? { errorCode: ErrorCode.COORDINATOR_NOT_AVAILABLE, errorMessage: 'the broker is closing' } : await this.storage.ensure()
  }

  /** `closed` tells when nobody waits for the answer any more; for `sync` too. */
  async join (groupId: string, request: Omit<JoinRequest, 'reply' | 'newMemberId'>, closed?: AbortSignal): Promise<JoinAnswer> {
    const newMemberId = `${request.instanceId ?? request.clientId}-${randomUUID()}`
    return await this.ask<JoinAnswer>(groupId, (reply) => ({ kind: 'join', request: { ...request, reply, newMemberId } }), closed)
  }

  async sync (groupId: string, request: Omit<SyncRequest, 'reply'>, closed?: AbortSignal): Promise<SyncAnswer> {
    return await this.ask<SyncAnswer>(groupId, (reply) => ({ kind: 'sync', request: { ...request, reply } }), closed)
  }

  async heartbeat (groupId: string, member: MemberIdentity, generation: number): Promise<ErrorCode> {
    return (await this.ask<{ errorCode: ErrorCode }>(groupId, (reply) => ({ kind: 'heartbeat', reply, member, generation }))).errorCode
  }

  async leave (groupId: string, members: readonly MemberIdentity[]): Promise<LeaveAnswer> {
    return await this.ask<LeaveAnswer>(groupId, (reply) => ({ kind: 'leave', reply, members }))
  }

  /** Checks that a member may commit, or why not (Kafka: ClassicGroup.validateOffsetCommit); a member that may is alive. */
  checkCommit (groupId: string, identity: MemberIdentity, generation: number): ErrorCode {
    const group = this.entries.get(groupId)?.group
    // Consumers that manage their partitions themselves, and administrators.
    if (generation < 0 && (group === undefined || group.phase === 'Empty')) return ErrorCode.NONE
    if (group === undefined) return ErrorCode.GROUP_ID_NOT_FOUND
    const errorCode = checkMember(group, identity)
    if (errorCode !== ErrorCode.NONE) return errorCode
    if (generation !== group.generation) return ErrorCode.ILLEGAL_GENERATION
    if (group.phase === 'CompletingRebalance') return ErrorCode.REBALANCE_IN_PROGRESS
    this.run(groupId, { kind: 'alive', memberId: identity.memberId })
    return ErrorCode.NONE
  }

  /** Commits offsets that `checkCommit` allowed: all of them, or none, and durable when this resolves. */
  async commit (groupId: string, offsets: readonly OffsetToCommit[]): Promise<ErrorCode> {
    if (this.closed) return ErrorCode.NOT_COORDINATOR
    if (offsets.length === 0) return ErrorCode.NONE
    const committedAtMs = this.options.clock.now()
    const records = offsets.map((offset) => offsetRecord(groupId, offset.topicName, offset.partition, { ...offset, committedAtMs }))
    const { commitsInFlight } = this.entry(groupId)
    commitsInFlight.add(offsets)
    const refusal = await this.storage.write(groupId, records, () => {
      const entry = this.entry(groupId)
      // A topic that was deleted meanwhile takes its offsets with it.
      for (const offset of offsets) if (this.isCurrent(offset)) entry.offsets.set(offset, valueOf(offset, committedAtMs))
    })
    commitsInFlight.delete(offsets)
    this.forgetIfNothing(groupId)
    return refusal === undefined ? ErrorCode.NONE : coordinatorError(refusal, ErrorCode.INVALID_COMMIT_OFFSET_SIZE)
  }

  /** Committed offsets by topic and partition; undefined for a group that has none. */
  offsets (groupId: string): ReadonlyMap<string, ReadonlyMap<number, CommittedOffset>> | undefined {
    return this.entries.get(groupId)?.offsets.byTopic
  }

  group (groupId: string): Group | undefined { return this.entries.get(groupId)?.group }
  groups (): Group[] { return [...this.entries.values()].map(({ group }) => group) }

  /** Deletes a group without members, with its offsets. */
  async delete (groupId: string): Promise<ErrorCode> {
    const entry = this.entries.get(groupId)
    if (this.closed) return ErrorCode.NOT_COORDINATOR
    if (entry === undefined) return ErrorCode.GROUP_ID_NOT_FOUND
    if (entry.group.phase !== 'Empty') return ErrorCode.NON_EMPTY_GROUP
    const offsets = [...entry.offsets, ...[...entry.commitsInFlight].flat()]
    const records = [...offsets.map(({ topicName, partition }) => offsetRecord(groupId, topicName, partition, null)), groupDeletedRecord(groupId)]
    const refusal = await this.storage.write(groupId, records, () => {
      entry.offsets.clear()
      entry.stored = undefined
      // A member that joined meanwhile has a group again: that one is stored when its assignment is.
      if (entry.group.phase !== 'Empty' || this.entries.get(groupId) !== entry) return
      for (const timer of entry.timers.values()) timer.cancel()
      this.entries.delete(groupId)
    })
    return refusal === undefined ? ErrorCode.NONE : coordinatorError(refusal, ErrorCode.UNKNOWN_SERVER_ERROR)
  }

  /** Deletes committed offsets of a group (OffsetDelete). */
  async deleteOffsets (groupId: string, partitions: readonly TopicPartition[]): Promise<ErrorCode> {
    const entry = this.entries.get(groupId)
    if (this.closed) return ErrorCode.NOT_COORDINATOR
    if (entry === undefined) return ErrorCode.GROUP_ID_NOT_FOUND
    const inFlight = [...entry.commitsInFlight].flat()
    const known = partitions.filter((one) => entry.offsets.get(one) !== undefined ||
      inFlight.some(({ topicName, partition }) => topicName === one.topicName && partition === one.partition))
    if (known.length === 0) return ErrorCode.NONE
    const records = known.map(({ topicName, partition }) => offsetRecord(groupId, topicName, partition, null))
    const refusal = await this.storage.write(groupId, records, () => {
      for (const one of known) entry.offsets.delete(one)
    })
    this.forgetIfNothing(groupId)
    return refusal === undefined ? ErrorCode.NONE : coordinatorError(refusal, ErrorCode.UNKNOWN_SERVER_ERROR)
  }

  /** Answers every request that waits, so that its client looks for another coordinator, and stops all timers. */
  async close (): Promise<void> {
    this.closed = true
    this.unsubscribe()
    this.expiryTimer?.cancel()
    for (const entry of this.entries.values()) for (const timer of entry.timers.values()) timer.cancel()
    for (const reply of [...this.waiting.keys()]) this.answer(reply, closedAnswer())
    await this.storage.close()
  }

  private async ask<T> (groupId: string, event: (reply: Reply) => GroupEvent, closed?: AbortSignal): Promise<T> {
    if (this.closed) return closedAnswer() as T
    const reply = this.nextReply++
    return await new Promise<T>((resolve) => {
      const abandon = (): void => this.run(groupId, { kind: 'abandoned', reply })
      this.waiting.set(reply, { resolve: resolve as (answer: Answer) => void, forget: () => closed?.removeEventListener('abort', abandon) })
      this.run(groupId, event(reply))
      if (!this.waiting.has(reply)) return
      if (closed?.aborted === true) abandon()
      else closed?.addEventListener('abort', abandon, { once: true })
    })
  }

  private answer (reply: Reply, answer: Answer): void {
    const waiting = this.waiting.get(reply)
    this.waiting.delete(reply)
    waiting?.forget()
    waiting?.resolve(answer)
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
    this.forgetIfNothing(groupId)
  }

  private perform (groupId: string, entry: Entry, effect: Effect): void {
    switch (effect.kind) {
      case 'answer': this.answer(effect.reply, effect.answer); break
      case 'start-timer': this.startTimer(groupId, entry, effect.timer, effect.delayMs); break
      case 'cancel-timer': {
        entry.timers.get(effect.timer)?.cancel()
        entry.timers.delete(effect.timer)
        break
      }
      case 'persist': void this.persist(groupId, entry, effect.write); break
    }
  }

  private async persist (groupId: string, entry: Entry, write: Write): Promise<void> {
    const { group } = entry
    const refusal = await this.storage.write(groupId, [groupRecord(group)], () => { entry.stored = group })
    if (refusal !== undefined) this.options.logger.error({ group: groupId, reason: refusal.errorMessage }, `group ${groupId} cannot be stored`)
    if (this.entries.get(groupId) !== entry) return
    this.run(groupId, { kind: 'stored', write, errorCode: refusal === undefined ? ErrorCode.NONE : coordinatorError(refusal, ErrorCode.UNKNOWN_SERVER_ERROR) })
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
      entry = { group: emptyGroup(groupId, this.options.clock.now()), stored: undefined, timers: new Map(), offsets: new CommittedOffsets(), commitsInFlight: new Set() }
      this.entries.set(groupId, entry)
    }
    return entry
  }

  /** A group that never came to be leaves nothing: someone asked in vain. */
  private forgetIfNothing (groupId: string): void {
    const entry = this.entries.get(groupId)
    if (entry === undefined) return
    const { group, stored, timers, offsets, commitsInFlight } = entry
    const isNothing = group.phase === 'Empty' && group.generation === 0 && stored === undefined && timers.size === 0 && offsets.isEmpty && commitsInFlight.size === 0
    if (isNothing) this.entries.delete(groupId)
  }

  /** What compaction keeps: groups as they were stored, for what they have become since is not agreed upon yet. */
  private * live (partition: number): Generator<StateRecord> {
    for (const [groupId, { stored, offsets }] of this.entries) {
      if (this.storage.partitionOf(groupId) !== partition) continue
      if (stored !== undefined) yield groupRecord(stored)
      for (const { topicName, partition: index, value } of offsets) yield offsetRecord(groupId, topicName, index, value)
    }
  }

  private isCurrent ({ topicName, topicId }: { readonly topicName: string, readonly topicId: string }): boolean {
    const topic = this.options.topics.get(topicName)
    return topic !== undefined && (topicId === ZERO_UUID || topicId === topic.id)
  }

  /** Deletes a group's offsets of topics that are not there any more. */
  private dropOrphans (groupId: string): void {
    const orphans = [...this.entries.get(groupId)?.offsets ?? []].filter(({ topicName, value }) => !this.isCurrent({ topicName, topicId: value.topicId }))
    if (orphans.length > 0) void this.deleteOffsets(groupId, orphans)
  }

  private expireOffsetsLater (): void {
    this.expiryTimer = this.options.clock.setTimer(this.options.config['offsets.retention.check.interval.ms'], () => {
      for (const groupId of [...this.entries.keys()]) void this.expireOffsets(groupId)
      this.expireOffsetsLater()
    })
  }

  /** A group without members goes with the last of its offsets. */
  private async expireOffsets (groupId: string): Promise<void> {
    const { group, offsets, commitsInFlight } = this.entries.get(groupId)!
    const expired = expiredOffsets(group, offsets, this.options.config['offsets.retention.minutes'] * 60_000, this.options.clock.now())
    await this.deleteOffsets(groupId, expired)
    const isIdle = group.phase === 'Empty' && group.pendingMembers.size === 0 && offsets.isEmpty && commitsInFlight.size === 0
    if (isIdle && this.entries.get(groupId)?.group === group) await this.delete(groupId)
  }
}

function valueOf ({ offset, leaderEpoch, metadata, topicId }: OffsetToCommit, committedAtMs: number): CommittedOffset {
  return { offset, leaderEpoch, metadata, committedAtMs, topicId }
}

function timerEvent (key: TimerKey): GroupEvent {
  if (key === 'join') return { kind: 'join-deadline' }
  if (key === 'sync') return { kind: 'sync-deadline' }
  const memberId = key.slice(key.indexOf(':') + 1)
  return key.startsWith('session:') ? { kind: 'session-expired', memberId } : { kind: 'pending-expired', memberId }
}

/** What a storage failure means to a group's client: look for the coordinator again, unless the request itself is too large. */
function coordinatorError ({ errorCode }: Refusal, tooLarge: ErrorCode): ErrorCode {
  switch (errorCode) {
    case ErrorCode.MESSAGE_TOO_LARGE:
    case ErrorCode.RECORD_LIST_TOO_LARGE: return tooLarge
    case ErrorCode.KAFKA_STORAGE_ERROR: return ErrorCode.NOT_COORDINATOR
    default: return ErrorCode.COORDINATOR_NOT_AVAILABLE
  }
}

/** Fits every kind of request; handlers read the fields of theirs. */
function closedAnswer (): Answer {
  const errorCode = ErrorCode.NOT_COORDINATOR
  return {
    kind: 'join', errorCode, memberId: '', generation: -1, protocolType: null, protocolName: null, leaderId: '', skipAssignment: false, members: [], assignment: Buffer.alloc(0)
  } as Answer
}
