/**
 * How the broker is, for people and for what starts and stops brokers: `ok`; `degraded` when something takes no records or makes clients
 * wait while the rest goes on; `failed` when nothing can be written. Each reason names what it is about and says what to do. A broker
 * mends itself when its disk is well again, so a bad health is no reason to start it anew.
 */
import { SLOW_MS, type AppendStatistics, type Wait } from './append-statistics.js'
import type { Clock } from './clock.js'
import type { FreeSpace } from './free-space.js'
import type { Partition } from './partitions/partition.js'
import { OFFSETS_TOPIC } from './groups/group-storage.js'
import { PRODUCER_SNAPSHOTS_TOPIC } from './partitions/producer-snapshot-log.js'
import { METADATA_TOPIC } from './topics/metadata-log.js'
import type { Topics } from './topics/topics.js'

export interface Health {
  readonly status: 'ok' | 'degraded' | 'failed'
  /** Sentences; none when all is well. */
  readonly reasons: readonly string[]
}

/** How long a slow or refused append is remembered: who asks now and then hears of it, as a probe of Kubernetes does every ten seconds. */
export const REMEMBERED_MS = 10_000

/** A log that takes no records until it is open again. */
export interface FailedLog {
  readonly topicName: string
  readonly index: number
  readonly reason: string
}

export interface HealthFacts {
  /** Where the data are. */
  readonly place: string
  readonly failed: readonly FailedLog[]
  /** Partitions of clients' topics, failed or not. */
  readonly partitionCount: number
  /** The batch that waits longest for the disk. */
  readonly waiting?: Wait
  /** The last one that waited too long, and how long ago that was. */
  readonly lastSlow?: Wait & { readonly agoMs: number }
  /** Why producers are refused for lack of space, and how long ago one was. */
  readonly lack?: { readonly message: string, readonly agoMs: number }
}

const NAMES_MAX = 3

/** What it means that logs of these topics take no records; of all others, that their producers are refused. */
const MEANINGS: Readonly<Record<string, string>> = {
  [METADATA_TOPIC]: 'no topic can be made or changed',
  [OFFSETS_TOPIC]: 'groups cannot rebalance or commit there',
  [PRODUCER_SNAPSHOTS_TOPIC]: 'the next start has to read more of the logs'
}
const MEANING_OF_RECORDS = 'producers are refused there'

export function judgeHealth (facts: HealthFacts): Health {
  const byMeaning = new Map<string, FailedLog[]>()
  for (const log of facts.failed) {
    const meaning = MEANINGS[log.topicName] ?? MEANING_OF_RECORDS
    const others = byMeaning.get(meaning)
    if (others === undefined) byMeaning.set(meaning, [log])
    else others.push(log)
  }
  const reasons = [...byMeaning].map(([meaning, logs]) => `${namesOf(logs)} no records (${logs[0]!.reason}), so ${meaning}: mend the disk with ${facts.place}; a log is open again by itself within a minute of that`)
  const { waiting, lastSlow, lack } = facts
  const advice = `the disk with ${facts.place} is too slow: see what else keeps it busy, or move the data to a faster one`
  if (waiting !== undefined && waiting.waitedMs > SLOW_MS) reasons.push(`a batch for ${waiting.name} has been waiting ${seconds(waiting.waitedMs)} to be written, so ${advice}`)
  else if (lastSlow !== undefined && lastSlow.agoMs <= REMEMBERED_MS) reasons.push(`a batch for ${lastSlow.name} waited ${seconds(lastSlow.waitedMs)} to be written, ${seconds(lastSlow.agoMs)} ago, so ${advice}`)
  if (lack !== undefined && lack.agoMs <= REMEMBERED_MS) reasons.push(`producers are refused for lack of space in ${facts.place}: ${lack.message}`)
  const isFailed = byMeaning.has(MEANINGS[METADATA_TOPIC]!) || (facts.partitionCount > 0 && byMeaning.get(MEANING_OF_RECORDS)?.length === facts.partitionCount)
  return { status: isFailed ? 'failed' : reasons.length > 0 ? 'degraded' : 'ok', reasons }
}

export interface HealthSources {
  readonly topics: Topics
  /** The broker's own logs that no topic has. */
  readonly ownLogs: readonly Partition[]
  readonly statistics: AppendStatistics
  readonly freeSpace: FreeSpace
  readonly clock: Clock
  readonly place: string
}

/** A walk over all partitions and nothing else: a fraction of a millisecond for thousands of them. */
export function healthFacts ({ topics, ownLogs, statistics, freeSpace, clock, place }: HealthSources): HealthFacts {
  const nowMs = clock.monotonic()
  const { lastSlow, lastFull } = statistics
  const failed: FailedLog[] = []
  let partitionCount = 0
  let oldest: Partition | undefined
  for (const { partitions, internal } of [{ partitions: ownLogs, internal: true }, ...topics.all()]) {
    if (!internal) partitionCount += partitions.length
    for (const partition of partitions) {
      const { topicName, index, failure, waitingSinceMs } = partition
      if (failure !== undefined) failed.push({ topicName, index, reason: failure.errorMessage })
      if (waitingSinceMs !== undefined && waitingSinceMs < (oldest?.waitingSinceMs ?? Infinity)) oldest = partition
    }
  }
  const lack = freeSpace.lack
  return {
    place,
    failed,
    partitionCount,
    ...(oldest !== undefined && { waiting: { name: nameOf(oldest), waitedMs: nowMs - oldest.waitingSinceMs! } }),
    ...(lastSlow !== undefined && { lastSlow: { ...lastSlow, agoMs: nowMs - lastSlow.atMs } }),
    ...(lastFull !== undefined && { lack: { message: lastFull.message, agoMs: nowMs - lastFull.atMs } }),
    ...(lack !== undefined && { lack: { message: lack.message, agoMs: 0 } })
  }
}

/** 'a-0 takes', 'a-0, a-1, a-2 and 7 more take'. */
function namesOf (logs: readonly FailedLog[]): string {
  const names = logs.slice(0, NAMES_MAX).map(nameOf).join(', ')
  if (logs.length === 1) return `${names} takes`
  return logs.length > NAMES_MAX ? `${names} and ${logs.length - NAMES_MAX} more take` : `${names} take`
}

function nameOf ({ topicName, index }: { readonly topicName: string, readonly index: number }): string {
  return `${topicName}-${index}`
}

function seconds (ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
