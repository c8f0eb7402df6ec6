/**
 * The comparison behind check-schemas: declarations on one side, Kafka's schema files on the other, differences as sentences.
 * Pure. Version ranges are compared as sets within the API's versions, so '3+' and '3-9' are the same where 9 is the last.
 */
import { ZERO_UUID, type Api, type Field, type Fields } from '../src/protocol/schema.js'
import { parseVersions } from '../src/protocol/versions.js'

/** Kafka's own schema file (generator/src/main/java/org/apache/kafka/message/FieldSpec.java says what each property means). */
export interface KafkaSchema {
  readonly apiKey: number
  readonly type: string
  readonly name: string
  readonly listeners?: readonly string[]
  readonly validVersions: string
  readonly flexibleVersions: string
  readonly latestVersionUnstable?: boolean
  readonly fields: readonly KafkaField[]
  readonly commonStructs?: readonly { readonly name: string, readonly fields: readonly KafkaField[] }[]
}

interface KafkaField {
  readonly name: string
  readonly type: string
  readonly versions: string
  readonly nullableVersions?: string
  readonly taggedVersions?: string
  readonly flexibleVersions?: string
  readonly tag?: number
  readonly default?: string | number | boolean
  readonly fields?: readonly KafkaField[]
}

export interface Schemas {
  /** By the API's name, without 'Request' and 'Response'. */
  readonly requests: ReadonlyMap<string, KafkaSchema>
  readonly responses: ReadonlyMap<string, KafkaSchema>
}

/** A schema file is JSON with comments. */
export function parseKafkaSchema (text: string): KafkaSchema {
  return JSON.parse(text.replace(/"(?:[^"\\]|\\.)*"|\/\/.*$/gm, (token) => token.startsWith('//') ? '' : token))
}

/** What only brokers and controllers send to each other; no client does, so none is declared. */
const BETWEEN_SERVERS: ReadonlySet<string> = new Set([
  'AllocateProducerIds', 'AlterPartition', 'AssignReplicasToDirs', 'BeginQuorumEpoch', 'BrokerHeartbeat', 'BrokerRegistration',
  'ControllerRegistration', 'DeleteShareGroupState', 'EndQuorumEpoch', 'Envelope', 'FetchSnapshot', 'InitializeShareGroupState',
  'ReadShareGroupState', 'ReadShareGroupStateSummary', 'UpdateRaftVoter', 'Vote', 'WriteShareGroupState'
])

export function differences (apis: readonly Api[], schemas: Schemas): string[] {
  const found: string[] = []
  const declaredNames = apis.map(({ name }) => name)
  for (const name of new Set(declaredNames)) {
    if (declaredNames.indexOf(name) !== declaredNames.lastIndexOf(name)) found.push(`${name}: declared twice`)
  }
  for (const [name, schema] of schemas.requests) {
    if (schema.validVersions !== 'none' && !BETWEEN_SERVERS.has(name) && !declaredNames.includes(name)) found.push(`${name}: not declared`)
  }
  for (const api of apis) found.push(...apiDifferences(api, schemas.requests.get(api.name), schemas.responses.get(api.name)))
  return found
}

function apiDifferences (api: Api, request: KafkaSchema | undefined, response: KafkaSchema | undefined): string[] {
  if (request === undefined || response === undefined) return [`${api.name}: Kafka has no such API`]
  const last = parseVersions(api.versions).last
  const found: string[] = []
  const expect = (what: string, ours: unknown, theirs: unknown): void => {
    if (ours !== theirs) found.push(`${api.name}: ${what} is ${ours}, but ${theirs} in Kafka`)
  }
  for (const schema of [request, response]) {
    expect(`the key (${schema.type})`, api.key, schema.apiKey)
    expect(`the range of versions (${schema.type})`, versionSet(api.versions, Infinity), versionSet(schema.validVersions, Infinity))
    expect(`the range of flexible versions (${schema.type})`, versionSet(api.flexible, last), versionSet(schema.flexibleVersions, last))
  }
  expect('latestVersionUnstable', api.latestVersionUnstable, request.latestVersionUnstable ?? false)
  found.push(...new Comparison(request, last).fields(`${api.name}.request`, api.request, request.fields))
  found.push(...new Comparison(response, last).fields(`${api.name}.response`, api.response, response.fields))
  return found
}

