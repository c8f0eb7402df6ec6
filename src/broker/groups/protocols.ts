/** How members agree on an assignment protocol. */
import type { Group, Member, Protocol } from './group.js'

/** Whether a member with these protocols can be in the group: all that are in it, itself included, must have one in common with it. */
export function canJoin (group: Group, protocolType: string, protocols: readonly Protocol[]): boolean {
  if (group.phase === 'Empty') return protocolType !== '' && protocols.length > 0
  const members = [...group.members.values()]
  return group.protocolType === protocolType && protocols.some(({ name }) => members.every((member) => supports(member, name)))
}

/** Every member votes for the first of its protocols that all support; most votes win, the earlier member's vote on a draw. */
export function chooseProtocol (members: Iterable<Member>): string | null {
  const all = [...members]
  const votes = new Map<string, number>()
  for (const { protocols } of all) {
    const vote = protocols.find(({ name }) => all.every((member) => supports(member, name)))
    if (vote !== undefined) votes.set(vote.name, (votes.get(vote.name) ?? 0) + 1)
  }
  let chosen: string | null = null
  for (const [name, count] of votes) if (chosen === null || count > votes.get(chosen)!) chosen = name
  return chosen
}

export function sameProtocols (one: readonly Protocol[], other: readonly Protocol[]): boolean {
  return one.length === other.length && one.every(({ name, metadata }, index) => name === other[index]!.name && metadata.equals(other[index]!.metadata))
}

function supports (member: Member, name: string): boolean {
  return member.protocols.some((protocol) => protocol.name === name)
}
