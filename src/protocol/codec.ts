/**
 * Compiles declarations (schema.ts) into codecs: one specialised decoder and one encoder per message and version, made on first
 * use from generated source (docs/decisions/compiled-codecs.md).
 *
 * A decoder returns one object literal with every field in declared order, whatever the version, so that all versions share one
 * hidden class; a field that the version lacks has its default. An encoder takes the same object with defaults left out, skips
 * tagged fields that equal their default, and sends records by reference. Only declarations of this package become source:
 * nothing that arrives from outside does.
 */
import { ProtocolError } from './protocol-error.js'
import { Reader } from './reader.js'
import { ZERO_UUID, type Api, type Field, type Fields, type RequestInputOf, type RequestOf, type ResponseInputOf, type ResponseOf } from './schema.js'
import { includesVersion } from './versions.js'
import { Writer } from './writer.js'

type Decode = (reader: Reader) => any
type Encode = (writer: Writer, value: any) => void

export interface MessageCodec {
  readonly decode: Decode
  readonly encode: Encode
}

/**
 * Decodes a request body that begins at `position` of a frame. Throws ProtocolError. Bytes after the body are ignored, as in Kafka:
 * RequestContext.parseRequest reads the body from the buffer and does not ask what remains.
 */
export function requestDecoder<A extends Api<any, any>> (api: A, version: number): (frame: Buffer, position: number) => RequestOf<A> {
  return decoder(codecFor(api, 'request', version))
}

export function responseDecoder<A extends Api<any, any>> (api: A, version: number): (frame: Buffer, position: number) => ResponseOf<A> {
  return decoder(codecFor(api, 'response', version))
}

/** Encodes a request body into parts whose concatenation is what goes over the wire. Throws RangeError for values that do not fit. */
export function requestEncoder<A extends Api<any, any>> (api: A, version: number): (request: RequestInputOf<A>) => Buffer[] {
  return encoder(codecFor(api, 'request', version))
}

export function responseEncoder<A extends Api<any, any>> (api: A, version: number): (response: ResponseInputOf<A>) => Buffer[] {
  return encoder(codecFor(api, 'response', version))
}

/** Whether the message of this version uses compact lengths and tagged fields (KIP-482). */
export function isFlexible (api: Api<any, any>, version: number): boolean {
  return includesVersion(api.flexible, version)
}

/** A struct that is not an API's, such as a value in one of Kafka's internal topics. `flexible` says how it is written. */
export function structCodec<F extends Fields> (fields: F, version: number, flexible: boolean): MessageCodec {
  return compile(fields, version, flexible)
}

function decoder (codec: MessageCodec): (frame: Buffer, position: number) => any {
  return (frame, position) => codec.decode(new Reader(frame, position))
}

function encoder (codec: MessageCodec): (value: any) => Buffer[] {
  return (value) => {
    const writer = new Writer()
    codec.encode(writer, value)
    return writer.finish()
  }
}

const codecs = new WeakMap<Fields, Map<number, MessageCodec>>()

/** The codec of one message in one version; compiled when first asked for. */
export function codecFor (api: Api<any, any>, side: 'request' | 'response', version: number): MessageCodec {
  const fields: Fields = api[side]
  let versions = codecs.get(fields)
  if (versions === undefined) codecs.set(fields, versions = new Map())
  let codec = versions.get(version)
  if (codec === undefined) {
    if (!includesVersion(api.versions, version)) throw new ProtocolError(`${api.name} has no version ${version}, only ${api.versions}`)
    versions.set(version, codec = compile(fields, version, isFlexible(api, version)))
  }
  return codec
}

function compile (fields: Fields, version: number, flexible: boolean): MessageCodec {
  const source = new Source(version, flexible)
  const decode = source.structDecoder(fields)
  const encode = source.structEncoder(fields)
  const text = `'use strict'\nconst EMPTY = Buffer.alloc(0)\n${source.functions.join('\n')}\nreturn { decode: ${decode}, encode: ${encode} }`
  return new Function('Buffer', text)(Buffer) as MessageCodec
}

/** Names of the Reader's and Writer's methods for the types that have a length, as [plain, compact]. */
const METHODS: Readonly<Record<string, { readonly read: string, readonly write: string }>> = {
  string: { read: 'String', write: 'String' },
  bytes: { read: 'Bytes', write: 'Bytes' },
  records: { read: 'Records', write: 'Records' }
}

