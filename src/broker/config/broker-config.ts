/** Broker-wide settings under Kafka's server.properties names, typed, with Kafka's defaults where ours do not differ. */
export interface BrokerConfig {
  readonly 'auto.create.topics.enable': boolean
}
