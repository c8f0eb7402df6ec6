/**
 * What handlers may ask for. A handler names exactly the services it uses: `({ groups }: Pick<Services, 'groups'>)`.
 * `broker.ts` is the only place that builds them.
 */
import type { Logger } from 'pino'
import type { BrokerConfig } from './config/broker-config.js'
import type { Clock } from './clock.js'
import type { Cluster } from './cluster.js'
import type { FetchMemory } from './fetch/fetch-memory.js'
import type { FetchSessions } from './fetch/sessions.js'
import type { GroupCoordinator } from './groups/group-coordinator.js'
import type { LogDir } from './log-dir.js'
import type { ProducerIds } from './producer-ids.js'
import type { Topics } from './topics/topics.js'

export interface Services {
  readonly clock: Clock
  readonly logger: Logger
  /** Broker-wide settings under Kafka's names. */
  readonly config: BrokerConfig
  /** Who this broker is and where clients reach it. */
  readonly cluster: Cluster
  /** Every topic, its partitions and its settings. */
  readonly topics: Topics
  readonly logDir: LogDir
  readonly fetchSessions: FetchSessions
  /** Bounds the records on their way to consumers. */
  readonly fetchMemory: FetchMemory
  readonly groups: GroupCoordinator
  readonly producerIds: ProducerIds
  /** The versions that this broker answers, computed from the handler table. */
  readonly supportedApis: readonly SupportedApi[]
}

/** One row of ApiVersions. */
export interface SupportedApi {
  readonly apiKey: number
  readonly minVersion: number
  readonly maxVersion: number
}
