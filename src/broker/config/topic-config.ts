/**
 * A topic's settings: its overrides over the broker's settings of the same meaning, over Kafka's defaults.
 */
import type { BrokerConfig } from './broker-config.js'
import { ConfigError, parseDefault, parseValue, type Definition, type Value, type ValuesOf } from './definition.js'
import { TOPIC_DEFINITIONS } from './topic-definitions.js'

type Parsed = ValuesOf<typeof TOPIC_DEFINITIONS>

export type TopicConfig = Parsed & {
  /** Overrides as they were set, under Kafka's names. */
  readonly overrides: ReadonlyMap<string, string>
}

interface Synonym {
  readonly name: string
  /** Milliseconds in one unit of the broker's setting. */
  readonly unitMs?: number
}

/** The broker settings that a topic setting falls back on, first given first (Kafka's ServerTopicConfigSynonyms). */
const SYNONYMS: Readonly<Record<string, readonly Synonym[]>> = {
  'max.message.bytes': [{ name: 'message.max.bytes' }],
  'flush.messages': [{ name: 'log.flush.interval.messages' }],
  'flush.ms': [{ name: 'log.flush.interval.ms' }, { name: 'log.flush.scheduler.interval.ms' }],
  'delete.retention.ms': [{ name: 'log.cleaner.delete.retention.ms' }],
  'file.delete.delay.ms': [{ name: 'log.segment.delete.delay.ms' }],
  'index.interval.bytes': [{ name: 'log.index.interval.bytes' }],
  'local.retention.bytes': [{ name: 'log.local.retention.bytes' }],
  'local.retention.ms': [{ name: 'log.local.retention.ms' }],
  'max.compaction.lag.ms': [{ name: 'log.cleaner.max.compaction.lag.ms' }],
  'message.timestamp.after.max.ms': [{ name: 'log.message.timestamp.after.max.ms' }],
  'message.timestamp.before.max.ms': [{ name: 'log.message.timestamp.before.max.ms' }],
  'message.timestamp.type': [{ name: 'log.message.timestamp.type' }],
  'min.cleanable.dirty.ratio': [{ name: 'log.cleaner.min.cleanable.ratio' }],
  'min.compaction.lag.ms': [{ name: 'log.cleaner.min.compaction.lag.ms' }],
  'min.insync.replicas': [{ name: 'min.insync.replicas' }],
  preallocate: [{ name: 'log.preallocate' }],
  'retention.bytes': [{ name: 'log.retention.bytes' }],
  'retention.ms': [{ name: 'log.retention.ms' }, { name: 'log.retention.minutes', unitMs: 60_000 }, { name: 'log.retention.hours', unitMs: 3_600_000 }],
  'segment.bytes': [{ name: 'log.segment.bytes' }],
  'segment.index.bytes': [{ name: 'log.index.size.max.bytes' }],
  'segment.jitter.ms': [{ name: 'log.roll.jitter.ms' }, { name: 'log.roll.jitter.hours', unitMs: 3_600_000 }],
  'segment.ms': [{ name: 'log.roll.ms' }, { name: 'log.roll.hours', unitMs: 3_600_000 }],
  'cleanup.policy': [{ name: 'log.cleanup.policy' }],
  'compression.type': [{ name: 'compression.type' }],
  'compression.gzip.level': [{ name: 'compression.gzip.level' }],
  'compression.lz4.level': [{ name: 'compression.lz4.level' }],
  'compression.zstd.level': [{ name: 'compression.zstd.level' }],
  'unclean.leader.election.enable': [{ name: 'unclean.leader.election.enable' }]
}

const byName: ReadonlyMap<string, Definition> = new Map(TOPIC_DEFINITIONS.map((definition) => [definition[0], definition]))

export function topicDefinitions (): readonly Definition[] { return TOPIC_DEFINITIONS }

/** A broker setting that was given and that the topic setting falls back on, as text in the topic's unit. */
export interface Inherited {
  readonly brokerName: string
  readonly text: string
}

export function inheritedFrom (name: string, broker: BrokerConfig): Inherited | undefined {
  for (const synonym of SYNONYMS[name] ?? []) {
    const text = broker.given.get(synonym.name)
    if (text !== undefined) return { brokerName: synonym.name, text: synonym.unitMs === undefined || text === '-1' ? text : String(Number(text) * synonym.unitMs) }
  }
  return undefined
}

export function topicSynonyms (name: string): readonly string[] {
  return (SYNONYMS[name] ?? []).map((synonym) => synonym.name)
}

/** Throws ConfigError for an override that is unknown, cannot be, or contradicts another. */
export function parseTopicConfig (overrides: ReadonlyMap<string, string | null>, broker: BrokerConfig): TopicConfig {
  const values: Record<string, Value> = {}
  for (const definition of TOPIC_DEFINITIONS) {
    const inherited = inheritedFrom(definition[0], broker)
    values[definition[0]] = inherited === undefined ? parseDefault(definition, definition[2]) : parseValue(definition, inherited.text)
  }
  const given = new Map<string, string>()
  for (const [name, text] of overrides) {
    const definition = byName.get(name)
    if (definition === undefined) throw new ConfigError(`Unknown topic config name: ${name}`)
    values[name] = parseValue(definition, text)
    if (text !== null) given.set(name, text)
  }
  const config = { ...values, overrides: given } as unknown as TopicConfig
  checkRelations(config)
  return config
}

function checkRelations (config: TopicConfig): void {
  if (config['min.compaction.lag.ms'] > config['max.compaction.lag.ms']) {
    throw new ConfigError('conflict: min.compaction.lag.ms must not be larger than max.compaction.lag.ms')
  }
  if (config['remote.storage.enable']) throw new ConfigError('remote.storage.enable: this broker has no tiered storage')
}
