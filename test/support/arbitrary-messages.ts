/** Arbitrary messages, made from a declaration: what an encoder may be given, and what a decoder must then return. */
import fc from 'fast-check'
import { ZERO_UUID, type Field, type Fields } from '../../src/protocol/schema.js'
import { includesVersion } from '../../src/protocol/versions.js'

export type Message = { readonly [name: string]: any }

/** Any input of an encoder for `version`. Fields outside the version, and now and then others that may be, are left out. */
export function arbitraryInput (fields: Fields, version: number): fc.Arbitrary<Message> {
  const required: Record<string, fc.Arbitrary<unknown>> = {}
  for (const [name, field] of Object.entries(fields)) {
    if (!includesVersion(field.versions, version)) continue
    const value = arbitraryField(field, version)
    const omittable = field.default !== undefined || field.tag !== undefined
    required[name] = omittable ? fc.option(value, { nil: undefined, freq: 4 }) : value
  }
  return fc.record(required)
}

function arbitraryField (field: Field, version: number): fc.Arbitrary<unknown> {
  const value = arbitraryValue(field, version)
  return includesVersion(field.nullable, version) ? fc.option(value, { nil: null, freq: 3 }) : value
}

function arbitraryValue (field: Field, version: number): fc.Arbitrary<unknown> {
  switch (field.type) {
    case 'bool': return fc.boolean()
    case 'int8': return fc.integer({ min: -128, max: 127 })
    case 'int16': return fc.integer({ min: -32768, max: 32767 })
    case 'uint16': return fc.integer({ min: 0, max: 65535 })
    case 'int32': return fc.integer()
    case 'uint32': return fc.integer({ min: 0, max: 2 ** 32 - 1 })
    case 'int64': return fc.maxSafeInteger()
    case 'float64': return fc.double({ noNaN: true }).map((value) => value + 0)
    case 'string': return fc.oneof(fc.string({ unit: 'grapheme', maxLength: 8 }), fc.constant('a-name.of_some_length'))
    case 'uuid': return fc.oneof(fc.constant(ZERO_UUID), fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('base64url')))
    case 'bytes': return arbitraryBytes
    case 'records': return fc.array(arbitraryBytes, { maxLength: 2 })
    case 'array': return fc.array(arbitraryField(field.element!, version), { maxLength: 2 })
    case 'struct': return arbitraryInput(field.fields!, version)
  }
}

/** Short and long: a writer copies the short ones and refers to the long ones. */
const arbitraryBytes = fc.oneof({ weight: 9, arbitrary: fc.uint8Array({ maxLength: 9 }) }, { weight: 1, arbitrary: fc.uint8Array({ minLength: 600, maxLength: 700 }) })
  .map((bytes) => Buffer.from(bytes))

/** What a decoder of `version` must return for what an encoder was given: every field, in declared order. */
export function expectedMessage (fields: Fields, version: number, input: Message): Message {
  return Object.fromEntries(Object.entries(fields).map(([name, field]) => {
    const value = includesVersion(field.versions, version) ? input[name] : undefined
    return [name, value === undefined ? defaultOf(field) : expectedValue(field, version, value)]
  }))
}

function expectedValue (field: Field, version: number, value: any): unknown {
  if (value === null) return null
  if (field.type === 'struct') return expectedMessage(field.fields!, version, value)
  if (field.type === 'array') return value.map((item: unknown) => expectedValue(field.element!, version, item))
  if (field.type === 'records') return [Buffer.concat(value)]
  return value
}

function defaultOf (field: Field): unknown {
  if (field.default !== undefined) return field.default
  switch (field.type) {
    case 'bool': return false
    case 'string': return ''
    case 'uuid': return ZERO_UUID
    case 'bytes': return Buffer.alloc(0)
    case 'records': case 'array': return []
    case 'struct': return expectedMessage(field.fields!, -1, {})
    default: return 0
  }
}

/**
 * How much a decoded message holds that came from its frame: array elements, characters and bytes, each of which needs a byte on the
 * wire at least. Numbers are left out: their size does not depend on the frame.
 */
export function weight (fields: Fields, version: number, value: Message): number {
  let sum = 0
  for (const [name, field] of Object.entries(fields)) {
    if (includesVersion(field.versions, version)) sum += fieldWeight(field, version, value[name])
  }
  return sum
}

function fieldWeight (field: Field, version: number, value: any): number {
  if (value === null) return 0
  switch (field.type) {
    case 'string': case 'bytes': return value.length
    case 'records': return value.reduce((sum: number, part: Buffer) => sum + part.length, 0)
    case 'array': return value.reduce((sum: number, item: unknown) => sum + 1 + fieldWeight(field.element!, version, item), 0)
    case 'struct': return weight(field.fields!, version, value)
    default: return 0
  }
}
