/**
 * The broker's own memory: topics, ids, settings, in the hidden partition `__cluster_metadata-0`. A change is in `state` when its
 * promise resolves, and durable.
 */
import type { Logger } from 'pino'
import type { LogStore } from '../../log/log.js'
import type { Refusal } from '../../protocol/error-codes.js'
import type { BrokerConfig } from '../config/broker-config.js'
import { parseTopicConfig } from '../config/topic-config.js'
import type { Clock } from '../clock.js'
import { openPartition, type Partition } from '../partitions/partition.js'
import { StateLog, type StateRecord } from '../state-log.js'
import { MetadataState } from './metadata-state.js'

export const METADATA_TOPIC = '__cluster_metadata'
const SEGMENT_BYTES = String(4 * 1024 * 1024)

export class MetadataLog {
  private constructor (readonly state: MetadataState, private readonly log: StateLog, private readonly partition: Partition) {}

  /** Rejects when the log is damaged: a broker that has forgotten its topics must not start. */
  static async open (options: { readonly store: LogStore, readonly config: BrokerConfig, readonly clock: Clock, readonly logger: Logger }): Promise<MetadataLog> {
    const config = parseTopicConfig(new Map([['segment.bytes', SEGMENT_BYTES]]), options.config)
    const partition = await openPartition({ ...options, topicName: METADATA_TOPIC, index: 0, config: () => config })
    const log = new StateLog(partition, options.clock)
    const state = new MetadataState()
    await log.replay((record) => state.apply(record))
    return new MetadataLog(state, log, partition)
  }

  /** All of the records, or none of them, survive a crash. */
  async write (records: readonly StateRecord[]): Promise<Refusal | undefined> {
    const refusal = await this.log.append(records, () => {
      for (const record of records) this.state.apply(record)
    })
    if (refusal === undefined) void this.log.compactIfLong(() => this.state.records())
    return refusal
  }

  async close (): Promise<void> {
    await this.partition.close()
  }
}
