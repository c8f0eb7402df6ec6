/** SyncGroup, versions 0 to 5: the leader brings every member's assignment; the answer waits until it is durable. */
import { ErrorCode } from '../../protocol/error-codes.js'
import { syncGroup } from '../../protocol/schemas/14-sync-group.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { handler, type RequestContext } from '../handler.js'
import type { Services } from '../services.js'

export const syncGroupHandler = handler({ api: syncGroup, handle })

async function handle ({ groups }: Pick<Services, 'groups'>, request: RequestOf<typeof syncGroup>, context: RequestContext): Promise<ResponseInputOf<typeof syncGroup>> {
  if (request.groupId === '') return { errorCode: ErrorCode.INVALID_GROUP_ID, assignment: Buffer.alloc(0) }
  const { errorCode, protocolType, protocolName, assignment } = await groups.sync(request.groupId, {
    memberId: request.memberId,
    instanceId: request.groupInstanceId,
    generation: request.generationId,
    protocolType: request.protocolType,
    protocolName: request.protocolName,
    assignments: new Map(request.assignments.map(({ memberId, assignment }) => [memberId, Buffer.from(assignment)]))
  }, context.closed)
  return { errorCode, protocolType, protocolName, assignment }
}
