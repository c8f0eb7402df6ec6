import { gzipSync } from 'node:zlib'
import { test } from 'tap'
import { LogError } from '../../../src/log/log.js'
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import { decompress } from '../../../src/protocol/compression.js'
import { decodeBatch } from '../../../src/protocol/records.js'
import { FreeSpace } from '../../../src/broker/free-space.js'
import { openPartition } from '../../../src/broker/partitions/partition.js'
import { SILENT_LOGGER } from '../../../src/broker/silent-logger.js'
import { ManualClock } from '../support/manual-clock.js'
import { ScriptedLogStore } from '../support/scripted-log-store.js'
import { batchOf, idempotentBatch, plainBatch } from '../support/batches.js'
import { accepted, errorCodeOf, silent, testPartition, TOPIC_DEFAULTS } from '../support/partitions.js'

test('appends give offsets in order and are seen once they are committed', async (t) => {
  const { partition, store, log } = await testPartition()
  store.hold = true
  const first = accepted(partition.append(plainBatch(3), 'client'))
  const second = accepted(partition.append(plainBatch(2), 'client'))
  t.equal(first.baseOffset, 0)
  t.equal(second.baseOffset, 3)
  t.match(partition, { logEndOffset: 5, highWatermark: 0, lastStableOffset: 0 })
  let told = 0
  const unsubscribe = partition.onAdvance(() => { told++ })
  log.release()
  t.equal(await first.committed, undefined)
  t.equal(await second.committed, undefined)
  t.equal(partition.highWatermark, 5)
  t.equal(told, 1, 'one flush tells the listeners once')
  unsubscribe()
  store.hold = false
  await accepted(partition.append(plainBatch(), 'client')).committed
  t.equal(told, 1)
})

test('a batch is stored as it came, with the leader epoch', async (t) => {
  const { partition } = await testPartition()
  const batch = plainBatch(2)
  const before = Buffer.from(batch)
  await accepted(partition.append(batch, 'client')).committed
  const read = await partition.read(0, { bytesMax: 10_000 })
  t.ok('parts' in read)
  if (!('parts' in read)) return
  const stored = read.parts[0]!
  t.equal(stored.readInt32BE(12), 0, 'leader epoch')
  before.writeInt32BE(0, 12)
  t.same(stored, before)
})

test('LogAppendTime makes every record as young as the append', async (t) => {
  const { partition, config, clock } = await testPartition()
  config['message.timestamp.type'] = 'LogAppendTime'
  const appended = accepted(partition.append(plainBatch(2), 'client'))
  t.equal(appended.logAppendTimeMs, clock.now())
  const read = await partition.read(0, { bytesMax: 10_000 })
  if (!('parts' in read)) return t.fail('refused')
  const stored = read.parts[0]!
  t.equal(Number(stored.readBigInt64BE(35)), clock.now())
  t.equal(stored.readInt16BE(21) & 8, 8)
  const again = await testPartition()
  stored.writeBigInt64BE(0n, 0)
  again.config['message.timestamp.type'] = 'LogAppendTime'
  t.equal(errorCodeOf(again.partition.append(stored, 'client')), undefined, 'the checksum was made right')
})

test('an exact duplicate gets the first offset, once the first is committed', async (t) => {
  const { partition, store, log } = await testPartition()
  store.hold = true
  const original = accepted(partition.append(idempotentBatch(0, 5), 'client'))
  accepted(partition.append(idempotentBatch(5, 5), 'client'))
  const duplicate = accepted(partition.append(idempotentBatch(0, 5), 'client'))
  t.equal(duplicate.baseOffset, original.baseOffset)
  t.equal(partition.logEndOffset, 10, 'nothing was appended')
  let committed = false
  void duplicate.committed.then(() => { committed = true })
  await new Promise(setImmediate)
  t.notOk(committed, 'waits for the original')
  log.release()
  t.equal(await duplicate.committed, undefined)
  t.equal(await accepted(partition.append(idempotentBatch(5, 5), 'client')).committed, undefined, 'at once when the original is committed')
})

