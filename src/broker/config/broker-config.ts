/**
 * Broker-wide settings under Kafka's server.properties names: `config['num.partitions']` is a number. Kafka's defaults, but for those
 * in OUR_DEFAULTS, each with its reason.
 */
import { BROKER_DEFINITIONS } from './broker-definitions.js'
import { ConfigError, nearestName, parseDefault, parseValue, type Definition, type Value, type ValuesOf } from './definition.js'

/** Settings of this broker's own. */
const OWN_DEFINITIONS = [
  // Client test suites ask for three replicas whatever the cluster; with this, they get the one that there is.
  ['haulout.replication.factor.clamp', 'BOOLEAN', 'false'],
  // Producers are refused before the disk is full: what is left is for groups, topics and retention.
  ['haulout.min.free.bytes', 'LONG', '33554432', '[0,...]']
] as const satisfies readonly Definition[]

const DEFINITIONS = [...BROKER_DEFINITIONS, ...OWN_DEFINITIONS] as const

const OUR_DEFAULTS: Readonly<Record<string, string>> = {
  // Kafka waits 3 s for more members before the first assignment; its own shipped server.properties says 0, as every test wants it.
  'group.initial.rebalance.delay.ms': '0',
  // There is one broker.
  'offsets.topic.replication.factor': '1',
  'transaction.state.log.replication.factor': '1',
  'transaction.state.log.min.isr': '1',
  'share.coordinator.state.topic.replication.factor': '1',
  'share.coordinator.state.topic.min.isr': '1'
}

type Parsed = ValuesOf<typeof DEFINITIONS>

/** Parsed settings. `given` has the texts of those that were set, under the names that they were set with. */
export type BrokerConfig = Parsed & { readonly given: ReadonlyMap<string, string> }

const byName: ReadonlyMap<string, Definition> = new Map(DEFINITIONS.map((definition) => [definition[0], definition]))

export interface ParsedBrokerConfig {
  readonly config: BrokerConfig
  /** Names that Kafka does not know, each with the one that was perhaps meant. They have no effect. */
  readonly unknown: readonly { readonly name: string, readonly nearest: string | undefined }[]
}

/** Parses settings by name. Throws ConfigError for a value that cannot be. */
export function parseBrokerConfig (settings: Readonly<Record<string, string | number | boolean>>): ParsedBrokerConfig {
  const values: Record<string, Value> = {}
  for (const definition of DEFINITIONS) {
    values[definition[0]] = parseDefault(definition, brokerDefault(definition))
  }
  const given = new Map<string, string>()
  const unknown: { name: string, nearest: string | undefined }[] = []
  for (const [name, value] of Object.entries(settings)) {
    const definition = byName.get(name)
    if (definition === undefined) {
      unknown.push({ name, nearest: nearestName(name, byName.keys()) })
      continue
    }
    values[name] = parseValue(definition, String(value))
    given.set(name, String(value))
  }
  const config = { ...values, given } as unknown as BrokerConfig
  checkRelations(config)
  return { config, unknown }
}

/** Rules between settings. */
function checkRelations (config: BrokerConfig): void {
  if (config['group.min.session.timeout.ms'] > config['group.max.session.timeout.ms']) {
    throw new ConfigError('group.min.session.timeout.ms must not be larger than group.max.session.timeout.ms')
  }
}

export function brokerDefinitions (): readonly Definition[] { return DEFINITIONS }

/** The text of a setting's default: ours where it differs from Kafka's. */
export function brokerDefault (definition: Definition): string | null {
  return OUR_DEFAULTS[definition[0]] ?? definition[2]
}