/** Smallest encoded size of a scalar, in bytes; those with a length can be empty. */
const SCALAR_BYTES: Readonly<Record<string, number>> = {
  bool: 1, int8: 1, int16: 2, uint16: 2, int32: 4, uint32: 4, int64: 8, float64: 8, uuid: 16
}

/** Generates the functions of one message in one version. */
class Source {
  readonly functions: string[] = []
  private names = 0

  constructor (private readonly version: number, private readonly flexible: boolean) {}

  structDecoder (fields: Fields): string {
    const name = this.name('decode')
    const lines = [`function ${name} (r) {`]
    const tagged: [string, Field][] = []
    for (const [key, field] of Object.entries(fields)) {
      if (!this.has(field)) lines.push(`const ${local(key)} = ${this.defaultOf(field)}`)
      else if (field.tag !== undefined) {
        lines.push(`let ${local(key)} = ${this.defaultOf(field)}`)
        tagged.push([key, field])
      } else lines.push(...this.read(field, local(key), 'const'))
    }
    if (this.flexible) lines.push(...this.readTagged(tagged))
    lines.push(`return { ${Object.keys(fields).map((key) => `${key}: ${local(key)}`).join(', ')} }`, '}')
    this.functions.push(lines.join('\n'))
    return name
  }

  structEncoder (fields: Fields): string {
    const name = this.name('encode')
    const lines = [`function ${name} (w, v) {`]
    const tagged: [string, Field][] = []
    for (const [key, field] of Object.entries(fields)) {
      if (!this.has(field)) continue
      lines.push(`let ${local(key)} = v.${key}`)
      lines.push(`if (${local(key)} === undefined) ${local(key)} = ${this.defaultOf(field)}`)
      if (field.tag !== undefined) tagged.push([key, field])
      else lines.push(...this.write(field, local(key)))
    }
    if (this.flexible) lines.push(...this.writeTagged(tagged))
    lines.push('}')
    this.functions.push(lines.join('\n'))
    return name
  }

  /** Lines that declare or assign `target` from the reader `r`. */
  private read (field: Field, target: string, declare: 'const' | ''): string[] {
    const assign = `${declare} ${target} =`
    if (field.type === 'struct') {
      const decode = `${this.structDecoder(field.fields!)}(r)`
      return [this.isNullable(field) ? `${assign} r.int8() < 0 ? null : ${decode}` : `${assign} ${decode}`]
    }
    if (field.type === 'array') return [`${assign} ${this.arrayDecoder(field)}(r)`]
    return [`${assign} ${this.readScalar(field)}`]
  }

  private arrayDecoder (field: Field): string {
    const element = field.element!
    const count = camel([this.flexible && 'compact', this.isNullable(field) && 'nullable', 'count'])
    const elementBytesMin = Math.max(1, this.bytesMin(element))
    const item = this.name('item')
    const name = this.name('array')
    this.functions.push([
      `function ${name} (r) {`,
      `const count = r.${count}(${elementBytesMin})`,
      this.isNullable(field) ? 'if (count < 0) return null' : '',
      'const list = []',
      'for (let index = 0; index < count; index++) {',
      ...this.read(element, item, 'const'),
      `list.push(${item})`,
      '}',
      'return list',
      '}'
    ].join('\n'))
    return name
  }

  private readScalar (field: Field): string {
    const sized = METHODS[field.type]
    if (sized !== undefined) return `r.${camel([this.flexible && 'compact', this.isNullable(field) && 'nullable', sized.read])}()`
    return field.type === 'int64' && field.clamp ? 'r.int64Clamped()' : `r.${field.type}()`
  }

  private readTagged (tagged: readonly [string, Field][]): string[] {
    const lines = ['for (let left = r.uvarint(); left > 0; left--) {', 'const tag = r.uvarint()', 'const outerEnd = r.enter(r.uvarint())']
    for (const [key, field] of tagged) {
      lines.push(`if (tag === ${field.tag}) {`, ...this.read(field, local(key), ''), '} else')
    }
    lines.push('r.position = r.end', 'r.leave(outerEnd)', '}')
    return lines
  }

