/** A topic's settings: its overrides over the broker's defaults, parsed. */
export interface TopicConfig {
  /** Overrides as they were set, under Kafka's names. */
  readonly overrides: ReadonlyMap<string, string>
}
