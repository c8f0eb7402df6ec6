/**
 * ApiVersions, versions 0 to 5: which APIs and versions this broker answers (KIP-35, KIP-511).
 *
 * An unknown version never comes here: the dispatcher answers it in the oldest format. Produce is advertised from version 0 although
 * 0 to 2 are refused, because librdkafka takes the lowest version as the sign that compression works (KAFKA-18659). No feature is
 * listed: the ones that exist (transaction.version, group.version, share.version) all stand for things this broker does not do.
 */
import { ErrorCode } from '../../protocol/error-codes.js'
import { apiVersions } from '../../protocol/schemas/18-api-versions.js'
import { produce } from '../../protocol/schemas/00-produce.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { handler, type RequestContext } from '../handler.js'
import type { Services } from '../services.js'

const VERSION_WITH_SOFTWARE_NAME = 3
/** KIP-511: what a client may call itself. */
const SOFTWARE_NAME = /^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$/

export const apiVersionsHandler = handler({ api: apiVersions, handle })

function handle ({ supportedApis }: Pick<Services, 'supportedApis'>, request: RequestOf<typeof apiVersions>, context: RequestContext):
ResponseInputOf<typeof apiVersions> {
  const { clientSoftwareName, clientSoftwareVersion } = request
  if (context.apiVersion >= VERSION_WITH_SOFTWARE_NAME && !(SOFTWARE_NAME.test(clientSoftwareName) && SOFTWARE_NAME.test(clientSoftwareVersion))) {
    return { errorCode: ErrorCode.INVALID_REQUEST, apiKeys: [] }
  }
  return {
    errorCode: ErrorCode.NONE,
    apiKeys: supportedApis.map((row) => row.apiKey === produce.key ? { ...row, minVersion: 0 } : row)
  }
}
