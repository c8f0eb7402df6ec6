/** DescribeGroups, versions 0 to 6. A group that does not exist is Dead without an error up to v5, GROUP_ID_NOT_FOUND from v6 on (KIP-1043). */
import { ErrorCode } from '../../protocol/error-codes.js'
import { describeGroups } from '../../protocol/schemas/15-describe-groups.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { chosenMetadata, type Group } from '../groups/group.js'
import { handler, type RequestContext } from '../handler.js'
import type { Services } from '../services.js'

type GroupResponse = ResponseInputOf<typeof describeGroups>['groups'][number]

const VERSION_WITH_NOT_FOUND = 6
/** Without access control everything is allowed that can be done to a group: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS. */
const ALL_OPERATIONS = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11
const NOT_ASKED = -2147483648

export const describeGroupsHandler = handler({ api: describeGroups, handle })

function handle ({ groups }: Pick<Services, 'groups'>, request: RequestOf<typeof describeGroups>, context: RequestContext): ResponseInputOf<typeof describeGroups> {
  return {
    groups: request.groups.map((groupId) => {
      const group = groups.group(groupId)
      return group === undefined ? missing(groupId, context) : described(group, request.includeAuthorizedOperations)
    })
  }
}

function described (group: Group, withOperations: boolean): GroupResponse {
  const stable = group.phase === 'Stable'
  return {
    errorCode: ErrorCode.NONE,
    groupId: group.groupId,
    groupState: group.phase,
    protocolType: group.protocolType ?? '',
    // Which protocol it will be shows when the rebalance is over.
    protocolData: stable ? group.protocolName ?? '' : '',
    members: [...group.members.values()].map((member) => ({
      memberId: member.memberId,
      groupInstanceId: member.instanceId,
      clientId: member.clientId,
      clientHost: member.clientHost,
      memberMetadata: stable ? chosenMetadata(group, member) : Buffer.alloc(0),
      memberAssignment: stable ? member.assignment : Buffer.alloc(0)
    })),
    authorizedOperations: withOperations ? ALL_OPERATIONS : NOT_ASKED
  }
}

function missing (groupId: string, { apiVersion }: RequestContext): GroupResponse {
  const told = apiVersion >= VERSION_WITH_NOT_FOUND
  return {
    errorCode: told ? ErrorCode.GROUP_ID_NOT_FOUND : ErrorCode.NONE,
    errorMessage: told ? `Group ${groupId} not found.` : null,
    groupId,
    groupState: 'Dead',
    protocolType: '',
    protocolData: '',
    members: []
  }
}
