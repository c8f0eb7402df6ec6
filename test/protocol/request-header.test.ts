import t from 'tap'
import { ProtocolError } from '../../src/protocol/protocol-error.js'
import {
  decodeRequestHeader, decodeRequestPrefix, decodeResponseHeader, encodeRequestFrame, encodeResponseFrame
} from '../../src/protocol/request-header.js'
import { apiVersions, fetch, heartbeat } from '../../src/protocol/schemas/index.js'
import { includesVersion, parseVersions } from '../../src/protocol/versions.js'

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex')
const hex = (parts: readonly Buffer[]): string => Buffer.concat(parts).toString('hex')
const request = { groupId: 'g', generationId: 1, memberId: 'm' }

t.test('request headers v1 and v2: the client id is never compact', async (t) => {
  const v1 = bytes('000c 0003 00000007 0002 6162 ff')
  t.same(decodeRequestHeader(v1, false), { apiKey: 12, apiVersion: 3, correlationId: 7, clientId: 'ab', bodyPosition: 12 })
  const v2 = bytes('000c 0004 00000007 0002 6162 00 ff')
  t.same(decodeRequestHeader(v2, true), { apiKey: 12, apiVersion: 4, correlationId: 7, clientId: 'ab', bodyPosition: 13 })
})

t.test('a client without an id, and tagged fields that nobody knows', async (t) => {
  t.match(decodeRequestHeader(bytes('000c 0003 00000007 ffff'), false), { clientId: '', bodyPosition: 10 })
  t.match(decodeRequestHeader(bytes('000c 0004 00000007 ffff 02 00 03 112233 09 00'), true), { clientId: '', bodyPosition: 18 })
})

t.test('every truncation of a header, and a tagged field that does not fit, is a ProtocolError', async (t) => {
  const whole = bytes('000c 0004 00000007 0002 6162 01 00 02 1122')
  for (let length = 0; length < whole.length; length++) {
    t.throws(() => decodeRequestHeader(whole.subarray(0, length), true), { name: 'ProtocolError' }, `${length} bytes`)
  }
  for (let length = 0; length < 8; length++) t.throws(() => decodeRequestPrefix(whole.subarray(0, length)), { name: 'ProtocolError' })
  t.throws(() => decodeRequestHeader(bytes('000c 0004 00000007 ffff 01 00 7f'), true), { message: /a tagged header field of 127 bytes does not fit/ })
  t.throws(() => decodeRequestHeader(bytes('000c 0003 00000007 fffe'), false), ProtocolError)
})

t.test('whole frames, with their length, in as few parts as can be', async (t) => {
  t.equal(hex(encodeRequestFrame(heartbeat, 0, 5, null, request)), '00000014' + '000c000000000005ffff' + '000167' + '00000001' + '00016d')
  t.equal(hex(encodeRequestFrame(heartbeat, 4, 5, 'c', request)), '00000016' + '000c000400000005000163' + '00' + '0267' + '00000001' + '026d' + '00' + '00')
  t.equal(hex(encodeResponseFrame(heartbeat, 0, 5, { errorCode: 27 })), '00000006' + '00000005' + '001b')
  t.equal(hex(encodeResponseFrame(heartbeat, 4, 5, { errorCode: 27 })), '0000000c' + '00000005' + '00' + '00000000' + '001b' + '00')
  t.equal(encodeResponseFrame(heartbeat, 4, 5, { errorCode: 0 }).length, 1)
})

t.test('ApiVersions answers with header v0 in every version', async (t) => {
  const frame = Buffer.concat(encodeResponseFrame(apiVersions, 3, 9, { errorCode: 0, apiKeys: [] }))
  t.equal(frame.toString('hex'), '0000000c' + '00000009' + '0000' + '01' + '00000000' + '00')
  t.same(decodeResponseHeader(apiVersions, 3, frame.subarray(4)), { correlationId: 9, bodyPosition: 4 })
})

t.test('records in a response are parts of their own, and counted in the length', async (t) => {
  const batch = Buffer.alloc(5000, 1)
  const partition = { partitionIndex: 0, errorCode: 0, highWatermark: 1, records: [batch] }
  const parts = encodeResponseFrame(fetch, 12, 1, { responses: [{ topic: 't', partitions: [partition, partition] }] })
  t.equal(parts.length, 5)
  t.equal(parts[1], batch)
  const whole = Buffer.concat(parts)
  t.equal(whole.readInt32BE(0), whole.length - 4)
})

t.test('version ranges', async (t) => {
  t.same(parseVersions('3-7'), { first: 3, last: 7 })
  t.same(parseVersions('5'), { first: 5, last: 5 })
  t.equal(parseVersions('2+').first, 2)
  for (const [range, version, expected] of [['0+', 0, true], ['3-7', 2, false], ['3-7', 3, true], ['3-7', 7, true], ['3-7', 8, false],
    ['5', 5, true], ['5', 6, false], ['none', 0, false], ['4+', 3, false], ['4+', 32767, true]] as const) {
    t.equal(includesVersion(range, version), expected, `${version} in ${range}`)
  }
  for (const range of ['', '3-', '+', 'a', '-1', '0+1']) t.throws(() => parseVersions(range), { name: 'TypeError', message: /is not a version range/ })
})
