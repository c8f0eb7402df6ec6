/**
 * ListConfigResources, versions 0 and 1 (KIP-1142): what DescribeConfigs can be asked for. Version 0 lists subscriptions to client
 * metrics only, of which there are none here; groups are listed where they have settings of their own, which they have not.
 */
import { ErrorCode } from '../../protocol/error-codes.js'
import { listConfigResources } from '../../protocol/schemas/74-list-config-resources.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { RESOURCE } from '../config/describe.js'
import { handler, type RequestContext } from '../handler.js'
import type { Services } from '../services.js'

type Response = ResponseInputOf<typeof listConfigResources>
type Resource = Response['configResources'][number]

const VERSION_WITH_TYPES = 1

export const listConfigResourcesHandler = handler({ api: listConfigResources, handle })

function handle (services: Pick<Services, 'topics' | 'cluster'>, request: RequestOf<typeof listConfigResources>, context: RequestContext): Response {
  const known: number[] = Object.values(RESOURCE)
  const types = context.apiVersion < VERSION_WITH_TYPES ? [RESOURCE.clientMetrics] : request.resourceTypes.length === 0 ? known : request.resourceTypes
  if (types.some((type) => !known.includes(type))) return { throttleTimeMs: 0, errorCode: ErrorCode.UNSUPPORTED_VERSION, configResources: [] }
  return { throttleTimeMs: 0, errorCode: ErrorCode.NONE, configResources: [...new Set(types)].flatMap((type) => resourcesOf(services, type)) }
}

function resourcesOf ({ topics, cluster }: Pick<Services, 'topics' | 'cluster'>, resourceType: number): Resource[] {
  switch (resourceType) {
    case RESOURCE.topic: return topics.all().map(({ name }) => ({ resourceName: name, resourceType }))
    case RESOURCE.broker:
    case RESOURCE.brokerLogger: return [{ resourceName: String(cluster.nodeId), resourceType }]
    default: return []
  }
}
