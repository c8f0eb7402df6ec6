/** `import { Log } from 'haulout/log'`: durable logs for programs that want no broker. Described in docs/log.md. */
export { Log, type OpenTopicSettings } from './log.js'
export {
  Topic, type CursorName, type ParallelReplayOptions, type ReplayOptions, type RetentionOptions, type Segment, type SegmentHandler
} from './topic.js'
export type { Cursor, BatchReadOptions, CheckpointOptions } from './cursor.js'
export type { Appended, BatchAppended } from './appender.js'
export { put, tombstone, type Bytes, type LogRecord, type PutOptions, type RecordInput } from './record.js'
export type { RecordBatch, ValueVisitor } from './record-batch.js'
export type { Compression } from './record-compression.js'
export {
  FsyncPolicy, FsyncSchedule, ReadConsistency, optionsFromEnvironment,
  type Consistency, type OpenLogOptions, type SharedOptions, type TopicOptions
} from './options.js'
export {
  LogError, type FlushPolicy, type LogErrorCode, type SegmentCompression, type SegmentDamage, type SegmentInfo, type SegmentVerification,
  type StorageBackend
} from '../log/log.js'
export type { BackendChoice } from '../log/open-store.js'
export { CodecUnavailableError } from '../codec-packages.js'
