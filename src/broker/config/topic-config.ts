/** A topic's settings: its overrides over the broker's defaults, parsed. */
export interface TopicConfig {
  /** Overrides as they were set, under Kafka's names. */
  readonly overrides: ReadonlyMap<string, string>
  readonly 'cleanup.policy': readonly string[]
  readonly 'compression.type': string
  readonly 'max.message.bytes': number
  readonly 'message.timestamp.after.max.ms': number
  readonly 'message.timestamp.before.max.ms': number
  readonly 'message.timestamp.type': string
  readonly 'min.insync.replicas': number
  readonly 'segment.bytes': number
}
