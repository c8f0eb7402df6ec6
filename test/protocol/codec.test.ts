/**
 * Every message in every version: round trips, and what becomes of damaged ones. HAULOUT_PROPERTY_RUNS raises the number of arbitrary
 * messages each (default 8); from 100 on, every byte of a message is changed to every other value.
 */
import assert from 'node:assert/strict'
import { setFlagsFromString } from 'node:v8'
import fc from 'fast-check'
import t from 'tap'
import { requestDecoder, requestEncoder, responseDecoder, responseEncoder } from '../../src/protocol/codec.js'
import { ELEMENTS_MAX } from '../../src/protocol/reader.js'
import { ProtocolError } from '../../src/protocol/protocol-error.js'
import { api, array, int32, int64, string, struct, uuid, type Api, type Fields } from '../../src/protocol/schema.js'
import * as declared from '../../src/protocol/schemas/index.js'
import { parseVersions } from '../../src/protocol/versions.js'
import { arbitraryInput, expectedMessage, weight, type Message } from '../support/arbitrary-messages.js'

const RUNS = Number(process.env.HAULOUT_PROPERTY_RUNS ?? 8)
const SEED = Number(process.env.HAULOUT_PROPERTY_SEED ?? 20260101)

t.setTimeout(RUNS < 100 ? 60_000 : 0)
Error.stackTraceLimit = 0 // a million errors are made here, and none is looked at

interface Case {
  readonly name: string
  readonly fields: Fields
  readonly version: number
  readonly encode: (value: any) => Buffer[]
  readonly decode: (frame: Buffer, position: number) => any
}

const apis: readonly Api<any, any>[] = Object.values(declared)
const cases: readonly Case[] = apis.flatMap((api) => {
  const { first, last } = parseVersions(api.versions)
  return Array.from({ length: last - first + 1 }, (_, index) => first + index).flatMap((version): Case[] => [
    { name: `${api.name} request v${version}`, fields: api.request, version, encode: requestEncoder(api, version), decode: requestDecoder(api, version) },
    { name: `${api.name} response v${version}`, fields: api.response, version, encode: responseEncoder(api, version), decode: responseDecoder(api, version) }
  ])
})

/** One message, the same in every run. */
function sample ({ fields, version }: Case, seed: number): Message {
  return fc.sample(arbitraryInput(fields, version), { numRuns: 1, seed })[0]!
}

/** The names of fields, in order, at all depths. */
function shape (value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shape)
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return null
  return Object.entries(value).map(([name, inner]) => [name, shape(inner)])
}

/** Decodes bytes that may be damaged: the value, or undefined after a ProtocolError. Any other error fails the test. */
function decodeDamaged (one: Case, frame: Buffer, what: () => string): unknown {
  try {
    const value = one.decode(frame, 0)
    const held = weight(one.fields, one.version, value)
    if (held > frame.length) assert.fail(`${one.name}, ${what()}: ${held} from ${frame.length} bytes`)
    return value
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw new Error(`${one.name}, ${what()}: ${String(error)}`, { cause: error })
    return undefined
  }
}

t.test('round trips of every message in every version', async (t) => {
  for (const one of cases) {
    fc.assert(fc.property(arbitraryInput(one.fields, one.version), (input) => {
      const frame = Buffer.concat(one.encode(input))
      const expected = expectedMessage(one.fields, one.version, input)
      const decoded = one.decode(frame, 0)
      assert.deepEqual(decoded, expected, one.name)
      assert.deepEqual(shape(decoded), shape(expected), `${one.name}: the order of fields`)
      assert.deepEqual(Buffer.concat(one.encode(decoded)), frame, `${one.name}: encoded again`)
    }), { numRuns: RUNS, seed: SEED })
  }
  t.pass(`${cases.length} messages and versions`)
})

t.test('messages longer than the chunks of a writer', async (t) => {
  for (let bytes = 480; bytes < 540; bytes++) {
    const response = { topics: [{ name: 'n'.repeat(bytes) }, { name: 'm'.repeat(3000) }, { name: 'last' }] }
    for (const version of [5, 12]) {
      const decoded = responseDecoder(declared.metadata, version)(Buffer.concat(responseEncoder(declared.metadata, version)(response as any)), 0)
      if (decoded.topics.map(({ name }) => name).join() !== response.topics.map(({ name }) => name).join()) t.fail(`${bytes} bytes, v${version}`)
    }
  }
  t.pass()
})

t.test('every truncation ends in a value or a ProtocolError', async (t) => {
  let refused = 0
  for (const one of cases) {
    const frame = Buffer.concat(one.encode(sample(one, SEED)))
    for (let length = 0; length < frame.length; length++) {
      if (decodeDamaged(one, frame.subarray(0, length), () => `cut to ${length}`) === undefined) refused++
      else assert.fail(`${one.name}: ${length} of ${frame.length} bytes are a whole message`)
    }
  }
  t.ok(refused > 10_000)
})

