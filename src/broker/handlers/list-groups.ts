/** ListGroups, versions 0 to 5, filtered by state (v4+, KIP-518) and type (v5+, KIP-848). Every group here is of the type 'classic'. */
import { ErrorCode } from '../../protocol/error-codes.js'
import { listGroups } from '../../protocol/schemas/16-list-groups.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { handler } from '../handler.js'
import type { Services } from '../services.js'

const TYPE = 'classic'

export const listGroupsHandler = handler({ api: listGroups, handle })

function handle ({ groups }: Pick<Services, 'groups'>, { statesFilter, typesFilter }: RequestOf<typeof listGroups>): ResponseInputOf<typeof listGroups> {
  const wants = (filter: readonly string[], value: string): boolean =>
    filter.length === 0 || filter.some((item) => item.toLowerCase() === value.toLowerCase())
  return {
    errorCode: ErrorCode.NONE,
    groups: groups.groups()
      .filter(({ phase }) => wants(statesFilter, phase) && wants(typesFilter, TYPE))
      .map(({ groupId, protocolType, phase }) => ({ groupId, protocolType: protocolType ?? '', groupState: phase, groupType: TYPE }))
  }
}
