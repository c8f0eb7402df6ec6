/**
 * Compares every declaration in src/protocol/schemas with the schemas inside Apache's own kafka-clients jar: keys, versions, flexible
 * versions, field order, names, types, versions, nullability, tags and defaults, in both directions, for requests and responses.
 *
 *     npm run check:schemas
 *
 * The jar is pinned by version and hash and comes from Maven Central once, into the cache of scripts/kafka-fetch.mjs. Without Maven
 * or a network the check is skipped and says why. Before it believes itself it changes copies of the declarations, one property
 * at a time, and fails unless every change is noticed. Then arbitrary messages of every version go through Kafka's own codecs
 * (check-codecs.ts).
 */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { inflateRawSync } from 'node:zlib'
import type { Api, Field, Fields } from '../src/protocol/schema.js'
import * as declared from '../src/protocol/schemas/index.js'
import { checkCodecs } from './check-codecs.js'
import { differences, parseKafkaSchema, type Schemas } from './schema-differences.js'

const KAFKA_CLIENTS_VERSION = '4.4.0'
const KAFKA_CLIENTS_SHA256 = '1ab07317eb6633241392449d329dbdc5d9251e6ffc4926860f42dd966e88bdf9'
const root = packageRoot(path.dirname(fileURLToPath(import.meta.url)))

const jar = await fetchJar().catch((error: Error) => error)
if (jar instanceof Error) {
  console.log(`skipped: kafka-clients ${KAFKA_CLIENTS_VERSION} cannot be had: ${jar.message.trim()}`)
  console.log('0 passed, 0 failed, 1 skipped')
} else {
  const schemas = report(readSchemas(jar))
  const codecs = await checkCodecs(root)
  console.log(`${schemas.passed + codecs.passed} passed, ${schemas.failed + codecs.failed} failed` + (codecs.skipped > 0 ? `, ${codecs.skipped} skipped` : ''))
  if (schemas.failed + codecs.failed > 0) process.exitCode = 1
}

function report (schemas: Schemas): { readonly passed: number, readonly failed: number } {
  const apis: readonly Api[] = Object.values(declared)
  const found = differences(apis, schemas)
  for (const difference of found) console.log(difference)
  const unnoticed = mutations(apis).filter(({ mutated }) => differences(mutated, schemas).join() === found.join())
  for (const { what } of unnoticed) console.log(`the check does not notice: ${what}`)
  const bad = new Set(found.map((difference) => difference.split(/[.:]/)[0])).size
  console.log(`${apis.length} declarations compared with kafka-clients ${KAFKA_CLIENTS_VERSION}: ${found.length} differences`)
  return { passed: Math.max(0, apis.length - bad), failed: bad + unnoticed.length }
}

