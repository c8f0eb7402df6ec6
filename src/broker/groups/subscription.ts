/** What members of type 'consumer' are subscribed to: the one thing that the broker reads of their otherwise opaque metadata. */
import { ProtocolError } from '../../protocol/protocol-error.js'
import { Reader } from '../../protocol/reader.js'
import { chosenMetadata, type Group } from './group.js'

const PROTOCOL_TYPE = 'consumer'

/** Names of the topics; an empty set for a group without members, undefined when the metadata cannot be read. */
export function subscribedTopics (group: Group): ReadonlySet<string> | undefined {
  const topics = new Set<string>()
  if (group.members.size === 0) return topics
  if (group.protocolType !== PROTOCOL_TYPE) return undefined
  try {
    for (const member of group.members.values()) for (const name of topicsOf(chosenMetadata(group, member))) topics.add(name)
    return topics
  } catch (error) {
    if (error instanceof ProtocolError) return undefined
    throw error
  }
}

/** ConsumerProtocolSubscription, all versions: an int16, then the topics. */
function topicsOf (metadata: Buffer): string[] {
  const reader = new Reader(metadata)
  reader.int16()
  return Array.from({ length: reader.count(2) }, () => reader.string())
}
