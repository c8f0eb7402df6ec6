/** Haulout: the Kafka broker you npm install. */
export { Broker } from './broker/broker.js'
export { OptionError } from './broker/options.js'
export type { BrokerOptions, ListenerOptions } from './broker/options.js'
export type { Health } from './broker/health.js'
export type { Clock, Timer } from './broker/clock.js'
export type { Limits } from './broker/limits.js'
export { ConfigError } from './broker/config/definition.js'
export { openStore, type BackendChoice, type OpenStoreOptions } from './log/open-store.js'
export { MemoryLogStore } from './log/memory-log.js'
export {
  LogError, RECORD_BATCH_LAYOUT,
  type EntryLayout, type EntryTimestamp, type FlushPolicy, type Log, type LogErrorCode, type LogOptions, type LogRead, type LogStore,
  type PendingAppend, type ReadOptions, type SegmentInfo, type StorageBackend
} from './log/log.js'
