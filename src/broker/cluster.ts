/** Who this broker is and where clients reach it: what Metadata, FindCoordinator and DescribeCluster tell. */
export interface Cluster {
  /** Survives restarts; 22 characters of base64url. */
  readonly clusterId: string
  /** Survives restarts. Kafka's `node.id`, default 1. */
  readonly nodeId: number
  readonly rack: string | null
  /** Advertised address for clients of a listener. */
  endpoint (listenerName: string): Endpoint
}

export interface Endpoint {
  readonly host: string
  readonly port: number
}