t.test('every change of a byte ends in a value or a ProtocolError', async (t) => {
  const interesting = [0, 1, 2, 3, 5, 0x10, 0x3f, 0x7f, 0x80, 0x81, 0xc0, 0xfe, 0xff]
  const all = Array.from({ length: 256 }, (_, value) => value)
  let decodedCount = 0
  let refused = 0
  for (const one of cases) {
    const frame = Buffer.concat(one.encode(sample(one, SEED + 1)))
    for (let at = 0; at < frame.length; at++) {
      const byte = frame[at]!
      for (const value of RUNS >= 100 ? all : interesting) {
        frame[at] = value
        if (decodeDamaged(one, frame, () => `byte ${at} changed from ${byte} to ${value}`) === undefined) refused++
        else decodedCount++
      }
      frame[at] = byte
    }
  }
  t.ok(decodedCount > 100_000)
  t.ok(refused > 30_000, `${refused} of ${refused + decodedCount} refused`)
})

t.test('random bytes end in a value or a ProtocolError', async (t) => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(cases.length - 1), (bytes, index) => {
    decodeDamaged(cases[index]!, Buffer.from(bytes), () => Buffer.from(bytes).toString('hex'))
  }), { numRuns: RUNS * 500, seed: SEED })
  t.pass()
})

const example = api({
  key: 999,
  name: 'Example',
  versions: '0-3',
  flexible: '2+',
  request: {
    name: string({ nullable: '1+' }),
    list: array(struct({ id: int32(), text: string({ versions: '1+', default: 'none' }) }), { nullable: '1+' }),
    inner: struct({ offset: int64({ clamp: true }) }, { versions: '1+', nullable: '2+', default: null }),
    exact: int64({ versions: '0' }),
    taggedId: uuid({ versions: '2+', tag: 0 }),
    taggedLimit: int32({ versions: '3+', tag: 1, default: 7 }),
    taggedNames: array(string(), { versions: '2+', tag: 5, nullable: '2+' })
  },
  response: {}
})

const decode = (version: number, hex: string): unknown => requestDecoder(example, version)(Buffer.from(hex.replaceAll(' ', ''), 'hex'), 0)
const encode = (version: number, request: Parameters<ReturnType<typeof requestEncoder<typeof example>>>[0]): string =>
  Buffer.concat(requestEncoder(example, version)(request)).toString('hex')
const defaults = { name: '', list: [], inner: null, exact: 0, taggedId: 'AAAAAAAAAAAAAAAAAAAAAA', taggedLimit: 7, taggedNames: [] }

t.test('bytes on the wire, by hand', async (t) => {
  t.equal(encode(0, { name: 'ab', list: [{ id: 1 }], exact: -2 }), '00026162' + '00000001' + '00000001' + 'fffffffffffffffe')
  t.equal(encode(1, { name: null, list: null, inner: { offset: 1 } }), 'ffff' + 'ffffffff' + '0000000000000001')
  t.equal(encode(2, { name: 'ab', list: [{ id: 1 }] }), '036162' + '02' + '00000001' + '056e6f6e65' + '00' + 'ff' + '00')
  t.equal(encode(3, { name: '', list: [], inner: { offset: 9 }, taggedNames: null, taggedLimit: 8 }),
    '01' + '01' + '01' + '0000000000000009' + '00' + '02' + '01' + '04' + '00000008' + '05' + '01' + '00')
  t.equal(encode(3, { name: null, list: null, taggedLimit: 7, taggedNames: [], taggedId: 'AAAAAAAAAAAAAAAAAAAAAA' }), '00' + '00' + 'ff' + '00', 'defaults are not sent')
})

t.test('defaults of what the version lacks or the sender leaves out', async (t) => {
  t.same(decode(0, '0000 00000000 0000000000000005'), { ...defaults, exact: 5 })
  t.same(decode(2, '01 01 ff 00'), defaults)
})

t.test('tagged fields that nobody knows are skipped, at any depth', async (t) => {
  t.same(decode(2, '01 02 00000001 01 01 63 02 aabb ff 01 0a 03 112233'), { ...defaults, list: [{ id: 1, text: '' }] })
  t.same(decode(2, '01 01 ff 01 01 04 00000009'), defaults, 'a tag of a later version')
})

