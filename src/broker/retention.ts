/**
 * Removes records that a topic keeps no longer: whole sealed segments from the front, by age (retention.ms) and by size
 * (retention.bytes), where cleanup.policy has `delete`. Looks every log.retention.check.interval.ms, and when asked.
 *
 * A segment that grows is sealed when its records span more than segment.ms, as in Kafka, and also when nothing came for as long; when it
 * is larger than a segment.bytes that was lowered; and when all of it is unwanted, so that a lowered retention empties a topic.
 */
import type { Logger } from 'pino'
import type { SegmentInfo } from '../log/log.js'
import { timestampMaxMs } from '../protocol/batch-header.js'
import type { BrokerConfig } from './config/broker-config.js'
import type { TopicConfig } from './config/topic-config.js'
import type { Clock, Timer } from './clock.js'
import type { Partition } from './partitions/partition.js'
import { isRefusal } from './partitions/storage-refusal.js'
import type { Topics } from './topics/topics.js'

export type RetentionConfig = Pick<TopicConfig, 'cleanup.policy' | 'retention.ms' | 'retention.bytes' | 'segment.ms' | 'segment.bytes'>

/** What is known of the segment that a partition grows. */
export interface Growing {
  readonly baseOffset: number
  /** Of its first batch; undefined when it has none. */
  readonly firstTimestampMs: number | undefined
  /** When it was first seen with records in it. */
  readonly seenMs: number
}

/** First offset to keep; undefined when nothing is to go. */
export function offsetToKeepFrom (segments: readonly SegmentInfo[], config: RetentionConfig, nowMs: number): number | undefined {
  if (!config['cleanup.policy'].includes('delete')) return undefined
  let bytes = segments.reduce((sum, segment) => sum + segment.bytes, 0)
  let offset: number | undefined
  for (const segment of segments) {
    // Any negative limit is none: Kafka takes more than -1 for retention.bytes.
    const tooOld = config['retention.ms'] >= 0 && segment.timestampMaxMs >= 0 && nowMs - segment.timestampMaxMs > config['retention.ms']
    // What is left must not be less than the limit.
    const tooMuch = config['retention.bytes'] >= 0 && bytes - segment.bytes >= config['retention.bytes']
    if (!segment.sealed || !(tooOld || tooMuch)) break
    bytes -= segment.bytes
    offset = segment.endOffset
  }
  return offset
}

export function mustSeal (segment: SegmentInfo, { firstTimestampMs, seenMs }: Omit<Growing, 'baseOffset'>, config: RetentionConfig, nowMs: number): boolean {
  if (segment.sealed || segment.bytes === 0) return false
  const spanMs = firstTimestampMs === undefined ? 0 : segment.timestampMaxMs - firstTimestampMs
  return spanMs > config['segment.ms'] || nowMs - seenMs > config['segment.ms'] || segment.bytes > config['segment.bytes'] ||
    offsetToKeepFrom([{ ...segment, sealed: true }], config, nowMs) !== undefined
}

export interface RetentionOptions {
  readonly topics: Topics
  readonly config: BrokerConfig
  readonly clock: Clock
  readonly logger: Logger
}

export class Retention {
  private timer: Timer | undefined
  private running: Promise<void> | undefined
  private closed = false
  private readonly growing = new WeakMap<Partition, Growing>()

  constructor (private readonly options: RetentionOptions) {
    this.schedule()
  }

  /** Resolves when every partition was looked at after the call. */
  async runNow (): Promise<void> {
    await this.running
    this.running ??= this.run().finally(() => { this.running = undefined })
    await this.running
  }

  async close (): Promise<void> {
    this.closed = true
    this.timer?.cancel()
    await this.running
  }

  private schedule (): void {
    this.timer = this.options.clock.setTimer(this.options.config['log.retention.check.interval.ms'], () => {
      void this.runNow().finally(() => { if (!this.closed) this.schedule() })
    })
  }

  private async run (): Promise<void> {
    for (const topic of this.options.topics.all()) {
      for (const partition of topic.partitions) {
        if (this.closed) return
        try {
          await this.apply(partition, topic.config)
        } catch (error) {
          this.options.logger.error({ err: error, topic: topic.name, partition: partition.index }, `retention of ${topic.name}-${partition.index} failed`)
        }
      }
    }
  }

  /** A partition whose disk fails says so itself and is looked at again the next time. */
  private async apply (partition: Partition, config: RetentionConfig): Promise<void> {
    const { clock, logger } = this.options
    const nowMs = clock.now()
    const last = partition.segments().at(-1)
    if (last === undefined) return
    if (!last.sealed && mustSeal(last, await this.lookAt(partition, last, nowMs), config, nowMs) && await partition.roll() !== undefined) return
    const offset = offsetToKeepFrom(partition.segments(), config, nowMs)
    if (offset === undefined || offset <= partition.logStartOffset || offset > partition.highWatermark) return
    const refusal = await partition.truncateFront(offset)
    const name = `${partition.topicName}-${partition.index}`
    if (refusal === undefined) logger.info({ topic: partition.topicName, partition: partition.index, offset }, `${name} keeps its records from offset ${offset} on`)
    else logger.warn(`the old records of ${name} are still there: ${refusal.errorMessage}`)
  }

  /** The first batch is read once in the life of a segment and of this process. */
  private async lookAt (partition: Partition, { baseOffset }: SegmentInfo, nowMs: number): Promise<Growing> {
    const known = this.growing.get(partition)
    const same = known?.baseOffset === baseOffset
    if (same && known.firstTimestampMs !== undefined) return known
    const read = await partition.read(Math.max(baseOffset, partition.logStartOffset), { bytesMax: 1, atLeastOneEntry: true })
    const first = isRefusal(read) || read.bytes === 0 ? -1 : timestampMaxMs(Buffer.concat(read.parts))
    const growing = { baseOffset, firstTimestampMs: first < 0 ? undefined : first, seenMs: same ? known.seenMs : nowMs }
    this.growing.set(partition, growing)
    return growing
  }
}
