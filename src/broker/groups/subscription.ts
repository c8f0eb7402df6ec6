/** What members of type 'consumer' are subscribed to: the one thing that the broker reads of their otherwise opaque metadata. */
import { ProtocolError } from '../../protocol/protocol-error.js'
import { Reader } from '../../protocol/reader.js'
import { chosenMetadata, type Group } from './group.js'

const PROTOCOL_TYPE = 'consumer'

/** Names of the topics; an empty set for a group without members, undefined when the broker cannot know. */
export function subscribedTopics (group: Group): ReadonlySet<string> | undefined {
  const topics = new Set<string>()
  if (group.members.size === 0) return topics
  if (group.protocolType !== PROTOCOL_TYPE || group.protocolName === null) return undefined
  for (const member of group.members.values()) {
    const names = topicsOf(chosenMetadata(group, member))
    if (names === undefined) return undefined
    for (const name of names) topics.add(name)
  }
  return topics
}

/** Whether a member of the group consumes the topic. Consumers whose subscription cannot be read may consume any. */
export function isSubscribed (group: Group, topicName: string): boolean {
  return subscribedTopics(group)?.has(topicName) ?? group.protocolType === PROTOCOL_TYPE
}

/**
 * Whether a member asks for the same topics as before. The rest of a consumer's metadata (the partitions that it owns, the assignor's
 * data) changes with every restart and is no reason to assign anew.
 */
export function sameSubscription (protocolType: string | null, before: Buffer, after: Buffer): boolean {
  if (protocolType !== PROTOCOL_TYPE) return true
  const [one, other] = [topicsOf(before), topicsOf(after)]
  if (one === undefined || other === undefined) return before.equals(after)
  return one.length === other.length && one.every((name) => other.includes(name))
}

/** ConsumerProtocolSubscription, all versions: an int16, then the topics. undefined for anything else. */
function topicsOf (metadata: Buffer): string[] | undefined {
  try {
    const reader = new Reader(metadata)
    reader.int16()
    return Array.from({ length: reader.count(2) }, () => reader.string())
  } catch (error) {
    if (error instanceof ProtocolError) return undefined
    throw error
  }
}
