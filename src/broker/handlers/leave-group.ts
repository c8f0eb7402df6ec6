/** LeaveGroup, versions 0 to 5: one member leaves, or (v3+) several are removed, static ones by their instance id (KIP-345). */
import { ErrorCode } from '../../protocol/error-codes.js'
import { leaveGroup } from '../../protocol/schemas/13-leave-group.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { handler, type RequestContext } from '../handler.js'
import type { Services } from '../services.js'

const VERSION_WITH_BATCHES = 3

export const leaveGroupHandler = handler({ api: leaveGroup, handle })

async function handle ({ groups }: Pick<Services, 'groups'>, request: RequestOf<typeof leaveGroup>, context: RequestContext): Promise<ResponseInputOf<typeof leaveGroup>> {
  if (request.groupId === '') return { errorCode: ErrorCode.INVALID_GROUP_ID, members: [] }
  if (context.apiVersion < VERSION_WITH_BATCHES) {
    const { members } = await groups.leave(request.groupId, [{ memberId: request.memberId, instanceId: null }])
    return { errorCode: members[0]?.errorCode ?? ErrorCode.NOT_COORDINATOR, members: [] }
  }
  const { members } = await groups.leave(request.groupId, request.members.map(({ memberId, groupInstanceId: instanceId }) => ({ memberId, instanceId })))
  return {
    errorCode: members.length < request.members.length ? ErrorCode.NOT_COORDINATOR : ErrorCode.NONE,
    members: members.map(({ memberId, instanceId, errorCode }) => ({ memberId, groupInstanceId: instanceId, errorCode }))
  }
}
