/**
 * The broker's metrics for Prometheus. Nothing is counted here: the parts of the broker keep plain numbers, which are read when somebody
 * asks. Names are those that dashboards for Kafka know (kafka_exporter's, and JMX exporter's for the broker itself); what only this
 * broker has begins with haulout_.
 */
import { collectDefaultMetrics, Registry, type Metric } from 'prom-client'
import type { LogStore } from '../log/log.js'
import { WAIT_MS_BOUNDS, type AppendStatistics } from './append-statistics.js'
import type { Dispatcher } from './dispatcher.js'
import type { GroupCoordinator } from './groups/group-coordinator.js'
import type { Health } from './health.js'
import type { Listeners } from './listener.js'
import type { Partition, Traffic } from './partitions/partition.js'
import type { Topics } from './topics/topics.js'

export interface MetricsSources {
  readonly topics: Topics
  /** The broker's own logs that no topic has. */
  readonly ownLogs: readonly Partition[]
  readonly groups: Pick<GroupCoordinator, 'groups' | 'offsets'>
  readonly dispatcher: Pick<Dispatcher, 'requestCounts'>
  readonly listeners: Pick<Listeners, 'connectionCount' | 'requestBytes'>
  readonly statistics: AppendStatistics
  readonly store: Pick<LogStore, 'bytesFree'>
  readonly health: () => Health
}

interface Value {
  readonly value: number
  readonly labels?: Readonly<Record<string, string | number>>
  /** Where it is not that of the metric. */
  readonly metricName?: string
}

type Read = () => Iterable<Value>
type Define = (type: 'counter' | 'gauge' | 'histogram', name: string, help: string, read: Read) => void

const HEALTH_NUMBERS = { ok: 0, degraded: 1, failed: 2 } as const

/** A registry of the broker's own, with the process's metrics beside it. */
export function metricsOf (sources: MetricsSources): Registry {
  const registry = new Registry()
  // What a registry asks of a metric: to be read. Its own kinds would look up labels for each of thousands of partitions.
  const define: Define = (type, name, help, read) => {
    registry.registerMetric({ name, get: async () => ({ name, help, type, values: [...read()] }) } as unknown as Metric)
  }
  defineTraffic(sources, define)
  definePartitions(sources, define)
  defineGroups(sources, define)
  defineStore(sources, define)
  defineBroker(sources, define)
  for (const metric of processMetrics()) registry.registerMetric(metric)
  return registry
}

let ofProcess: Registry | undefined

/** Made once in a process: what prom-client watches garbage collection with can never be taken away again. */
function processMetrics (): Metric[] {
  if (ofProcess === undefined) collectDefaultMetrics({ register: ofProcess = new Registry() })
  return ofProcess.getMetricsAsArray() as unknown as Metric[]
}

function defineTraffic ({ topics }: MetricsSources, define: Define): void {
  const traffic = (name: string, help: string, field: keyof Traffic): void => {
    define('counter', `kafka_server_brokertopicmetrics_${name}_total`, help, function * () {
      for (const { name: topic, partitions } of topics.all()) yield { value: partitions.reduce((sum, partition) => sum + partition.traffic[field], 0), labels: { topic } }
    })
  }
  traffic('messagesin', 'Records that were appended.', 'recordsIn')
  traffic('bytesin', 'Bytes of the batches that were appended.', 'bytesIn')
  traffic('bytesout', 'Bytes of the batches that were read for consumers.', 'bytesOut')
  traffic('failedproducerequests', 'Batches that were refused.', 'refusedCount')
}

function definePartitions ({ topics }: MetricsSources, define: Define): void {
  define('gauge', 'kafka_topic_partitions', 'Partitions of the topic.', function * () {
    for (const { name: topic, partitions } of topics.all()) yield { value: partitions.length, labels: { topic } }
  })
  const offsets = (name: string, help: string, field: 'highWatermark' | 'logStartOffset'): void => {
    define('gauge', name, help, function * () {
      for (const { name: topic, partitions, internal } of topics.all()) {
        if (internal) continue
        for (const partition of partitions) yield { value: partition[field], labels: { topic, partition: partition.index } }
      }
    })
  }
  offsets('kafka_topic_partition_current_offset', 'Offset behind the last record that consumers can see.', 'highWatermark')
  offsets('kafka_topic_partition_oldest_offset', 'Offset of the first record that is kept.', 'logStartOffset')
}

