/**
 * Incremental fetch sessions (KIP-227): the broker remembers which partitions a consumer fetches and what it last told about
 * them, so that requests list only what changed and answers only what is new.
 *
 * A session belongs to an id and moves one epoch per request, whichever connection it comes from. Sessions are a cache: a full
 * one refuses new sessions (id 0: the client sends full requests) until an old one is stale, and a client whose session is
 * gone is told so and starts a new one. `open` is synchronous; the epoch is taken when the request arrives.
 */
import { randomInt } from 'node:crypto'
import { ErrorCode } from '../../protocol/error-codes.js'
import type { Clock } from '../clock.js'
import type { FetchTarget } from './plan.js'

/** As a request lists it. */
export interface FetchPartition extends FetchTarget {
  /** '' where the request names topics by id. */
  readonly topic: string
  readonly topicId: string
  readonly partition: number
}

/** What a session knows of one of its partitions. */
export interface SessionPartition extends FetchPartition {
  /** As last told to the client; -1 makes the next answer tell it again. */
  toldHighWatermark: number
  toldLogStartOffset: number
}

export interface FetchSessionRequest {
  readonly sessionId: number
  readonly sessionEpoch: number
  /** The request names topics by id (version 13 and later). */
  readonly usesTopicIds: boolean
  readonly partitions: readonly FetchPartition[]
  readonly forgotten: readonly Pick<FetchPartition, 'topic' | 'topicId' | 'partition'>[]
}

/** What became of one partition, as far as a session cares. */
export interface FetchedPartition {
  readonly errorCode: number
  readonly highWatermark: number
  readonly logStartOffset: number
  readonly recordBytes: number
  readonly diverged: boolean
}

export interface FetchContext {
  /** To send; 0 when there is no session. */
  readonly sessionId: number
  /** What to fetch, in the order in which partitions have a claim to the response's bytes. */
  readonly partitions: readonly FetchPartition[]
  /** Whether the answer must tell this outcome. Call it once for each partition, when the answer is final. */
  mustTell (partition: FetchPartition, fetched: FetchedPartition): boolean
}

export interface FetchSessionRefusal {
  readonly errorCode: ErrorCode
}

export interface FetchSessions {
  open (request: FetchSessionRequest): FetchContext | FetchSessionRefusal
  readonly count: number
}

export interface FetchSessionsOptions {
  readonly clock: Clock
  /** `max.incremental.fetch.session.cache.slots`. */
  readonly slotsMax: number
  /** Partitions in all sessions together. */
  readonly partitionsMax?: number
  /** A random id from 1 to 2^31 - 1. */
  readonly randomId?: () => number
}

const EPOCH_INITIAL = 0
const EPOCH_FINAL = -1
const EPOCH_MAX = 0x7fffffff
/** A session is safe from younger ones for so long (Kafka: MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS). */
const EVICTION_AGE_MS = 120_000
const PARTITIONS_MAX = 500_000

interface Session {
  readonly id: number
  readonly usesTopicIds: boolean
  readonly createdMs: number
  usedMs: number
  /** The epoch that the next request must have. */
  epoch: number
  /** In the order of their claims: who got records goes to the end. */
  readonly partitions: Map<string, SessionPartition>
}

export function createFetchSessions (options: FetchSessionsOptions): FetchSessions {
  return new SessionCache(options)
}

class SessionCache implements FetchSessions {
  readonly #sessions = new Map<number, Session>()
  readonly #clock: Clock
  readonly #slotsMax: number
  readonly #partitionsMax: number
  readonly #randomId: () => number
  #partitionCount = 0

  constructor (options: FetchSessionsOptions) {
    this.#clock = options.clock
    this.#slotsMax = options.slotsMax
    this.#partitionsMax = options.partitionsMax ?? PARTITIONS_MAX
    this.#randomId = options.randomId ?? (() => randomInt(1, EPOCH_MAX))
  }

