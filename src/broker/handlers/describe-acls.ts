/** DescribeAcls, versions 1 to 3 (KIP-140): nothing is forbidden here, which Kafka without an authorizer says with this code. */
import { ErrorCode } from '../../protocol/error-codes.js'
import { describeAcls } from '../../protocol/schemas/29-describe-acls.js'
import { handler } from '../handler.js'

export const describeAclsHandler = handler({
  api: describeAcls,
  handle: () => ({ throttleTimeMs: 0, errorCode: ErrorCode.SECURITY_DISABLED, errorMessage: 'No Authorizer is configured.', resources: [] })
})
