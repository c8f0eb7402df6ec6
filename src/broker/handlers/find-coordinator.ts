/**
 * FindCoordinator, versions 0 to 6: this broker coordinates every group and every transaction; v4+ asks for several keys at once
 * (KIP-699). That there are no transactions yet is told by InitProducerId, in the one way that every client takes as final.
 *
 * Left out: share groups (KIP-932). Their key type is refused, as Kafka refuses it where it has none.
 */
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'
import { findCoordinator } from '../../protocol/schemas/10-find-coordinator.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { handler, type RequestContext } from '../handler.js'
import type { Services } from '../services.js'

const KEY_TYPE_GROUP = 0
const KEY_TYPE_TRANSACTION = 1
const VERSION_WITH_BATCHES = 4

export const findCoordinatorHandler = handler({ api: findCoordinator, handle })

async function handle ({ groups, cluster }: Pick<Services, 'groups' | 'cluster'>, request: RequestOf<typeof findCoordinator>, context: RequestContext):
Promise<ResponseInputOf<typeof findCoordinator>> {
  const refusal = await refusalOf(groups, request.keyType)
  const answer = (key: string): { key: string, nodeId: number, host: string, port: number, errorCode: ErrorCode, errorMessage: string | null } => {
    if (refusal !== undefined) return { key, nodeId: -1, host: '', port: -1, ...refusal }
    return { key, nodeId: cluster.nodeId, ...cluster.endpoint(context.listenerName), errorCode: ErrorCode.NONE, errorMessage: null }
  }
  if (context.apiVersion >= VERSION_WITH_BATCHES) return { throttleTimeMs: 0, coordinators: request.coordinatorKeys.map(answer) }
  const { key: _key, ...single } = answer(request.key)
  return { throttleTimeMs: 0, ...single }
}

async function refusalOf (groups: Services['groups'], keyType: number): Promise<Refusal | undefined> {
  if (keyType === KEY_TYPE_GROUP) return await groups.ready()
  if (keyType === KEY_TYPE_TRANSACTION) return undefined
  return { errorCode: ErrorCode.INVALID_REQUEST, errorMessage: `This broker coordinates groups (key type 0) and transactions (1), not key type ${keyType}.` }
}