  get count (): number { return this.#sessions.size }

  open (request: FetchSessionRequest): FetchContext | FetchSessionRefusal {
    if (request.sessionEpoch === EPOCH_INITIAL || request.sessionEpoch === EPOCH_FINAL) {
      const old = this.#sessions.get(request.sessionId)
      if (old !== undefined) this.#remove(old)
      const session = request.sessionEpoch === EPOCH_INITIAL ? this.#create(request) : undefined
      return session === undefined ? sessionless(request.partitions) : fullContext(session)
    }
    const session = this.#sessions.get(request.sessionId)
    if (session === undefined) return { errorCode: ErrorCode.FETCH_SESSION_ID_NOT_FOUND }
    if (session.epoch !== request.sessionEpoch) return { errorCode: ErrorCode.INVALID_FETCH_SESSION_EPOCH }
    if (session.usesTopicIds !== request.usesTopicIds) return { errorCode: ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR }
    this.#update(session, request)
    if (session.partitions.size > 0 && this.#partitionCount <= this.#partitionsMax) return incrementalContext(session)
    this.#remove(session)
    return session.partitions.size === 0 ? sessionless([]) : { errorCode: ErrorCode.FETCH_SESSION_ID_NOT_FOUND }
  }

  #create (request: FetchSessionRequest): Session | undefined {
    const size = request.partitions.length
    // A session without partitions would have nothing to be incremental about.
    if (size === 0 || this.#partitionCount + size > this.#partitionsMax) return undefined
    const nowMs = this.#clock.monotonic()
    if (this.#sessions.size >= this.#slotsMax && !this.#evict(size, nowMs)) return undefined
    let id = this.#randomId()
    while (this.#sessions.has(id)) id = this.#randomId()
    const session: Session = { id, usesTopicIds: request.usesTopicIds, createdMs: nowMs, usedMs: nowMs, epoch: 1, partitions: new Map() }
    for (const partition of request.partitions) session.partitions.set(keyOf(partition), remembered(partition))
    this.#sessions.set(id, session)
    this.#partitionCount += session.partitions.size
    return session
  }

  #update (session: Session, request: FetchSessionRequest): void {
    session.usedMs = this.#clock.monotonic()
    session.epoch = session.epoch === EPOCH_MAX ? 1 : session.epoch + 1
    const sizeBefore = session.partitions.size
    for (const partition of request.partitions) {
      const key = keyOf(partition)
      const known = session.partitions.get(key)
      const next = remembered(partition)
      if (known !== undefined) {
        next.toldHighWatermark = known.toldHighWatermark
        next.toldLogStartOffset = known.toldLogStartOffset
      }
      session.partitions.set(key, next)
    }
    for (const partition of request.forgotten) session.partitions.delete(keyOf(partition))
    this.#partitionCount += session.partitions.size - sizeBefore
  }

  /** Makes room for a session of `size` partitions as Kafka does: a stale one goes first, else the smallest if it is old and smaller. */
  #evict (size: number, nowMs: number): boolean {
    let stalest: Session | undefined
    let smallest: Session | undefined
    for (const session of this.#sessions.values()) {
      if (stalest === undefined || session.usedMs < stalest.usedMs) stalest = session
      if (nowMs - session.createdMs <= EVICTION_AGE_MS) continue
      if (smallest === undefined || session.partitions.size < smallest.partitions.size) smallest = session
    }
    const victim = stalest !== undefined && nowMs - stalest.usedMs > EVICTION_AGE_MS
      ? stalest
      : smallest !== undefined && smallest.partitions.size < size ? smallest : undefined
    if (victim === undefined) return false
    this.#remove(victim)
    return true
  }

  #remove (session: Session): void {
    this.#sessions.delete(session.id)
    this.#partitionCount -= session.partitions.size
  }
}

function sessionless (partitions: readonly FetchPartition[]): FetchContext {
  return { sessionId: 0, partitions, mustTell: () => true }
}

/** The first answer of a session tells everything and remembers what it told. */
function fullContext (session: Session): FetchContext {
  return {
    sessionId: session.id,
    partitions: [...session.partitions.values()],
    mustTell (partition, fetched) {
      remember(session, partition, fetched)
      return true
    }
  }
}

function incrementalContext (session: Session): FetchContext {
  return {
    sessionId: session.id,
    partitions: [...session.partitions.values()],
    mustTell: (partition, fetched) => remember(session, partition, fetched)
  }
}

function remember (session: Session, partition: FetchPartition, fetched: FetchedPartition): boolean {
  const key = keyOf(partition)
  const known = session.partitions.get(key)
  // A later request of the session took the partition out meanwhile.
  if (known === undefined) return true
  if (fetched.errorCode !== ErrorCode.NONE) {
    // The answer after an error tells the partition in any case, so that the client knows the error is over.
    known.toldHighWatermark = -1
    return true
  }
  const changed = fetched.recordBytes > 0 || fetched.diverged ||
    known.toldHighWatermark !== fetched.highWatermark || known.toldLogStartOffset !== fetched.logStartOffset
  known.toldHighWatermark = fetched.highWatermark
  known.toldLogStartOffset = fetched.logStartOffset
  if (fetched.recordBytes > 0) {
    // Others come first next time: a limit on bytes must not starve them.
    session.partitions.delete(key)
    session.partitions.set(key, known)
  }
  return changed
}

function keyOf ({ topic, topicId, partition }: Pick<FetchPartition, 'topic' | 'topicId' | 'partition'>): string {
  return `${topic}/${topicId}/${partition}`
}

function remembered (partition: FetchPartition): SessionPartition {
  return {
    topic: partition.topic,
    topicId: partition.topicId,
    partition: partition.partition,
    fetchOffset: partition.fetchOffset,
    partitionMaxBytes: partition.partitionMaxBytes,
    currentLeaderEpoch: partition.currentLeaderEpoch,
    lastFetchedEpoch: partition.lastFetchedEpoch,
    toldHighWatermark: -1,
    toldLogStartOffset: -1
  }
}
