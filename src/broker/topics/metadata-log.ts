/**
 * The broker's own memory: topics, ids, settings, in the hidden partition `__cluster_metadata-0`. A change is in `state` when its
 * promise resolves, and durable.
 *
 * A write that fails may be on the disk all the same, and would come to life at the next start: a deletion that was refused would
 * delete what was written to the topic since. So what `state` says of the keys of a failed write is written again as soon as the log
 * takes records.
 */
import type { Logger } from 'pino'
import type { LogStore } from '../../log/log.js'
import type { Refusal } from '../../protocol/error-codes.js'
import type { BrokerConfig } from '../config/broker-config.js'
import { parseTopicConfig } from '../config/topic-config.js'
import type { AppendStatistics } from '../append-statistics.js'
import type { Clock } from '../clock.js'
import { openPartition, type Partition } from '../partitions/partition.js'
import { StateLog, type StateRecord } from '../state-log.js'
import { MetadataState } from './metadata-state.js'

export const METADATA_TOPIC = '__cluster_metadata'
const SEGMENT_BYTES = String(4 * 1024 * 1024)

export class MetadataLog {
  /** Keys of failed writes: nobody knows what the disk says of them. */
  private readonly inDoubt = new Set<string>()
  private inFlightCount = 0
  private readonly unsubscribe: () => void

  private constructor (readonly state: MetadataState, private readonly log: StateLog, readonly partition: Partition) {
    // Also called when a log that had failed is open again.
    this.unsubscribe = partition.onAdvance(() => { void this.settleDoubts() })
  }

  /** Rejects when the log is damaged: a broker that has forgotten its topics must not start. */
  static async open (options: { readonly store: LogStore, readonly config: BrokerConfig, readonly clock: Clock, readonly logger: Logger, readonly statistics?: AppendStatistics }): Promise<MetadataLog> {
    const config = parseTopicConfig(new Map([['segment.bytes', SEGMENT_BYTES]]), options.config)
    const partition = await openPartition({ ...options, topicName: METADATA_TOPIC, index: 0, config: () => config })
    const log = new StateLog(partition, options.clock)
    const state = new MetadataState()
    await log.replay((record) => state.apply(record))
    return new MetadataLog(state, log, partition)
  }

  /** All of the records, or none of them, survive a crash. */
  async write (records: readonly StateRecord[]): Promise<Refusal | undefined> {
    this.inFlightCount++
    const refusal = await this.log.append(records, () => {
      for (const record of records) this.state.apply(record)
    })
    this.inFlightCount--
    for (const { key } of records) {
      if (refusal === undefined) this.inDoubt.delete(key.toString())
      else this.inDoubt.add(key.toString())
    }
    if (refusal === undefined) {
      void this.settleDoubts()
      void this.log.compactIfLong(() => this.state.records())
    }
    return refusal
  }

  async close (): Promise<void> {
    this.unsubscribe()
    await this.partition.close()
  }

  /** Not while writes are in flight: theirs are the newer values. */
  private async settleDoubts (): Promise<void> {
    if (this.inDoubt.size === 0 || this.inFlightCount > 0) return
    const known = new Map([...this.state.records()].map((record) => [record.key.toString(), record]))
    await this.write([...this.inDoubt].map((key) => known.get(key) ?? { key: Buffer.from(key), value: null }))
  }
}
