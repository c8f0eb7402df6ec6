/**
 * AlterConfigs, versions 0 to 2: replaces all overrides of a topic by those given. Superseded by IncrementalAlterConfigs, but the
 * only way that kafkajs has.
 */
import { ErrorCode } from '../../protocol/error-codes.js'
import { alterConfigs } from '../../protocol/schemas/33-alter-configs.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { alterResource, applyOperations, namedTwice, OPERATION } from '../config/alter.js'
import { handler } from '../handler.js'
import type { Services } from '../services.js'
import { refuse } from '../topics/topic-validation.js'

export const alterConfigsHandler = handler({ api: alterConfigs, handle })

async function handle (services: Pick<Services, 'topics'>, { resources, validateOnly }: RequestOf<typeof alterConfigs>):
Promise<ResponseInputOf<typeof alterConfigs>> {
  const responses = await Promise.all(resources.map(async (resource) => {
    const operations = resource.configs.map(({ name, value }) => ({ name, value, configOperation: OPERATION.set }))
    const refusal = namedTwice(resources, resource)
      ? refuse(ErrorCode.INVALID_REQUEST, 'Each resource must appear at most once.')
      : await alterResource(services, resource, validateOnly, () => applyOperations(new Map(), operations))
    const { resourceType, resourceName } = resource
    return { errorCode: refusal?.errorCode ?? ErrorCode.NONE, errorMessage: refusal?.errorMessage ?? null, resourceType, resourceName }
  }))
  return { throttleTimeMs: 0, responses }
}
