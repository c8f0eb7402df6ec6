/**
 * JoinGroup, versions 0 to 9: the answer waits until the members that are known have joined or their time is over. The rules are in
 * groups/group-state.ts; here only what can be said without the group.
 */
import { ErrorCode } from '../../protocol/error-codes.js'
import { joinGroup } from '../../protocol/schemas/11-join-group.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import type { JoinAnswer } from '../groups/group.js'
import { handler, type RequestContext } from '../handler.js'
import type { Services } from '../services.js'

const VERSION_WITH_REBALANCE_TIMEOUT = 1
const VERSION_WITH_KNOWN_MEMBER_ID = 4
const VERSION_WITH_NULLABLE_PROTOCOL = 7
const VERSION_WITH_SKIP_ASSIGNMENT = 9

export const joinGroupHandler = handler({ api: joinGroup, handle })

async function handle ({ groups, config }: Pick<Services, 'groups' | 'config'>, request: RequestOf<typeof joinGroup>, context: RequestContext):
Promise<ResponseInputOf<typeof joinGroup>> {
  const { groupId, memberId, sessionTimeoutMs } = request
  if (groupId === '') return refused(ErrorCode.INVALID_GROUP_ID, memberId, context)
  if (sessionTimeoutMs < config['group.min.session.timeout.ms'] || sessionTimeoutMs > config['group.max.session.timeout.ms']) {
    return refused(ErrorCode.INVALID_SESSION_TIMEOUT, memberId, context)
  }
  const answer = await groups.join(groupId, {
    memberId,
    instanceId: request.groupInstanceId,
    clientId: context.clientId,
    clientHost: context.clientHost,
    sessionTimeoutMs,
    rebalanceTimeoutMs: context.apiVersion >= VERSION_WITH_REBALANCE_TIMEOUT ? request.rebalanceTimeoutMs : sessionTimeoutMs,
    protocolType: request.protocolType,
    // The group keeps the subscriptions for long: copies, so that it does not keep the frames that they came in.
    protocols: request.protocols.map(({ name, metadata }) => ({ name, metadata: Buffer.from(metadata) })),
    requiresKnownMemberId: context.apiVersion >= VERSION_WITH_KNOWN_MEMBER_ID,
    canSkipAssignment: context.apiVersion >= VERSION_WITH_SKIP_ASSIGNMENT
  }, context.closed)
  return answer.errorCode === ErrorCode.NONE ? accepted(answer) : refused(answer.errorCode, answer.memberId, context)
}

function accepted (answer: JoinAnswer): ResponseInputOf<typeof joinGroup> {
  return {
    errorCode: ErrorCode.NONE,
    generationId: answer.generation,
    protocolType: answer.protocolType,
    protocolName: answer.protocolName,
    leader: answer.leaderId,
    skipAssignment: answer.skipAssignment,
    memberId: answer.memberId,
    members: answer.members.map((member) => ({
      memberId: member.memberId,
      groupInstanceId: member.instanceId,
      metadata: member.protocols.find(({ name }) => name === answer.protocolName)?.metadata ?? Buffer.alloc(0)
    }))
  }
}

function refused (errorCode: ErrorCode, memberId: string, context: RequestContext): ResponseInputOf<typeof joinGroup> {
  const protocolName = context.apiVersion >= VERSION_WITH_NULLABLE_PROTOCOL ? null : ''
  return { errorCode, generationId: -1, protocolType: null, protocolName, leader: '', memberId, members: [] }
}