function defineGroups ({ groups, topics }: MetricsSources, define: Define): void {
  define('gauge', 'kafka_consumergroup_members', 'Members of the group.', function * () {
    for (const { groupId, members } of groups.groups()) yield { value: members.size, labels: { consumergroup: groupId } }
  })
  const offsets = (name: string, help: string, of: (offset: number, endOffset: number) => number): void => {
    define('gauge', name, help, function * () {
      for (const { groupId } of groups.groups()) {
        for (const [topic, byPartition] of groups.offsets(groupId) ?? []) {
          const partitions = topics.get(topic)?.partitions
          for (const [partition, { offset }] of byPartition) yield { value: of(offset, partitions?.[partition]?.highWatermark ?? offset), labels: { consumergroup: groupId, topic, partition } }
        }
      }
    })
  }
  offsets('kafka_consumergroup_current_offset', 'Offset that the group has committed.', (offset) => offset)
  offsets('kafka_consumergroup_lag', 'Records behind the committed offset.', (offset, endOffset) => Math.max(0, endOffset - offset))
}

function defineStore ({ topics, ownLogs, statistics, store }: MetricsSources, define: Define): void {
  const everyLog = (): Partition[] => [...ownLogs, ...topics.all().flatMap(({ partitions }) => partitions)]
  define('gauge', 'haulout_store_bytes', 'Bytes of the entries in all logs, as they were appended.', () => [{ value: everyLog().reduce((sum, { bytes }) => sum + bytes, 0) }])
  define('gauge', 'haulout_store_free_bytes', 'Bytes of the disk that are free for appends.', () => bytesFree(store))
  define('gauge', 'haulout_store_failed_logs', 'Logs that take no records until they are open again.', () => [{ value: everyLog().filter(({ failure }) => failure !== undefined).length }])
  define('counter', 'haulout_store_append_failures_total', 'Batches that the store did not take, or could not write, by the code of its error.', function * () {
    for (const [code, value] of statistics.failureCounts) yield { value, labels: { code } }
  })
  const name = 'haulout_store_append_seconds'
  define('histogram', name, 'How long batches waited to be committed.', function * () {
    let count = 0
    for (const [bucket, added] of statistics.bucketCounts.entries()) {
      count += added
      const boundMs = WAIT_MS_BOUNDS[bucket]
      yield { value: count, labels: { le: boundMs === undefined ? '+Inf' : boundMs / 1000 }, metricName: `${name}_bucket` }
    }
    yield { value: statistics.waitedMsSum / 1000, metricName: `${name}_sum` }
    yield { value: count, metricName: `${name}_count` }
  })
}

function defineBroker ({ dispatcher, listeners, health }: MetricsSources, define: Define): void {
  define('counter', 'kafka_network_requestmetrics_requests_total', 'Requests by API.', () => dispatcher.requestCounts.map(({ api, count }) => ({ value: count, labels: { request: api } })))
  define('gauge', 'haulout_connections', 'Clients connected.', () => [{ value: listeners.connectionCount }])
  define('gauge', 'haulout_request_memory_bytes', 'Bytes of requests, whole or in part, that all connections hold.', () => [{ value: listeners.requestBytes }])
  define('gauge', 'haulout_health', '0 is ok, 1 degraded, 2 failed; /healthz has the reasons.', () => [{ value: HEALTH_NUMBERS[health().status] }])
}

/** None where there is no end to it, or nobody can say. */
function bytesFree (store: Pick<LogStore, 'bytesFree'>): Value[] {
  try {
    const value = store.bytesFree()
    return Number.isFinite(value) ? [{ value }] : []
  } catch {
    return []
  }
}