/** Compares the fields of one message. */
class Comparison {
  constructor (private readonly schema: KafkaSchema, private readonly last: number) {}

  fields (at: string, ours: Fields, theirs: readonly KafkaField[]): string[] {
    const names = Object.keys(ours)
    const expected = theirs.map(({ name }) => name[0]!.toLowerCase() + name.slice(1))
    const found: string[] = []
    if (names.join() !== expected.join()) found.push(`${at}: the fields are ${names.join(', ')}, but ${expected.join(', ')} in Kafka`)
    for (const [index, name] of expected.entries()) {
      const field = ours[name]
      if (field !== undefined) found.push(...this.field(`${at}.${name}`, field, theirs[index]!))
    }
    return found
  }

  private field (at: string, ours: Field, theirs: KafkaField): string[] {
    const found = this.type(at, ours, theirs, theirs.type)
    const expect = (what: string, mine: unknown, kafkas: unknown): void => {
      if (mine !== kafkas) found.push(`${at}: ${what} is ${mine}, but ${kafkas} in Kafka`)
    }
    const versions = versionSet(theirs.versions, this.last)
    expect('versions', versionSet(ours.versions, this.last), versions)
    expect('nullable', versionSet(ours.nullable, this.last), versionSet(theirs.nullableVersions ?? 'none', this.last))
    expect('tag', ours.tag, theirs.tag)
    if (theirs.tag !== undefined) expect('the range of tagged versions', versions, versionSet(theirs.taggedVersions ?? 'none', this.last))
    expect('a range of flexible versions of the field', undefined, theirs.flexibleVersions)
    expect('default', ourDefault(ours), theirDefault(ours, theirs))
    return found
  }

  private type (at: string, ours: Field, theirs: KafkaField, type: string): string[] {
    if (ours.type === 'array') {
      if (!type.startsWith('[]')) return [`${at}: an array, but ${type} in Kafka`]
      return this.type(`${at}[]`, ours.element!, theirs, type.slice(2))
    }
    if (ours.type !== 'struct') return ours.type === type ? [] : [`${at}: type is ${ours.type}, but ${type} in Kafka`]
    const fields = theirs.fields ?? this.schema.commonStructs?.find(({ name }) => name === type)?.fields
    return fields === undefined ? [`${at}: a struct, but ${type} in Kafka`] : this.fields(at, ours.fields!, fields)
  }
}

function versionSet (range: string, lastKnown: number): string {
  const { first, last } = parseVersions(range)
  const end = Math.min(last, lastKnown)
  return first > end ? 'none' : `${first}-${end}`
}

/** Defaults as text: what a field is when nobody set it. Empty strings, arrays and bytes are ''; structs have none of their own. */
function ourDefault ({ type, default: value }: Field): string {
  if (value === undefined) return zero(type)
  return Array.isArray(value) ? value.join() : String(value)
}

/** A default beyond the safe integers stands for "no limit"; a `clamp` field says so with the largest safe one. */
function theirDefault ({ type, clamp }: Field, { default: value }: KafkaField): string {
  if (clamp && Number(value) > Number.MAX_SAFE_INTEGER) return String(Number.MAX_SAFE_INTEGER)
  if (value === undefined || value === '') return zero(type)
  if (typeof value === 'string' && /^-?0x/.test(value)) return String(Number(value))
  return String(value)
}

function zero (type: Field['type']): string {
  switch (type) {
    case 'bool': return 'false'
    case 'uuid': return ZERO_UUID
    case 'string': case 'bytes': case 'records': case 'array': return ''
    case 'struct': return 'struct'
    default: return '0'
  }
}
