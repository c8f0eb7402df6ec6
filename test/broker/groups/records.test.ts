/** The records of `__consumer_offsets` against bytes that Kafka 4.3.1's own generated classes wrote (kafka-group-coordinator). */
import t from 'tap'
import { ProtocolError } from '../../../src/protocol/protocol-error.js'
import { ZERO_UUID } from '../../../src/protocol/schema.js'
import { emptyGroup, type Group, type Member } from '../../../src/broker/groups/group.js'
import { decodeGroupRecord, groupDeletedRecord, groupRecord, offsetRecord, type CommittedOffset } from '../../../src/broker/groups/records.js'

const OFFSET_KEY = '000100076772c3bc70706500017400000007'
const GROUP_KEY = '000200076772c3bc707065'
/** Versions 0 to 4. */
const OFFSET_VALUES = [
  '00000000001cbe991a1400056dc3a474610000018bcfe5687b',
  '00010000001cbe991a1400056dc3a474610000018bcfe5687b000001a3185c5000',
  '00020000001cbe991a1400056dc3a474610000018bcfe5687b',
  '00030000001cbe991a140000000300056dc3a474610000018bcfe5687b',
  '00040000001cbe991a1400000003066dc3a474610000018bcfe5687b0100100102030405060708090a0b0c0d0e0f10'
]
const GROUP_VALUES = [
  '00000008636f6e73756d657200000005000572616e676500036d2d310000000100036d2d31000163000a2f3132372e302e302e310000271000000009000100000001000174000000020908',
  '00010008636f6e73756d657200000005000572616e676500036d2d310000000100036d2d31000163000a2f3132372e302e302e310000ea600000271000000009000100000001000174000000020908',
  '00020008636f6e73756d657200000005000572616e676500036d2d310000018bcfe569c80000000100036d2d31000163000a2f3132372e302e302e310000ea600000271000000009000100000001000174000000020908',
  '00030008636f6e73756d657200000005000572616e676500036d2d310000018bcfe569c80000000100036d2d310003692d31000163000a2f3132372e302e302e310000ea600000271000000009000100000001000174000000020908',
  '000409636f6e73756d6572000000050672616e6765046d2d310000018bcfe569c802046d2d3104692d3102630b2f3132372e302e302e310000ea60000027100a0001000000010001740309080000'
]
const GROUP_WITHOUT_MEMBERS = '00030008636f6e73756d657200000006ffffffff0000018bcfe56b1500000000'

const OFFSET: CommittedOffset = { offset: 123456789012, leaderEpoch: 3, metadata: 'mäta', committedAtMs: 1700000000123, topicId: 'AQIDBAUGBwgJCgsMDQ4PEA' }
const MEMBER: Member = {
  memberId: 'm-1',
  instanceId: 'i-1',
  clientId: 'c',
  clientHost: '/127.0.0.1',
  sessionTimeoutMs: 10000,
  rebalanceTimeoutMs: 60000,
  protocols: [{ name: 'range', metadata: Buffer.from([0, 1, 0, 0, 0, 1, 0, 1, 116]) }],
  assignment: Buffer.from([9, 8]),
  awaitingJoin: null,
  awaitingSync: null,
  synced: true,
  isNew: false,
  resumption: null
}
const GROUP: Group = {
  ...emptyGroup('grüppe', 1700000000456), phase: 'Stable', generation: 5, protocolType: 'consumer', protocolName: 'range', leaderId: 'm-1', members: new Map([['m-1', MEMBER]])
}

const hex = (bytes: Buffer | null): string | undefined => bytes?.toString('hex')
const bytes = (text: string): Buffer => Buffer.from(text, 'hex')

t.test('what is written is what Kafka writes', async (t) => {
  const offset = offsetRecord('grüppe', 't', 7, OFFSET)
  t.equal(hex(offset.key), OFFSET_KEY)
  t.equal(hex(offset.value), OFFSET_VALUES[4])
  const group = groupRecord(GROUP)
  t.equal(hex(group.key), GROUP_KEY)
  t.equal(hex(group.value), GROUP_VALUES[3])
  const empty = groupRecord({ ...emptyGroup('grüppe', 1700000000789), generation: 6, protocolType: 'consumer' })
  t.equal(hex(empty.value), GROUP_WITHOUT_MEMBERS)
  t.same([offsetRecord('grüppe', 't', 7, null), groupDeletedRecord('grüppe')], [{ key: bytes(OFFSET_KEY), value: null }, { key: bytes(GROUP_KEY), value: null }])
})

t.test('every version of the values is read', async (t) => {
  for (const [version, value] of OFFSET_VALUES.entries()) {
    t.same(decodeGroupRecord({ key: bytes(OFFSET_KEY), value: bytes(value) }), {
      kind: 'offset',
      groupId: 'grüppe',
      topicName: 't',
      partition: 7,
      value: { ...OFFSET, leaderEpoch: version >= 3 ? 3 : -1, topicId: version >= 4 ? OFFSET.topicId : ZERO_UUID }
    }, `offset, version ${version}`)
  }
  for (const [version, value] of GROUP_VALUES.entries()) {
    const member = { ...MEMBER, instanceId: version >= 3 ? 'i-1' : null, rebalanceTimeoutMs: version >= 1 ? 60000 : 10000 }
    t.same(decodeGroupRecord({ key: bytes(GROUP_KEY), value: bytes(value) }), {
      kind: 'group', groupId: 'grüppe', value: { ...GROUP, phaseSinceMs: version >= 2 ? GROUP.phaseSinceMs : -1, members: new Map([['m-1', member]]) }
    }, `group, version ${version}`)
  }
  t.match(decodeGroupRecord({ key: bytes(GROUP_KEY), value: bytes(GROUP_WITHOUT_MEMBERS) }), { value: { phase: 'Empty', generation: 6, leaderId: null, protocolName: null } })
  t.same(decodeGroupRecord({ key: bytes(OFFSET_KEY), value: null }), { kind: 'offset', groupId: 'grüppe', topicName: 't', partition: 7, value: null })
})

t.test('records of newer kinds are passed over; damage is an error', async (t) => {
  t.equal(decodeGroupRecord({ key: bytes('0003000167'), value: bytes('0000') }), null, 'the metadata of a group of the new protocol')
  for (const length of [0, 1, 5, OFFSET_KEY.length / 2 - 1]) t.throws(() => decodeGroupRecord({ key: bytes(OFFSET_KEY).subarray(0, length), value: null }), ProtocolError)
  for (const value of [OFFSET_VALUES[4]!, OFFSET_VALUES[3]!]) {
    for (let length = 0; length < 20; length++) t.throws(() => decodeGroupRecord({ key: bytes(OFFSET_KEY), value: bytes(value).subarray(0, length) }), ProtocolError)
  }
})
