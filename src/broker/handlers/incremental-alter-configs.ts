/** IncrementalAlterConfigs, versions 0 and 1 (KIP-339): sets, removes, appends to and subtracts from single settings of topics. */
import { ErrorCode } from '../../protocol/error-codes.js'
import { incrementalAlterConfigs } from '../../protocol/schemas/44-incremental-alter-configs.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { alterResource, applyOperations, namedTwice } from '../config/alter.js'
import { handler } from '../handler.js'
import type { Services } from '../services.js'
import { refuse } from '../topics/topic-validation.js'

export const incrementalAlterConfigsHandler = handler({ api: incrementalAlterConfigs, handle })

async function handle (services: Pick<Services, 'topics'>, { resources, validateOnly }: RequestOf<typeof incrementalAlterConfigs>):
Promise<ResponseInputOf<typeof incrementalAlterConfigs>> {
  const responses = await Promise.all(resources.map(async (resource) => {
    const refusal = namedTwice(resources, resource)
      ? refuse(ErrorCode.INVALID_REQUEST, 'Each resource must appear at most once.')
      : await alterResource(services, resource, validateOnly, (overrides) => applyOperations(overrides, resource.configs))
    const { resourceType, resourceName } = resource
    return { errorCode: refusal?.errorCode ?? ErrorCode.NONE, errorMessage: refusal?.errorMessage ?? null, resourceType, resourceName }
  }))
  return { throttleTimeMs: 0, responses }
}