  private write (field: Field, value: string): string[] {
    if (field.type === 'struct') {
      const encode = `${this.structEncoder(field.fields!)}(w, ${value})`
      return this.isNullable(field) ? [`if (${value} === null) w.int8(-1)`, `else { w.int8(1); ${encode} }`] : [encode]
    }
    if (field.type === 'array') return this.writeArray(field, value)
    const sized = METHODS[field.type]
    if (sized === undefined) return [`w.${field.type}(${value})`]
    const method = camel([this.flexible && 'compact', this.isNullable(field) && 'nullable', sized.write])
    return [`w.${method === 'bytes' ? 'bytesField' : method}(${value})`]
  }

  private writeArray (field: Field, value: string): string[] {
    const item = this.name('item')
    const count = this.flexible ? 'compactCount' : 'count'
    const loop = [
      `w.${count}(${value}.length)`,
      `for (let index = 0; index < ${value}.length; index++) {`,
      `const ${item} = ${value}[index]`,
      ...this.write(field.element!, item),
      '}'
    ]
    return this.isNullable(field) ? [`if (${value} === null) w.${count}(-1)`, 'else {', ...loop, '}'] : loop
  }

  /** A tagged field is a tag, a size and the field; it is written apart first, because its size comes before it. */
  private writeTagged (tagged: readonly [string, Field][]): string[] {
    if (tagged.length === 0) return ['w.uvarint(0)']
    const inTagOrder = [...tagged].sort(([, one], [, other]) => one.tag! - other.tag!)
    const lines = ['let tags = 0']
    for (const [key, field] of inTagOrder) {
      lines.push(`const has_${key} = !(${this.isDefault(field, local(key))})`, `if (has_${key}) tags++`)
    }
    lines.push('w.uvarint(tags)')
    for (const [key, field] of inTagOrder) {
      lines.push(`if (has_${key}) {`, `w.uvarint(${field.tag})`, 'const outer = w', '{', 'const w = outer.nested()',
        ...this.write(field, local(key)), 'outer.uvarint(w.bytes)', 'outer.appendAll(w.finish())', '}', '}')
    }
    return lines
  }

  /** An expression: the value equals the field's default and need not be sent. */
  private isDefault (field: Field, value: string): string {
    if (field.default === null) return `${value} === null`
    if (field.type === 'array' || field.type === 'bytes') return `${value} !== null && ${value}.length === 0`
    if (field.type !== 'struct') return `${value} === ${this.defaultOf(field)}`
    const parts = Object.entries(field.fields!).filter(([, inner]) => this.has(inner))
      .map(([key, inner]) => `(${value}.${key} === undefined || ${this.isDefault(inner, `${value}.${key}`)})`)
    return [`${value} !== null`, ...parts].join(' && ')
  }

  /** An expression for a field's default; structs and arrays are made anew each time. */
  private defaultOf (field: Field): string {
    if (field.default !== undefined) return JSON.stringify(field.default)
    switch (field.type) {
      case 'bool': return 'false'
      case 'string': return "''"
      case 'uuid': return JSON.stringify(ZERO_UUID)
      case 'bytes': return 'EMPTY'
      case 'records':
      case 'array': return '[]'
      case 'struct': return `{ ${Object.entries(field.fields!).map(([key, inner]) => `${key}: ${this.defaultOf(inner)}`).join(', ')} }`
      default: return '0'
    }
  }

  /** Smallest encoded size in bytes: bounds how many elements a frame can hold. */
  private bytesMin (field: Field): number {
    if (field.type === 'struct') {
      if (this.isNullable(field)) return 1
      const inner = Object.values(field.fields!).filter((one) => this.has(one) && one.tag === undefined)
      return inner.reduce((sum, one) => sum + this.bytesMin(one), this.flexible ? 1 : 0)
    }
    if (this.flexible) return SCALAR_BYTES[field.type] ?? 1
    return SCALAR_BYTES[field.type] ?? (field.type === 'string' ? 2 : 4)
  }

  private has (field: Field): boolean { return includesVersion(field.versions, this.version) }
  private isNullable (field: Field): boolean { return includesVersion(field.nullable, this.version) }
  private name (prefix: string): string { return `${prefix}${this.names++}` }
}

/** The local variable that holds a field: prefixed, so that no field name can be a reserved word. */
function local (key: string): string {
  return `$${key}`
}

/** ['compact', false, 'String'] -> 'compactString'. */
function camel (words: readonly (string | false)[]): string {
  return words.filter((word) => word !== false)
    .map((word, index) => index === 0 ? word[0]!.toLowerCase() + word.slice(1) : word[0]!.toUpperCase() + word.slice(1)).join('')
}
