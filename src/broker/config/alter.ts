/** What the two requests that change settings have in common: operations on a topic's overrides, as pure functions. */
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'
import type { Services } from '../services.js'
import { refuse } from '../topics/topic-validation.js'
import { RESOURCE } from './describe.js'
import { topicDefinitions } from './topic-config.js'

/** Kafka's AlterConfigOp.OpType. */
export const OPERATION = { set: 0, delete: 1, append: 2, subtract: 3 } as const

export interface ConfigOperation {
  readonly name: string
  readonly configOperation: number
  readonly value: string | null
}

export type Overrides = ReadonlyMap<string, string>

/** The overrides after the operations; names and values are checked where they are parsed. */
export function applyOperations (overrides: Overrides, operations: readonly ConfigOperation[]): Overrides | Refusal {
  const changed = new Map(overrides)
  for (const { name, configOperation, value } of operations) {
    if (configOperation === OPERATION.delete) {
      changed.delete(name)
      continue
    }
    if (value === null) return refuse(ErrorCode.INVALID_REQUEST, `Null value not supported for ${name}`)
    if (configOperation === OPERATION.set) {
      changed.set(name, value)
      continue
    }
    const combined = combine(name, configOperation, changed.get(name), value)
    if (typeof combined !== 'string') return combined
    changed.set(name, combined)
  }
  return changed
}

function combine (name: string, configOperation: number, current: string | undefined, value: string): string | Refusal {
  const verb = { [OPERATION.append]: 'APPEND to', [OPERATION.subtract]: 'SUBTRACT from' }[configOperation]
  if (verb === undefined) return refuse(ErrorCode.INVALID_REQUEST, `Unknown operation type ${configOperation} for ${name}`)
  const definition = topicDefinitions().find(([known]) => known === name)
  if (definition !== undefined && definition[1] !== 'LIST') return refuse(ErrorCode.INVALID_CONFIG, `Can't ${verb} key ${name} because its type is not LIST.`)
  const items = listOf(current ?? definition?.[2] ?? '')
  const given = listOf(value)
  const kept = configOperation === OPERATION.append ? [...items, ...given.filter((item) => !items.includes(item))] : items.filter((item) => !given.includes(item))
  return kept.join(',')
}

function listOf (text: string): string[] {
  return text.split(',').map((item) => item.trim()).filter((item) => item !== '')
}

export interface ResourceRequest {
  readonly resourceType: number
  readonly resourceName: string
  readonly configs: ReadonlyArray<{ readonly name: string }>
}

/** Changes one resource; `change` makes its new overrides of those it has. Only topics' settings can be changed while running. */
export async function alterResource ({ topics }: Pick<Services, 'topics'>, resource: ResourceRequest, validateOnly: boolean,
  change: (overrides: Overrides) => Overrides | Refusal): Promise<Refusal | undefined> {
  const { resourceType, resourceName, configs } = resource
  if (new Set(configs.map(({ name }) => name)).size < configs.length) return refuse(ErrorCode.INVALID_REQUEST, 'Error due to duplicate config keys')
  if (resourceType !== RESOURCE.topic) {
    return refuse(ErrorCode.INVALID_REQUEST, 'This broker changes the settings of topics only while it runs; its own are given when it starts')
  }
  const topic = topics.get(resourceName)
  if (topic === undefined) return refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, `The topic '${resourceName}' does not exist.`)
  return await topics.alterConfigs(topic, change, validateOnly)
}

/** Kafka refuses every entry of a request that names one resource twice. */
export function namedTwice (resources: readonly ResourceRequest[], { resourceType, resourceName }: ResourceRequest): boolean {
  return resources.filter((other) => other.resourceType === resourceType && other.resourceName === resourceName).length > 1
}
