/** Compares a decoded message with the JSON that Kafka's own converters write of it (generator JsonConverterGenerator.java). */
import type { Field, Fields } from '../../src/protocol/schema.js'
import { includesVersion } from '../../src/protocol/versions.js'

/** Sentences, one for each difference. Kafka's JSON leaves out fields that the version lacks and tagged fields that equal their default. */
export function kafkaDifferences (fields: Fields, version: number, decoded: any, json: any, at = ''): string[] {
  const differences: string[] = []
  const names = new Set(Object.keys(json))
  for (const [name, field] of Object.entries(fields)) {
    const inJson = field.type === 'records' && name in json === false ? `${name}SizeInBytes` : name
    const isInVersion = includesVersion(field.versions, version)
    if (names.delete(inJson)) {
      if (isInVersion) differences.push(...fieldDifferences(field, version, decoded[name], json[inJson], `${at}.${name}`))
      else differences.push(`${at}.${name} is in Kafka's JSON, but not in version ${version}`)
    } else if (isInVersion && field.tag === undefined) differences.push(`${at}.${name} is missing in Kafka's JSON`)
  }
  for (const name of names) differences.push(`${at}.${name} of Kafka's JSON is not declared`)
  return differences
}

function fieldDifferences (field: Field, version: number, decoded: any, json: any, at: string): string[] {
  if (decoded === null || json === null) return decoded === json ? [] : [`${at}: ${decoded}, but ${json} in Kafka`]
  switch (field.type) {
    case 'struct': return kafkaDifferences(field.fields!, version, decoded, json, at)
    case 'array':
      if (decoded.length !== json.length) return [`${at}: ${decoded.length} elements, but ${json.length} in Kafka`]
      return decoded.flatMap((item: unknown, index: number) => fieldDifferences(field.element!, version, item, json[index], `${at}[${index}]`))
    case 'bytes': return same(decoded.toString('base64'), json, at)
    case 'records': return same(decoded.reduce((sum: number, part: Buffer) => sum + part.length, 0), json, at)
    // JSON has no such numbers: Kafka's writer puts their names in quotation marks.
    case 'float64': return same(Number.isFinite(decoded) ? decoded : String(decoded), json, at)
    default: return same(decoded, json, at)
  }
}

function same (decoded: unknown, json: unknown, at: string): string[] {
  return decoded === json ? [] : [`${at}: ${JSON.stringify(decoded)}, but ${JSON.stringify(json)} in Kafka`]
}
