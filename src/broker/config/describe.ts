/** Settings as DescribeConfigs tells them: value, source, type, and the chain of settings that a value falls back on. */
import { brokerDefault, brokerDefinitions, type BrokerConfig } from './broker-config.js'
import type { DefinitionType } from './definition.js'
import { GROUP_DEFINITIONS } from './group-definitions.js'
import { inheritedFrom, topicDefinitions, topicSynonyms, type TopicConfig } from './topic-config.js'

/** ConfigResource.Type of Kafka. */
export const RESOURCE = { topic: 2, broker: 4, brokerLogger: 8, clientMetrics: 16, group: 32 } as const

/** ConfigSource of Kafka: where a value comes from. */
const SOURCE = { topic: 1, staticBroker: 4, default: 5, group: 8 } as const

/** ConfigType of Kafka. */
export const CONFIG_TYPE_NUMBERS: Readonly<Record<DefinitionType, number>> = {
  BOOLEAN: 1, STRING: 2, INT: 3, SHORT: 4, LONG: 5, DOUBLE: 6, LIST: 7, CLASS: 8, PASSWORD: 9
}

export interface DescribedConfig {
  readonly name: string
  readonly value: string | null
  readonly type: DefinitionType
  readonly source: number
  readonly readOnly: boolean
  readonly sensitive: boolean
  readonly synonyms: readonly Synonym[]
}

interface Synonym {
  readonly name: string
  readonly value: string | null
  readonly source: number
}

export function describeTopicConfigs (topic: TopicConfig, broker: BrokerConfig): DescribedConfig[] {
  return topicDefinitions().map(([name, type, defaultText]) => {
    const synonyms: Synonym[] = []
    const override = topic.overrides.get(name)
    if (override !== undefined) synonyms.push({ name, value: override, source: SOURCE.topic })
    const inherited = inheritedFrom(name, broker)
    if (inherited !== undefined) synonyms.push({ name: inherited.brokerName, value: inherited.text, source: SOURCE.staticBroker })
    synonyms.push({ name: topicSynonyms(name)[0] ?? name, value: defaultText, source: SOURCE.default })
    return described(name, type, synonyms, false)
  })
}

/** `onlyDynamic`: the cluster-wide settings that were changed while running; this broker has none. */
export function describeBrokerConfigs (broker: BrokerConfig, onlyDynamic: boolean): DescribedConfig[] {
  if (onlyDynamic) return []
  return brokerDefinitions().map((definition) => {
    const [name, type] = definition
    const synonyms: Synonym[] = []
    const given = broker.given.get(name)
    if (given !== undefined) synonyms.push({ name, value: given, source: SOURCE.staticBroker })
    synonyms.push({ name, value: brokerDefault(definition), source: SOURCE.default })
    return described(name, type, synonyms, true)
  })
}

export function describeGroupConfigs (): DescribedConfig[] {
  return GROUP_DEFINITIONS.map(([name, type, defaultText]) =>
    described(name, type, [{ name, value: defaultText, source: SOURCE.default }], true))
}

/** The first synonym is the one in force. */
function described (name: string, type: DefinitionType, synonyms: readonly Synonym[], readOnly: boolean): DescribedConfig {
  const { value, source } = synonyms[0]!
  return { name, value, type, source, readOnly, sensitive: type === 'PASSWORD', synonyms }
}
