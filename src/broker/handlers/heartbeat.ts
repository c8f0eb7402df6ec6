/** Heartbeat, versions 0 to 4: a member lives; the answer tells it when it has to rejoin. */
import { ErrorCode } from '../../protocol/error-codes.js'
import { heartbeat } from '../../protocol/schemas/12-heartbeat.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { handler } from '../handler.js'
import type { Services } from '../services.js'

export const heartbeatHandler = handler({ api: heartbeat, handle })

async function handle ({ groups }: Pick<Services, 'groups'>, request: RequestOf<typeof heartbeat>): Promise<ResponseInputOf<typeof heartbeat>> {
  const { groupId, memberId, groupInstanceId: instanceId, generationId } = request
  if (groupId === '') return { errorCode: ErrorCode.INVALID_GROUP_ID }
  return { errorCode: await groups.heartbeat(groupId, { memberId, instanceId }, generationId) }
}