test('refused sequences and appends leave the state as it was', async (t) => {
  const { partition, log } = await testPartition()
  accepted(partition.append(idempotentBatch(0, 5), 'client'))
  t.equal(errorCodeOf(partition.append(idempotentBatch(7, 1), 'client')), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
  log.failNextAppend = new LogError('full', 'no space left on the device')
  t.equal(errorCodeOf(partition.append(idempotentBatch(5, 1), 'client')), ErrorCode.KAFKA_STORAGE_ERROR)
  t.equal(accepted(partition.append(idempotentBatch(5, 1), 'client')).baseOffset, 5, 'the try after the disk had space again')
})

test('a write that fails later ends the partition for appends, not for reads', async (t) => {
  const { partition, store, log } = await testPartition()
  await accepted(partition.append(idempotentBatch(0, 1), 'client')).committed
  store.hold = true
  const lost = accepted(partition.append(idempotentBatch(1, 1), 'client'))
  const duplicate = accepted(partition.append(idempotentBatch(1, 1), 'client'))
  let told = 0
  partition.onAdvance(() => { told++ })
  log.fail(new LogError('failed', 'input/output error'))
  t.equal(errorCodeOf(await lost.committed), ErrorCode.KAFKA_STORAGE_ERROR)
  t.equal(errorCodeOf(await duplicate.committed), ErrorCode.KAFKA_STORAGE_ERROR, 'the duplicate of a lost batch is lost too')
  t.equal(told, 1, 'long polls learn of it')
  t.equal(errorCodeOf(partition.append(plainBatch(), 'client')), ErrorCode.KAFKA_STORAGE_ERROR)
  t.ok('parts' in await partition.read(0, { bytesMax: 1000 }))
})

test('producers survive a restart, from the log alone', async (t) => {
  const opened = await testPartition()
  const { partition, log } = opened
  for (let i = 0; i < 7; i++) accepted(partition.append(idempotentBatch(i * 2, 2), 'client'))
  accepted(partition.append(plainBatch(), 'client'))
  accepted(partition.append(idempotentBatch(0, 1, 3, 10), 'client'))
  t.equal(log.endOffset, 16)
  const again = (await opened.reopen()).partition
  t.equal(accepted(again.append(idempotentBatch(4, 2), 'client')).baseOffset, 4, 'a duplicate among the last five')
  t.equal(errorCodeOf(again.append(idempotentBatch(2, 2), 'client')), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, 'the sixth youngest')
  t.equal(errorCodeOf(again.append(idempotentBatch(1, 1, 2, 10), 'client')), ErrorCode.INVALID_PRODUCER_EPOCH)
  t.equal(accepted(again.append(idempotentBatch(14, 2), 'client')).baseOffset, 16, 'and on it goes')
})

test('a producer is forgotten after producer.id.expiration.ms', async (t) => {
  const { partition, clock } = await testPartition()
  accepted(partition.append(idempotentBatch(0, 1), 'client'))
  clock.advance(86_400_000 - 1)
  t.equal(errorCodeOf(partition.append(idempotentBatch(100, 1), 'client')), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
  clock.advance(1)
  t.equal(errorCodeOf(partition.append(idempotentBatch(100, 1), 'client')), undefined)
})

test('a closed partition refuses and tells its listeners', async (t) => {
  const { partition } = await testPartition()
  let told = 0
  partition.onAdvance(() => { told++ })
  await partition.close()
  t.equal(told, 1)
  t.equal(errorCodeOf(partition.append(plainBatch(), 'client')), ErrorCode.NOT_LEADER_OR_FOLLOWER)
})

test('the broker itself may write what clients may not', async (t) => {
  const { partition } = await testPartition()
  const control = batchOf([{ key: 'k' }], { attributes: 0x20 })
  t.equal(errorCodeOf(partition.append(control, 'client')), ErrorCode.INVALID_RECORD)
  t.equal(errorCodeOf(partition.append(control, 'broker')), undefined)
})

test('time look-ups are exact to the record', async (t) => {
  const { partition, log } = await testPartition()
  t.equal(await partition.offsetForTimestamp(0), null)
  t.equal(await partition.offsetOfTimestampMax(), null)
  const gzip = { attributes: 1, compress: (records: Buffer) => gzipSync(records) }
  accepted(partition.append(batchOf([{ timestampMs: 100 }, { timestampMs: 300 }, { timestampMs: 200 }]), 'client'))
  accepted(partition.append(batchOf([{ timestampMs: 400 }, { timestampMs: 500 }, { timestampMs: 500 }, { timestampMs: 450 }], gzip), 'client'))
  accepted(partition.append(batchOf([{ timestampMs: 50 }]), 'client'))
  for (const [asked, offset, timestampMs] of [[0, 0, 100], [100, 0, 100], [101, 1, 300], [300, 1, 300], [301, 3, 400], [401, 4, 500], [500, 4, 500]] as const) {
    t.same(await partition.offsetForTimestamp(asked), { offset, timestampMs }, `first from ${asked} on`)
  }
  t.equal(await partition.offsetForTimestamp(501), null)
  t.same(await partition.offsetOfTimestampMax(), { offset: 4, timestampMs: 500 })
  await partition.truncateFront(2)
  t.same(await partition.offsetForTimestamp(250), { offset: 3, timestampMs: 400 }, 'records below the start do not count')
  t.equal(log.startOffset, 2)
})

test('time look-ups do not believe headers', async (t) => {
  const { partition } = await testPartition()
  accepted(partition.append(batchOf([{ timestampMs: 100 }], { timestampMaxMs: 900 }), 'client'))
  accepted(partition.append(batchOf([{ timestampMs: 800 }]), 'client'))
  t.same(await partition.offsetForTimestamp(200), { offset: 1, timestampMs: 800 })
  accepted(partition.append(batchOf([{ timestampMs: 1000 }, { timestampMs: 1000 }], { attributes: 1 }), 'client'))
  t.same(await partition.offsetForTimestamp(900), { offset: 2, timestampMs: 1000 }, 'records that cannot be read answer as a whole')
})

test('compression.type rewrites batches, records and checksum stay right', async (t) => {
  const gzipped = { attributes: 1, compress: (records: Buffer) => gzipSync(records) }
  const records = Array.from({ length: 20 }, (_, i) => ({ key: `k${i}`, value: 'v'.repeat(50), timestampMs: 1000 + i }))
  for (const [compressionType, codec] of [['uncompressed', 0], ['gzip', 1], ['snappy', 2], ['lz4', 3], ['zstd', 4], ['producer', 1]] as const) {
    const { partition, config } = await testPartition()
    config['compression.type'] = compressionType
    await accepted(partition.append(batchOf(records, gzipped), 'client')).committed
    const read = await partition.read(0, { bytesMax: 100_000 })
    if (!('parts' in read)) return t.fail('refused')
    const stored = read.parts[0]!
    t.equal(stored.readInt16BE(21) & 7, codec, compressionType)
    const decoded = decodeBatch(stored, decompress, 100_000)
    t.same(decoded.map(({ key, timestampMs }) => [String(key), timestampMs]), records.map(({ key, timestampMs }) => [key, timestampMs]))
    stored.writeBigInt64BE(0n, 0)
    t.equal(errorCodeOf((await testPartition()).partition.append(stored, 'client')), undefined, 'would be accepted again')
  }
})

test('compression.type: what cannot be rewritten is refused', async (t) => {
  const { partition, config, log } = await testPartition()
  config['compression.type'] = 'uncompressed'
  config['max.message.bytes'] = 1000
  const large = batchOf([{ value: 'v'.repeat(5000) }], { attributes: 1, compress: (records) => gzipSync(records) })
  t.equal(errorCodeOf(partition.append(large, 'client')), ErrorCode.MESSAGE_TOO_LARGE, 'too large once it is open')
  config['max.decompressed.message.bytes'] = 100
  t.equal(errorCodeOf(partition.append(large, 'client')), ErrorCode.INVALID_RECORD, 'opens to too much')
  t.equal(errorCodeOf(partition.append(plainBatch(1, 10, { attributes: 1 }), 'client')), ErrorCode.INVALID_RECORD, 'not gzip')
  t.equal(log.endOffset, 0)
})

test('a failed log is opened again', async (t) => {
  const { partition, store, clock, log } = await testPartition()
  await accepted(partition.append(idempotentBatch(0, 1), 'client')).committed
  store.hold = true
  const lost = accepted(partition.append(idempotentBatch(1, 1), 'client'))
  log.fail(new LogError('failed', 'input/output error'))
  t.equal(errorCodeOf(await lost.committed), ErrorCode.KAFKA_STORAGE_ERROR)
  log.entries.pop()
  store.hold = false
  t.equal(errorCodeOf(partition.append(idempotentBatch(2, 1), 'client')), ErrorCode.KAFKA_STORAGE_ERROR)
  clock.advance(1000)
  await new Promise(setImmediate)
  t.equal(errorCodeOf(partition.append(idempotentBatch(2, 1), 'client')), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, 'the lost batch is not known')
  t.equal(accepted(partition.append(idempotentBatch(1, 1), 'client')).baseOffset, 1, 'its second try takes its place')
  await partition.close()
  t.equal(clock.timers.size, 0)
})

test('a disk that does not give what it holds: whoever asks is refused, and whoever runs the broker is told, once in a while', async (t) => {
  const clock = new ManualClock()
  const store = new ScriptedLogStore()
  const warnings: string[] = []
  const logger = Object.assign(Object.create(SILENT_LOGGER) as typeof SILENT_LOGGER, { warn: (_fields: unknown, message: string) => { warnings.push(message) } })
  const partition = await openPartition({ store, topicName: 't', index: 0, config: () => TOPIC_DEFAULTS, clock, logger })
  accepted(partition.append(plainBatch(), 'client'))
  const log = store.logs.get('t-0')!
  const read = async (): Promise<number | undefined> => errorCodeOf(await partition.read(0, { bytesMax: 1_000 }))
  log.failReads = new LogError('failed', 'cannot read t-0/0.log at position 0: EIO')
  t.same([await read(), await read()], [ErrorCode.KAFKA_STORAGE_ERROR, ErrorCode.KAFKA_STORAGE_ERROR])
  t.same(warnings, ['t-0 cannot be read: cannot read t-0/0.log at position 0: EIO'])
  accepted(partition.append(plainBatch(), 'client'))
  clock.advance(60_000)
  log.failReads = new LogError('corrupt', 't-0/0.log is damaged at position 0')
  t.equal(await read(), ErrorCode.CORRUPT_MESSAGE)
  t.same(warnings.slice(1), ['t-0 cannot be read: t-0/0.log is damaged at position 0'])
  log.failReads = undefined
  t.equal(await read(), undefined, 'when the disk is well')
  clock.advance(60_000)
  t.equal(errorCodeOf(await partition.read(7, { bytesMax: 1_000 })), ErrorCode.OFFSET_OUT_OF_RANGE)
  t.equal(warnings.length, 2, 'a mistake of a client is none of the disk')
})

test('clients leave room on the disk; the broker itself goes on, and so do they when there is room again', async (t) => {
  const clock = new ManualClock()
  const store = new ScriptedLogStore()
  let bytesFree = 1_000
  store.bytesFree = () => bytesFree
  const partition = await openPartition({ store, topicName: 't', index: 0, config: () => TOPIC_DEFAULTS, clock, logger: silent, freeSpace: new FreeSpace(store, 1_000, clock) })
  accepted(partition.append(plainBatch(), 'client'))
  bytesFree = 999
  accepted(partition.append(plainBatch(), 'client'))
  clock.advance(1_000)
  t.match(partition.append(plainBatch(), 'client'), { errorCode: ErrorCode.KAFKA_STORAGE_ERROR, errorMessage: /the disk has 999 bytes left, and haulout.min.free.bytes \(1000\) of it stay free/ })
  t.equal(partition.logEndOffset, 2)
  accepted(partition.append(plainBatch(), 'broker'))
  bytesFree = 1_000
  clock.advance(1_000)
  accepted(partition.append(plainBatch(), 'client'))
  store.bytesFree = () => { throw new LogError('failed', 'the device does not say') }
  clock.advance(1_000)
  accepted(partition.append(plainBatch(), 'client'))
  t.equal(partition.logEndOffset, 5)
})