for (const [what, version, hex, message] of [
  ['null for a string that may not be', 0, 'ffff', /null before position 2, where the field may not be null/],
  ['null for an array that may not be', 0, '0000 ffffffff', /may not be null/],
  ['a length below -1', 1, 'fffe', /negative length -2/],
  ['a string longer than the frame', 0, '0010 61', /16 bytes expected at position 2, but only 1 are left/],
  ['a compact string over 32767 bytes', 2, '8180 04', /at most 32767/],
  ['more elements than the frame can hold', 0, '0000 7fffffff 00000000', /2147483647 elements announced/],
  ['a varint of more than 32 bits', 2, 'ffffffffff01', /longer than 32 bits/],
  ['a varint without an end', 2, 'ffff', /1 bytes expected/],
  ['an int64 that is no safe integer', 0, '0000 00000000 0020000000000000', /outside the safe range/],
  ['a tagged field longer than its size', 2, '01 01 ff 01 00 08 0000000000000000 0000000000000000', /16 bytes expected/],
  ['a tagged field shorter than its size', 2, '01 01 ff 01 05 03 01 ffff', /a tagged field ends at position 7, but its size says 9/],
  ['a tagged field longer than the frame', 2, '01 01 ff 01 63 7f 00', /127 bytes expected/],
  ['more tagged fields than there are', 2, '01 01 ff ffffffff0f', /expected/]
] as const) {
  t.test(`refuses ${what}`, async (t) => {
    t.throws(() => decode(version, hex), { name: 'ProtocolError', message })
  })
}

t.test('int64 at the edges: exact, or clamped where the field says so', async (t) => {
  const offset = (hex: string): number => (decode(1, `ffff ffffffff ${hex}`) as { inner: { offset: number } }).inner.offset
  t.equal(offset('7fffffffffffffff'), Number.MAX_SAFE_INTEGER)
  t.equal(offset('8000000000000000'), Number.MIN_SAFE_INTEGER)
  t.equal(offset('001fffffffffffff'), Number.MAX_SAFE_INTEGER)
  t.equal(offset('ffe0000000000001'), Number.MIN_SAFE_INTEGER)
  t.equal(offset('fffffffffffffffe'), -2)
  const exact = (hex: string): number => (decode(0, `0000 00000000 ${hex}`) as { exact: number }).exact
  t.equal(exact('001fffffffffffff'), Number.MAX_SAFE_INTEGER)
  t.equal(exact('ffe0000000000001'), Number.MIN_SAFE_INTEGER)
  t.throws(() => exact('ffdfffffffffffff'), { name: 'ProtocolError' })
})

t.test('an encoder refuses what does not fit', async (t) => {
  for (const id of [2 ** 31, -(2 ** 31) - 1, 1.5, NaN, '1' as unknown as number]) {
    t.throws(() => encode(0, { name: '', list: [{ id }] }), { name: 'RangeError', message: /does not fit an int32/ })
  }
  t.throws(() => encode(0, { name: '', list: [], exact: 2 ** 53 }), { name: 'RangeError' })
  t.throws(() => encode(2, { name: 'x'.repeat(32768), list: [] }), { name: 'RangeError', message: /at most 32767/ })
  t.throws(() => encode(2, { name: '', list: [], taggedId: 'short' }), { name: 'RangeError', message: /not a uuid/ })
  t.throws(() => requestDecoder(example, 4), { name: 'ProtocolError', message: 'Example has no version 4, only 0-3' })
})

t.test('a frame of tiny elements cannot fill the heap', async (t) => {
  const count = ELEMENTS_MAX + 1
  const frame = Buffer.alloc(count * 4 + 6)
  frame.writeInt32BE(count, 2)
  t.throws(() => requestDecoder(example, 0)(frame, 0), { name: 'ProtocolError', message: /a message may have 1000000 in all/ })
})

t.test('bytes after a request are ignored, as Kafka does', async (t) => {
  t.same(decode(2, '01 01 ff 00 deadbeef'), defaults)
})

t.test('records travel by reference, both ways', async (t) => {
  const batch = Buffer.alloc(1000, 'r')
  const input = { acks: -1, timeoutMs: 1, topicData: [{ name: 't', partitionData: [{ index: 0, records: [batch, batch] }] }] }
  const parts = requestEncoder(declared.produce, 9)(input)
  t.equal(parts.filter((part) => part.buffer === batch.buffer).length, 2)
  const frame = Buffer.concat(parts)
  const records = requestDecoder(declared.produce, 9)(frame, 0).topicData[0]!.partitionData[0]!.records!
  t.equal(records.length, 1)
  t.equal(records[0]!.buffer, frame.buffer)
  t.equal(records[0]!.length, 2000)
})

t.test('objects of all versions share one hidden class', async (t) => {
  setFlagsFromString('--allow-natives-syntax')
  const sameClass = new Function('one', 'other', 'return %HaveSameMap(one, other)') as (one: unknown, other: unknown) => boolean
  const decoded = [3, 8, 9, 12].map((version) => requestDecoder(declared.produce, version)(
    Buffer.concat(requestEncoder(declared.produce, version)({ acks: 1, timeoutMs: 1, topicData: [] })), 0))
  for (const one of decoded) t.ok(sameClass(one, decoded[0]))
})
