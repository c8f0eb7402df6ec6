/** DeleteGroups, versions 0 to 3: groups without members, with their offsets. */
import { deleteGroups } from '../../protocol/schemas/42-delete-groups.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { handler } from '../handler.js'
import type { Services } from '../services.js'

export const deleteGroupsHandler = handler({ api: deleteGroups, handle })

async function handle ({ groups }: Pick<Services, 'groups'>, { groupsNames }: RequestOf<typeof deleteGroups>): Promise<ResponseInputOf<typeof deleteGroups>> {
  return { throttleTimeMs: 0, results: await Promise.all(groupsNames.map(async (groupId) => ({ groupId, errorCode: await groups.delete(groupId) }))) }
}
