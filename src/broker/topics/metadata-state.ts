/**
 * What `__cluster_metadata` says, as a pure value: applying its records in order gives the state, `records` gives the shortest
 * run of records for it. Keys are texts, values JSON: few and small, and readable in a dump.
 */
import type { StateRecord } from '../state-log.js'

export interface TopicRecord {
  readonly name: string
  readonly id: string
  readonly partitionCount: number
  readonly replicationFactor: number
  readonly internal: boolean
  readonly configs: Readonly<Record<string, string>>
}

/** A deleted topic whose logs may still be there. */
export interface RemovalRecord {
  readonly name: string
  readonly partitionCount: number
}

export class MetadataState {
  clusterId: string | undefined
  /** The first producer id that may not have been given yet. */
  producerIdNext = 0
  readonly topics = new Map<string, TopicRecord>()
  /** By topic id. */
  readonly removals = new Map<string, RemovalRecord>()

  apply ({ key, value }: StateRecord): void {
    const [kind, id = ''] = splitKey(key.toString('utf8'))
    const content: any = value === null ? null : JSON.parse(value.toString('utf8'))
    switch (kind) {
      case 'cluster': this.clusterId = content?.clusterId; break
      case 'producer-ids': this.producerIdNext = content.next; break
      case 'topic': setOrDelete(this.topics, id, content); break
      case 'removal': setOrDelete(this.removals, id, content); break
      default: throw new Error(`the metadata log has a record '${kind}', which this version does not know: it was written by a newer one`)
    }
  }

  * records (): Generator<StateRecord> {
    if (this.clusterId !== undefined) yield clusterRecord(this.clusterId)
    yield producerIdsRecord(this.producerIdNext)
    for (const topic of this.topics.values()) yield topicRecord(topic)
    for (const [id, removal] of this.removals) yield removalRecord(id, removal)
  }
}

export function clusterRecord (clusterId: string): StateRecord { return record('cluster', { clusterId }) }
export function producerIdsRecord (next: number): StateRecord { return record('producer-ids', { next }) }
export function topicRecord (topic: TopicRecord): StateRecord { return record(`topic:${topic.name}`, topic) }
export function topicDeletedRecord (name: string): StateRecord { return record(`topic:${name}`, null) }
export function removalRecord (id: string, removal: RemovalRecord | null): StateRecord { return record(`removal:${id}`, removal) }

function record (key: string, value: unknown): StateRecord {
  return { key: Buffer.from(key), value: value === null ? null : Buffer.from(JSON.stringify(value)) }
}

function splitKey (key: string): [string, string?] {
  const at = key.indexOf(':')
  return at < 0 ? [key] : [key.slice(0, at), key.slice(at + 1)]
}

function setOrDelete<V> (map: Map<string, V>, key: string, value: V | null): void {
  if (value === null) map.delete(key)
  else map.set(key, value)
}
