/** Keeps the snapshots of all partitions' producers in one hidden log, `__producer_snapshots-0`. */
import type { Logger } from 'pino'
import type { LogStore } from '../../log/log.js'
import type { AppendStatistics } from '../append-statistics.js'
import type { Clock } from '../clock.js'
import type { BrokerConfig } from '../config/broker-config.js'
import { parseTopicConfig } from '../config/topic-config.js'
import { StateLog, type StateRecord } from '../state-log.js'
import { openPartition, type Partition } from './partition.js'
import type { SnapshotStore } from './producer-snapshots.js'

export const PRODUCER_SNAPSHOTS_TOPIC = '__producer_snapshots'
const SEGMENT_BYTES = String(64 * 1024 * 1024)
/** Snapshots are appended together, but not in batches larger than this. */
const BATCH_BYTES_MAX = 512 * 1024

export class ProducerSnapshotLog implements SnapshotStore {
  readonly entries = new Map<string, Buffer>()
  readonly partition: Partition
  readonly #log: StateLog

  private constructor (partition: Partition, clock: Clock) {
    this.partition = partition
    this.#log = new StateLog(partition, clock)
  }

  static async open (options: { readonly store: LogStore, readonly config: BrokerConfig, readonly clock: Clock, readonly logger: Logger, readonly statistics?: AppendStatistics }): Promise<ProducerSnapshotLog> {
    const config = parseTopicConfig(new Map([['segment.bytes', SEGMENT_BYTES]]), options.config)
    const partition = await openPartition({ ...options, topicName: PRODUCER_SNAPSHOTS_TOPIC, index: 0, config: () => config })
    const snapshots = new ProducerSnapshotLog(partition, options.clock)
    // Copies, because a view would keep the whole buffer that it was read into.
    await snapshots.#log.replay(({ key, value }) => snapshots.#apply(String(key), value === null ? null : Buffer.from(value)))
    return snapshots
  }

  async put (values: ReadonlyMap<string, Buffer | null>): Promise<void> {
    let group: StateRecord[] = []
    let bytes = 0
    const commits: Promise<void>[] = []
    for (const [key, value] of values) {
      this.#apply(key, value)
      group.push({ key: Buffer.from(key), value })
      bytes += value?.length ?? 0
      if (bytes < BATCH_BYTES_MAX) continue
      commits.push(this.#append(group))
      group = []
      bytes = 0
    }
    if (group.length > 0) commits.push(this.#append(group))
    await Promise.all(commits)
    await this.#log.compactIfLong(() => this.#records())
  }

  async close (): Promise<void> {
    await this.partition.close()
  }

  async #append (records: readonly StateRecord[]): Promise<void> {
    const refusal = await this.#log.append(records, () => {})
    if (refusal !== undefined) throw new Error(refusal.errorMessage)
  }

  #apply (key: string, value: Buffer | null): void {
    if (value === null) this.entries.delete(key)
    else this.entries.set(key, value)
  }

  * #records (): Generator<StateRecord> {
    for (const [key, value] of this.entries) yield { key: Buffer.from(key), value }
  }
}
