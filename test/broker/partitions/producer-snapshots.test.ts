import { test } from 'tap'
import { decodeSnapshot, encodeSnapshot } from '../../../src/broker/partitions/producer-snapshot.js'
import { ProducerSnapshots, type SnapshotStore } from '../../../src/broker/partitions/producer-snapshots.js'
import { afterAppend, type ProducerEntry } from '../../../src/broker/partitions/producer-state.js'
import { LogError } from '../../../src/log/log.js'
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import { idempotentBatch, plainBatch } from '../support/batches.js'
import { accepted, errorCodeOf, silent, testPartition } from '../support/partitions.js'
import { ManualClock } from '../support/manual-clock.js'
import { ScriptedLogStore } from '../support/scripted-log-store.js'

class MapStore implements SnapshotStore {
  readonly entries = new Map<string, Buffer>()
  puts: string[][] = []
  async put (values: ReadonlyMap<string, Buffer | null>): Promise<void> {
    this.puts.push([...values.keys()])
    for (const [key, value] of values) {
      if (value === null) this.entries.delete(key)
      else this.entries.set(key, value)
    }
  }
}

const settled = async (): Promise<void> => { for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve)) }

test('a snapshot reads back as it was written', async (t) => {
  let entry: ProducerEntry | undefined
  for (let i = 0; i < 6; i++) entry = afterAppend(entry, { producerId: 1, producerEpoch: 7, firstSequence: i * 3, recordCount: 3 }, 2 ** 40 + i, 1_700_000_000_000, 1_700_000_000_001)
  const producers = new Map([[2 ** 45, entry!], [0, afterAppend(undefined, { producerId: 0, producerEpoch: 0, firstSequence: 2 ** 31 - 1, recordCount: 2 }, 0, -1, 5)]])
  const bytes = encodeSnapshot({ offset: 2 ** 50, producers })
  t.same(decodeSnapshot(bytes), { offset: 2 ** 50, producers })
  t.same(decodeSnapshot(encodeSnapshot({ offset: 0, producers: new Map() })), { offset: 0, producers: new Map() })
  for (let length = 0; length < bytes.length; length++) t.equal(decodeSnapshot(bytes.subarray(0, length)), null)
  bytes.writeInt16BE(99, 0)
  t.equal(decodeSnapshot(bytes), null, 'a format of the future')
})

test('the partitions with the most uncovered bytes are covered first, to half of the limit', async (t) => {
  const store = new MapStore()
  const snapshots = new ProducerSnapshots(store, silent, 100)
  const trackers = [0, 1, 2].map((index) => snapshots.of('id', index).track(0, async () => Buffer.from(`${index}`)))
  trackers[0]!.grew(40)
  trackers[1]!.grew(50)
  trackers[2]!.grew(10)
  await settled()
  t.same(store.puts, [], 'not more than the limit')
  trackers[2]!.grew(1)
  await settled()
  t.same(store.puts, [['id-1', 'id-0']])
  t.equal(snapshots.bytesUncovered, 11)
  trackers[2]!.close()
  t.equal(snapshots.bytesUncovered, 0)
})

test('a start reads only what no snapshot covers', async (t) => {
  const store = new MapStore()
  const logs = new ScriptedLogStore()
  const clock = new ManualClock()
  const open = async (snapshots: ProducerSnapshots) => await testPartition(logs, clock, undefined, 't', 0, snapshots.of('id', 0))
  const BATCH = idempotentBatch(0, 1).length
  const first = new ProducerSnapshots(store, silent, 10 * BATCH)
  const before = await open(first)
  for (let i = 0; i < 14; i++) accepted(before.partition.append(idempotentBatch(i, 1), 'client'))
  await settled()
  t.equal(store.puts.length, 1)
  t.equal(before.partition.logEndOffset, 14)

  const after = await open(new ProducerSnapshots(store, silent))
  t.equal(after.log.bytesRead, 3 * BATCH, 'as after a kill')
  t.equal(accepted(after.partition.append(idempotentBatch(9, 1), 'client')).baseOffset, 9, 'a duplicate from the snapshot')
  t.equal(accepted(after.partition.append(idempotentBatch(13, 1), 'client')).baseOffset, 13, 'a duplicate from the log')
  t.equal(errorCodeOf(after.partition.append(idempotentBatch(8, 1), 'client')), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)

  await first.close()
  const clean = await open(new ProducerSnapshots(store, silent))
  t.equal(clean.log.bytesRead, 0, 'after a clean end')
  t.equal(errorCodeOf(clean.partition.append(idempotentBatch(14, 1), 'client')), undefined)
})

test('a snapshot that is ahead of its log does not count', async (t) => {
  const store = new MapStore()
  await store.put(new Map([['id-0', encodeSnapshot({ offset: 50, producers: new Map([[9, afterAppend(undefined, { producerId: 9, producerEpoch: 4, firstSequence: 0, recordCount: 1 }, 49, -1, 1_000_000)]]) })]]))
  const { partition } = await testPartition(undefined, undefined, undefined, 't', 0, new ProducerSnapshots(store, silent).of('id', 0))
  t.equal(errorCodeOf(partition.append(idempotentBatch(5, 1), 'client')), undefined, 'the producer of epoch 4 is not known')
})

test('snapshots of deleted topics are dropped; what cannot be stored is no error', async (t) => {
  const store = new MapStore()
  store.entries.set('old-0', Buffer.from('x'))
  store.entries.set('id-0', Buffer.from('y'))
  const snapshots = new ProducerSnapshots(store, silent, 10)
  snapshots.of('id', 0).load()
  await snapshots.dropUnclaimed()
  t.same([...store.entries.keys()], ['id-0'])
  const tracker = snapshots.of('id', 0).track(0, async () => { throw new LogError('failed', 'the disk') })
  tracker.grew(11)
  await settled()
  store.put = async () => { throw new LogError('full', 'the disk') }
  snapshots.of('id', 1).track(11, async () => Buffer.from('z')).grew(1)
  await settled()
  t.equal(snapshots.bytesUncovered, 0)
})

test('a partition of no producers takes part', async (t) => {
  const store = new MapStore()
  const { partition } = await testPartition(undefined, undefined, undefined, 't', 0, new ProducerSnapshots(store, silent, 100).of('id', 0))
  accepted(partition.append(plainBatch(1, 200), 'client'))
  await settled()
  t.same(decodeSnapshot(store.entries.get('id-0')!), { offset: 1, producers: new Map() })
})