/** Copies of all declarations with one property of one changed: each must make a difference. */
function mutations (apis: readonly Api[]): { readonly what: string, readonly mutated: readonly Api[] }[] {
  const change = (what: string, name: string, side: 'request' | 'response' | undefined, edit: (target: any) => any): { what: string, mutated: Api[] } =>
    ({ what, mutated: apis.map((one) => one.name !== name ? one : side === undefined ? { ...one, ...edit(one) } : { ...one, [side]: edit(one[side]) }) })
  const swapped = (fields: Fields): Fields => Object.fromEntries(Object.entries(fields).reverse())
  const edited = (key: string, patch: Partial<Field>) => (fields: Fields): Fields => ({ ...fields, [key]: { ...fields[key]!, ...patch } })
  return [
    { what: 'a missing API', mutated: apis.slice(1) },
    { what: 'an API declared twice', mutated: [...apis, apis[0]!] },
    change('the key', 'Produce', undefined, () => ({ key: 1 })),
    change('the versions', 'Fetch', undefined, () => ({ versions: '4-17' })),
    change('the flexible versions', 'Heartbeat', undefined, () => ({ flexible: '3+' })),
    change('an unstable version', 'Heartbeat', undefined, () => ({ latestVersionUnstable: true })),
    change('the order of fields', 'Heartbeat', 'request', swapped),
    change('a field too few', 'Heartbeat', 'response', ({ errorCode, ...others }) => others),
    change('a field too many', 'Heartbeat', 'response', (fields) => ({ ...fields, extra: fields.errorCode })),
    change('a type', 'Heartbeat', 'response', edited('errorCode', { type: 'int32' })),
    change('the versions of a field', 'Heartbeat', 'request', edited('groupInstanceId', { versions: '2+' })),
    change('nullability', 'Heartbeat', 'request', edited('memberId', { nullable: '3+' })),
    change('a default', 'Heartbeat', 'request', edited('groupInstanceId', { default: undefined })),
    change('a tag', 'ApiVersions', 'response', edited('finalizedFeaturesEpoch', { tag: 7 })),
    change('a missing tag', 'ApiVersions', 'response', edited('finalizedFeaturesEpoch', { tag: undefined })),
    change('a field inside an array', 'Metadata', 'response', (fields) => ({
      ...fields,
      brokers: { ...fields.brokers, element: { ...fields.brokers.element, fields: edited('port', { type: 'int16' })(fields.brokers.element.fields) } }
    }))
  ]
}

async function fetchJar (): Promise<string> {
  const { mavenClasspath } = await import(pathToFileURL(path.join(root, 'scripts/kafka-fetch.mjs')).href)
  const classpath: string = await mavenClasspath(`kafka-clients-${KAFKA_CLIENTS_VERSION}`, [`org.apache.kafka:kafka-clients:${KAFKA_CLIENTS_VERSION}`])
  return path.join(path.dirname(classpath), `kafka-clients-${KAFKA_CLIENTS_VERSION}.jar`)
}

/** The schemas of the requests that a client can send, by their name, and of the responses. */
function readSchemas (jar: string): Schemas {
  const sha256 = createHash('sha256').update(readFileSync(jar)).digest('hex')
  if (sha256 !== KAFKA_CLIENTS_SHA256) throw new Error(`${jar} has the SHA-256 ${sha256}, but ${KAFKA_CLIENTS_SHA256} is expected; remove it and try again`)
  const schemas = [...unzip(readFileSync(jar), /^common\/message\/\w+\.json$/)].map((file) => parseKafkaSchema(file.toString()))
  return {
    requests: new Map(schemas.filter(({ type }) => type === 'request').map((schema) => [schema.name.replace(/Request$/, ''), schema])),
    responses: new Map(schemas.filter(({ type }) => type === 'response').map((schema) => [schema.name.replace(/Response$/, ''), schema]))
  }
}

/** The files of a zip archive whose names match (APPNOTE.TXT 4.3.12: the central directory, found from its end record). */
function * unzip (zip: Buffer, wanted: RegExp): Generator<Buffer> {
  const end = zip.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'))
  const count = zip.readUInt16LE(end + 10)
  let at = zip.readUInt32LE(end + 16)
  for (let index = 0; index < count; index++) {
    const nameBytes = zip.readUInt16LE(at + 28)
    const name = zip.toString('utf8', at + 46, at + 46 + nameBytes)
    if (wanted.test(name)) {
      const header = zip.readUInt32LE(at + 42)
      const start = header + 30 + zip.readUInt16LE(header + 26) + zip.readUInt16LE(header + 28)
      const stored = zip.subarray(start, start + zip.readUInt32LE(at + 20))
      yield zip.readUInt16LE(at + 10) === 0 ? stored : inflateRawSync(stored)
    }
    at += 46 + nameBytes + zip.readUInt16LE(at + 30) + zip.readUInt16LE(at + 32)
  }
}

function packageRoot (folder: string): string {
  return existsSync(path.join(folder, 'package.json')) ? folder : packageRoot(path.dirname(folder))
}
