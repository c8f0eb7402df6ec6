/**
 * DescribeCluster, versions 0 to 2: who the brokers are (KIP-700). There is one. Controllers (endpoint type 2, KIP-919) cannot be
 * listed through a broker's listener, as in Kafka.
 */
import { ErrorCode } from '../../protocol/error-codes.js'
import { describeCluster } from '../../protocol/schemas/60-describe-cluster.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { handler, type RequestContext } from '../handler.js'
import type { Services } from '../services.js'

const ENDPOINT_TYPE_BROKERS = 1

export const describeClusterHandler = handler({ api: describeCluster, handle })

function handle ({ cluster }: Pick<Services, 'cluster'>, request: RequestOf<typeof describeCluster>, context: RequestContext):
ResponseInputOf<typeof describeCluster> {
  const { clusterId, nodeId, rack } = cluster
  if (request.endpointType !== ENDPOINT_TYPE_BROKERS) {
    return {
      throttleTimeMs: 0,
      errorCode: ErrorCode.MISMATCHED_ENDPOINT_TYPE,
      errorMessage: `Endpoint type ${request.endpointType} cannot be described through a broker's listener`,
      clusterId: '',
      brokers: []
    }
  }
  return {
    throttleTimeMs: 0,
    errorCode: ErrorCode.NONE,
    errorMessage: null,
    clusterId,
    controllerId: nodeId,
    brokers: [{ brokerId: nodeId, ...cluster.endpoint(context.listenerName), rack }]
  }
}
