/** What a classic consumer group is: immutable values that group-state.ts turns into the next ones. */
import type { ErrorCode } from '../../protocol/error-codes.js'

/** Kafka's names, as ListGroups and DescribeGroups tell them. Its fifth, Dead, is what a group that does not exist is told to be. */
export type Phase = 'Empty' | 'PreparingRebalance' | 'CompletingRebalance' | 'Stable'

/** A new member waits no longer for its first answer: nobody may know of it any more but the broker. */
export const NEW_MEMBER_JOIN_TIMEOUT_MS = 5 * 60_000

export interface Protocol {
  readonly name: string
  /** Opaque: the client's subscription. */
  readonly metadata: Buffer
}

export interface Member {
  readonly memberId: string
  /** KIP-345: who this is across restarts; null for a dynamic member. */
  readonly instanceId: string | null
  readonly clientId: string
  readonly clientHost: string
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  /** In the member's order of preference. */
  readonly protocols: readonly Protocol[]
  /** Opaque: what the leader gave it. */
  readonly assignment: Buffer
  /** The JoinGroup that waits for an answer. */
  readonly awaitingJoin: Reply | null
  /** The SyncGroup that waits for an answer. */
  readonly awaitingSync: Reply | null
  /** Has sent SyncGroup in this generation. */
  readonly synced: boolean
  /** Has not had an answer to its JoinGroup yet. */
  readonly isNew: boolean
  /** Came back under a new id without a rebalance; its join is answered when that is stored (KIP-345). */
  readonly resumption: Resumption | null
}

export interface Resumption {
  readonly write: Write
  readonly canSkipAssignment: boolean
  /** Who led before. */
  readonly leaderId: string | null
}

/** Numbers the writes of a group. */
export type Write = number

/** The first join of an empty group, which a delay may keep open for more members. */
export interface InitialJoin {
  readonly newMemberAdded: boolean
  /** How much longer it may be kept open. */
  readonly remainingMs: number
}

export interface Group {
  readonly groupId: string
  readonly phase: Phase
  /** Grows with every completed join; 0 before the first. */
  readonly generation: number
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly leaderId: string | null
  /** By member id, in order of joining. */
  readonly members: ReadonlyMap<string, Member>
  /** Ids that were given with MEMBER_ID_REQUIRED and have not come back yet (KIP-394). */
  readonly pendingMembers: ReadonlySet<string>
  /** Not null while the group prepares its first rebalance since it was empty. */
  readonly initialJoin: InitialJoin | null
  /** The last write that was asked for; 0 before the first. */
  readonly writes: Write
  /** The write that makes this generation's assignment durable, while it is under way. */
  readonly storing: Write | null
  /** Wall time in ms when the phase began. */
  readonly phaseSinceMs: number
}

/** Names a request that waits; the coordinator knows whose it is. */
export type Reply = number

export interface JoinRequest {
  readonly reply: Reply
  /** '' for a member that has none yet. */
  readonly memberId: string
  /** The id that it gets then: random, so it comes from outside. */
  readonly newMemberId: string
  readonly instanceId: string | null
  readonly clientId: string
  readonly clientHost: string
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly protocolType: string
  readonly protocols: readonly Protocol[]
  /** A new dynamic member must come back with the id that it is given (v4+, KIP-394). */
  readonly requiresKnownMemberId: boolean
  /** The client understands skipAssignment (v9+, KIP-814). */
  readonly canSkipAssignment: boolean
}

export interface SyncRequest {
  readonly reply: Reply
  readonly memberId: string
  readonly instanceId: string | null
  readonly generation: number
  /** null where the version does not carry it. */
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly assignments: ReadonlyMap<string, Buffer>
}

export interface MemberIdentity {
  readonly memberId: string
  readonly instanceId: string | null
}

export type GroupEvent =
  | { readonly kind: 'join', readonly request: JoinRequest }
  | { readonly kind: 'sync', readonly request: SyncRequest }
  | { readonly kind: 'heartbeat', readonly reply: Reply, readonly member: MemberIdentity, readonly generation: number }
  | { readonly kind: 'leave', readonly reply: Reply, readonly members: readonly MemberIdentity[] }
  /** A member was heard of otherwise: it committed an offset. */
  | { readonly kind: 'alive', readonly memberId: string }
  | { readonly kind: 'session-expired', readonly memberId: string }
  | { readonly kind: 'pending-expired', readonly memberId: string }
  | { readonly kind: 'join-deadline' }
  | { readonly kind: 'sync-deadline' }
  /** The connection of a request that waits is gone. */
  | { readonly kind: 'abandoned', readonly reply: Reply }
  /** What 'persist' asked for is durable, or never will be. */
  | { readonly kind: 'stored', readonly write: Write, readonly errorCode: ErrorCode }

export interface JoinAnswer {
  readonly errorCode: ErrorCode
  readonly memberId: string
  readonly generation: number
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly leaderId: string
  readonly skipAssignment: boolean
  /** For the leader only. */
  readonly members: readonly Member[]
}

export interface SyncAnswer {
  readonly errorCode: ErrorCode
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly assignment: Buffer
}

export interface LeaveAnswer {
  readonly members: readonly (MemberIdentity & { readonly errorCode: ErrorCode })[]
}

export type Answer =
  | ({ readonly kind: 'join' } & JoinAnswer)
  | ({ readonly kind: 'sync' } & SyncAnswer)
  | { readonly kind: 'heartbeat', readonly errorCode: ErrorCode }
  | ({ readonly kind: 'leave' } & LeaveAnswer)

/** One deadline of a group; starting one that runs starts it anew. */
export type TimerKey = `session:${string}` | `pending:${string}` | 'join' | 'sync'

export type Effect =
  | { readonly kind: 'answer', readonly reply: Reply, readonly answer: Answer }
  | { readonly kind: 'start-timer', readonly timer: TimerKey, readonly delayMs: number }
  | { readonly kind: 'cancel-timer', readonly timer: TimerKey }
  /** Write the group as it is now; tell with 'stored' what came of it. */
  | { readonly kind: 'persist', readonly write: Write }

export interface GroupLimits {
  readonly initialRebalanceDelayMs: number
  readonly groupSizeMax: number
}

export function emptyGroup (groupId: string, nowMs: number): Group {
  return {
    groupId,
    phase: 'Empty',
    generation: 0,
    protocolType: null,
    protocolName: null,
    leaderId: null,
    members: new Map(),
    pendingMembers: new Set(),
    initialJoin: null,
    writes: 0,
    storing: null,
    phaseSinceMs: nowMs
  }
}

export function memberWithInstance (group: Group, instanceId: string): Member | undefined {
  for (const member of group.members.values()) if (member.instanceId === instanceId) return member
  return undefined
}

/** The metadata of the protocol that the group has chosen; empty before it has. */
export function chosenMetadata (group: Group, member: Member): Buffer {
  return member.protocols.find(({ name }) => name === group.protocolName)?.metadata ?? Buffer.alloc(0)
}
