/**
 * Removes records that a topic keeps no longer: whole sealed segments from the front, by age (retention.ms) and by size
 * (retention.bytes), where cleanup.policy has `delete`. Looks every log.retention.check.interval.ms, and when asked.
 *
 * A segment that grows is sealed after segment.ms, so that quiet topics lose old records too. Age is that of the newest record, as in
 * Kafka; when a segment began is not stored, so one that goes on growing over a restart is sealed up to segment.ms later.
 */
import type { Logger } from 'pino'
import type { SegmentInfo } from '../log/log.js'
import type { BrokerConfig } from './config/broker-config.js'
import type { TopicConfig } from './config/topic-config.js'
import type { Clock, Timer } from './clock.js'
import type { Partition } from './partitions/partition.js'
import type { Topics } from './topics/topics.js'

export type RetentionConfig = Pick<TopicConfig, 'cleanup.policy' | 'retention.ms' | 'retention.bytes' | 'segment.ms'>

const UNLIMITED = -1

/** First offset to keep; undefined when nothing is to go. */
export function offsetToKeepFrom (segments: readonly SegmentInfo[], config: RetentionConfig, nowMs: number): number | undefined {
  if (!config['cleanup.policy'].includes('delete')) return undefined
  let bytes = segments.reduce((sum, segment) => sum + segment.bytes, 0)
  let offset: number | undefined
  for (const segment of segments) {
    const tooOld = config['retention.ms'] !== UNLIMITED && segment.timestampMaxMs >= 0 && nowMs - segment.timestampMaxMs > config['retention.ms']
    // What is left must not be less than the limit.
    const tooMuch = config['retention.bytes'] !== UNLIMITED && bytes - segment.bytes >= config['retention.bytes']
    if (!segment.sealed || !(tooOld || tooMuch)) break
    bytes -= segment.bytes
    offset = segment.endOffset
  }
  return offset
}

/** `seenMs`: when the segment was first seen with records in it. */
export function mustSeal (segment: SegmentInfo, seenMs: number, config: RetentionConfig, nowMs: number): boolean {
  if (segment.sealed || segment.bytes === 0) return false
  const newestMs = segment.timestampMaxMs >= 0 ? segment.timestampMaxMs : seenMs
  const expired = config['cleanup.policy'].includes('delete') && config['retention.ms'] !== UNLIMITED && nowMs - newestMs > config['retention.ms']
  return expired || nowMs - Math.min(seenMs, newestMs) > config['segment.ms']
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
  /** The segment that each partition grows, and when it was first seen. */
  private readonly growing = new WeakMap<Partition, { readonly baseOffset: number, readonly seenMs: number }>()

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
    if (mustSeal(last, this.seenMs(partition, last, nowMs), config, nowMs) && await partition.roll() !== undefined) return
    const offset = offsetToKeepFrom(partition.segments(), config, nowMs)
    if (offset === undefined || offset <= partition.logStartOffset || offset > partition.highWatermark) return
    const refusal = await partition.truncateFront(offset)
    const name = `${partition.topicName}-${partition.index}`
    if (refusal === undefined) logger.info({ topic: partition.topicName, partition: partition.index, offset }, `${name} keeps its records from offset ${offset} on`)
    else logger.warn(`the old records of ${name} are still there: ${refusal.errorMessage}`)
  }

  private seenMs (partition: Partition, segment: SegmentInfo, nowMs: number): number {
    let seen = this.growing.get(partition)
    if (seen?.baseOffset !== segment.baseOffset) this.growing.set(partition, seen = { baseOffset: segment.baseOffset, seenMs: nowMs })
    return seen.seenMs
  }
}
