/** Broker-wide settings under Kafka's server.properties names, typed, with Kafka's defaults where ours do not differ. */
export interface BrokerConfig {
  readonly 'auto.create.topics.enable': boolean
  readonly 'fetch.max.bytes': number
  readonly 'max.incremental.fetch.session.cache.slots': number
  readonly 'producer.id.expiration.ms': number
}
