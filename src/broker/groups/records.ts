/**
 * The records of `__consumer_offsets` in Kafka's own formats, so that Kafka's tools read them: OffsetCommitKey v1 and Value v4,
 * GroupMetadataKey v2 and Value v3 (kafka-group-coordinator, common/message/*.json). Every version of the values is read. A null
 * value deletes the key.
 */
import { structCodec } from '../../protocol/codec.js'
import { Reader } from '../../protocol/reader.js'
import { array, bytes, int32, int64, string, struct, uuid, ZERO_UUID, type Fields, type Input } from '../../protocol/schema.js'
import { Writer } from '../../protocol/writer.js'
import type { StateRecord } from '../state-log.js'
import { chosenMetadata, type Group, type Member } from './group.js'

const OFFSET_KEY_VERSION = 1
const OFFSET_VALUE_VERSION = 4
const GROUP_KEY_VERSION = 2
const GROUP_VALUE_VERSION = 3
/** The values have tagged fields from here on; the keys never have. */
const FLEXIBLE_FROM = 4

const offsetKey = { group: string(), topic: string(), partition: int32() }
const offsetValue = {
  offset: int64(),
  leaderEpoch: int32({ versions: '3+', default: -1 }),
  metadata: string(),
  commitTimestampMs: int64(),
  expireTimestampMs: int64({ versions: '1', default: -1 }),
  topicId: uuid({ versions: '4+', tag: 0, default: ZERO_UUID })
}
const groupKey = { group: string() }
const groupValue = {
  protocolType: string(),
  generation: int32(),
  protocol: string({ nullable: '0+' }),
  leader: string({ nullable: '0+' }),
  currentStateTimestampMs: int64({ versions: '2+', default: -1 }),
  members: array(struct({
    memberId: string(),
    groupInstanceId: string({ versions: '3+', nullable: '3+', default: null }),
    clientId: string(),
    clientHost: string(),
    rebalanceTimeoutMs: int32({ versions: '1+', default: -1 }),
    sessionTimeoutMs: int32(),
    subscription: bytes(),
    assignment: bytes()
  }))
}

/** A committed offset. */
export interface CommittedOffset {
  readonly offset: number
  readonly leaderEpoch: number
  readonly metadata: string
  /** Wall time in ms. */
  readonly committedAtMs: number
  /** Whose offset it is: a topic that is deleted and made again is another one. ZERO_UUID where an old record does not say. */
  readonly topicId: string
}

export type GroupRecord =
  | { readonly kind: 'offset', readonly groupId: string, readonly topicName: string, readonly partition: number, readonly value: CommittedOffset | null }
  | { readonly kind: 'group', readonly groupId: string, readonly value: Group | null }

export function offsetRecord (groupId: string, topicName: string, partition: number, value: CommittedOffset | null): StateRecord {
  return {
    key: encode(offsetKey, OFFSET_KEY_VERSION, { group: groupId, topic: topicName, partition }),
    value: value && encode(offsetValue, OFFSET_VALUE_VERSION, {
      offset: value.offset,
      leaderEpoch: value.leaderEpoch,
      metadata: value.metadata,
      commitTimestampMs: value.committedAtMs,
      topicId: value.topicId
    })
  }
}

export function groupRecord (group: Group): StateRecord {
  return {
    key: encode(groupKey, GROUP_KEY_VERSION, { group: group.groupId }),
    value: encode(groupValue, GROUP_VALUE_VERSION, {
      protocolType: group.protocolType ?? '',
      generation: group.generation,
      protocol: group.protocolName,
      leader: group.leaderId,
      currentStateTimestampMs: group.phaseSinceMs,
      members: [...group.members.values()].map((member) => ({
        memberId: member.memberId,
        groupInstanceId: member.instanceId,
        clientId: member.clientId,
        clientHost: member.clientHost,
        rebalanceTimeoutMs: member.rebalanceTimeoutMs,
        sessionTimeoutMs: member.sessionTimeoutMs,
        subscription: chosenMetadata(group, member),
        assignment: member.assignment
      }))
    })
  }
}

export function groupDeletedRecord (groupId: string): StateRecord {
  return { key: encode(groupKey, GROUP_KEY_VERSION, { group: groupId }), value: null }
}

/** null for a record of a kind that this version does not know: newer Kafkas have more. Throws ProtocolError for damage. */
export function decodeGroupRecord ({ key, value }: StateRecord): GroupRecord | null {
  const keyVersion = versionOf(key)
  if (keyVersion <= OFFSET_KEY_VERSION) {
    const { group: groupId, topic: topicName, partition } = decode(offsetKey, key, keyVersion)
    return { kind: 'offset', groupId, topicName, partition, value: value && decodeOffset(value) }
  }
  if (keyVersion !== GROUP_KEY_VERSION) return null
  const { group: groupId } = decode(groupKey, key, keyVersion)
  return { kind: 'group', groupId, value: value && decodeGroup(groupId, value) }
}

function decodeOffset (value: Buffer): CommittedOffset {
  const { offset, leaderEpoch, metadata, commitTimestampMs, topicId } = decode(offsetValue, value, versionOf(value))
  return { offset, leaderEpoch, metadata, committedAtMs: commitTimestampMs, topicId }
}

function decodeGroup (groupId: string, value: Buffer): Group {
  const stored = decode(groupValue, value, versionOf(value))
  const members = new Map<string, Member>(stored.members.map((member: any) => [member.memberId, {
    memberId: member.memberId,
    instanceId: member.groupInstanceId,
    clientId: member.clientId,
    clientHost: member.clientHost,
    sessionTimeoutMs: member.sessionTimeoutMs,
    rebalanceTimeoutMs: member.rebalanceTimeoutMs < 0 ? member.sessionTimeoutMs : member.rebalanceTimeoutMs,
    protocols: [{ name: stored.protocol ?? '', metadata: Buffer.from(member.subscription) }],
    assignment: Buffer.from(member.assignment),
    awaitingJoin: null,
    awaitingSync: null,
    synced: true,
    isNew: false,
    resumption: null
  }]))
  return {
    groupId,
    phase: members.size > 0 ? 'Stable' : 'Empty',
    generation: stored.generation,
    protocolType: stored.protocolType === '' ? null : stored.protocolType,
    protocolName: stored.protocol,
    leaderId: stored.leader,
    members,
    pendingMembers: new Set(),
    initialJoin: null,
    writes: 0,
    storing: null,
    phaseSinceMs: stored.currentStateTimestampMs
  }
}

/** Keys and values begin with their version, an int16. */
function versionOf (bytes: Buffer): number {
  return new Reader(bytes).int16()
}

function encode<F extends Fields> (fields: F, version: number, value: Input<F>): Buffer {
  const writer = new Writer()
  writer.int16(version)
  codecOf(fields, version).encode(writer, value)
  return Buffer.concat(writer.finish())
}

function decode (fields: Fields, bytes: Buffer, version: number): any {
  return codecOf(fields, version).decode(new Reader(bytes, 2))
}

const codecs = new Map<Fields, Map<number, ReturnType<typeof structCodec>>>()

/** Compiled when first asked for. */
function codecOf (fields: Fields, version: number): ReturnType<typeof structCodec> {
  let versions = codecs.get(fields)
  if (versions === undefined) codecs.set(fields, versions = new Map())
  let codec = versions.get(version)
  if (codec === undefined) versions.set(version, codec = structCodec(fields, version, version >= FLEXIBLE_FROM))
  return codec
}
