/** Entries of raw topics: cut off, damaged, refused; and where they are found. */
import { test } from 'tap'
import { LogError } from '../../src/log/log.js'
import { MemoryLogStore } from '../../src/log/memory-log.js'
import { openStore } from '../../src/log/open-store.js'
import { Appender } from '../../src/raw/appender.js'
import { ENTRY_HEADER_BYTES, entriesIn, finishEntry, RAW_ENTRY_LAYOUT } from '../../src/raw/entry.js'
import { FsyncSchedule, Log } from '../../src/raw/index.js'
import { RecordReader } from '../../src/raw/reader.js'
import { openValueAt, prepareRecord, writeRecord } from '../../src/raw/record.js'
import { SegmentLimits } from '../../src/raw/segment-limits.js'
import { makeFolder } from '../log/native-support.js'
import { all, numbers, values } from './support.js'

test('a batch that a crash cut off is not there, whatever follows it', async (t) => {
  const part = (batchIndex: number, recordCount: number, batchCount: number, text: string): Buffer => {
    const records = Array.from({ length: recordCount }, (_, index) => prepareRecord(`${text}${batchIndex + index}`))
    const entry = Buffer.alloc(ENTRY_HEADER_BYTES + records.reduce((sum, { bytes }) => sum + bytes, 0))
    records.reduce((at, record) => writeRecord(entry, at, record), ENTRY_HEADER_BYTES)
    finishEntry(entry, { recordCount, timestampMaxMs: 1, timestampMs: 1, batchIndex, batchCount })
    return entry
  }
  const dataDir = makeFolder(t)
  await (await Log.open({ dataDir })).close()
  const store = await openStore({ dataDir })
  const stored = await store.open('a', { layout: RAW_ENTRY_LAYOUT })
  // One that ends with the log's life, one as long right behind it that is whole, one that ends again.
  for (const entry of [part(0, 2, 6, 'cut'), part(2, 2, 6, 'cut'), part(0, 2, 6, 'whole'), part(2, 3, 6, 'whole'), part(5, 1, 6, 'whole'), part(0, 4, 5, 'end')]) stored.append(entry)
  await store.close()
  await using log = await Log.open({ dataDir })
  const topic = await log.topic('a')
  const whole = numbers(6).map((text) => `whole${text}`)
  t.same((await all(topic.replay())).map(({ offset, value }) => [offset, String(value)]), whole.map((text, index) => [4 + index, text]))
  t.same(values(await topic.readBatch({ checkpoint: false })), whole)
  t.same(values(await topic.read(6)), whole.slice(2))
  t.equal((await topic.read(0, { recordsMax: 6 })).nextOffset, 10)
  t.equal(topic.append('next').offset, 14)
  await topic.append('and last').committed
  t.same(values(await topic.readBatch()), [...whole, 'next', 'and last'])
  await topic.truncateFront(7)
  t.same(values(await topic.read(0)), [...whole.slice(3), 'next', 'and last'])
})

test('entries are found in buffers that are cut anywhere', async (t) => {
  const entries = [3, 1, 200].map((bytes, index) => {
    const entry = Buffer.alloc(ENTRY_HEADER_BYTES + bytes, index + 1)
    finishEntry(entry, { recordCount: 1, timestampMaxMs: 2 ** 33 + index, timestampMs: 2 ** 33 + index, batchIndex: index, batchCount: 9 })
    return entry
  })
  const bytes = Buffer.concat(entries)
  for (let pieceBytes = 1; pieceBytes <= bytes.length; pieceBytes++) {
    const parts: Buffer[] = []
    for (let at = 0; at < bytes.length; at += pieceBytes) parts.push(bytes.subarray(at, at + pieceBytes))
    const found = entriesIn(parts)
    if (found.length !== 3 || !found.every((entry, index) => entry.bytes.subarray(entry.from, entry.to).equals(entries[index]!) && entry.timestampMs === 2 ** 33 + index && entry.batchIndex === index)) t.fail(`pieces of ${pieceBytes} bytes`)
  }
  t.equal(entriesIn([bytes.subarray(0, bytes.length - 1)]).length, 2)
  t.same(entriesIn([]), [])
})

test('a value in a codec of another version, or one that is damaged, is an error that names the offset', async (t) => {
  await using log = await Log.open({ dataDir: makeFolder(t) })
  const topic = await log.topic('a')
  const record = prepareRecord({ value: 'word '.repeat(100), compression: 'lz4' })
  const cases = [[7 << 4, record.valueBytes, /the record at offset 0 cannot be read: its codec 7 is unknown to this version/], [1 << 4, record.valueBytes + 1, /at offset 0 cannot be read: its compressed bytes are damaged/], [1 << 4, 2 ** 31, /would have 2147483648 bytes, at most/], [2 << 4, 500, /at offset 0 cannot be read/]] as const
  for (const [flags, valueBytes, message] of cases) {
    const entry = Buffer.alloc(1_000)
    writeRecord(entry, 0, { ...record, flags, valueBytes })
    t.throws(() => openValueAt(entry, 0, 0, 1_000_000), { code: 'corrupt', message })
  }
  await topic.append('fine').committed
})

test('when the disk is full, what was promised is taken back and what comes later has the right offsets', async (t) => {
  const store = new MemoryLogStore()
  const log = await store.open('a', { layout: RAW_ENTRY_LAYOUT })
  let full = false
  const append = log.append.bind(log)
  log.append = (entry) => {
    if (full) throw new LogError('full', 'no space')
    return append(entry)
  }
  const options = { flushPolicy: FsyncSchedule.NoFsync, recordBytesMax: 2 ** 30, pendingBytesMax: 2 ** 30, segmentBytesMax: 1_000_000, limits: new SegmentLimits(log, {}), now: () => 1, onVisible () {} }
  const appender = new Appender('a', log, options)
  await appender.append('there').committed
  full = true
  const lost = [appender.append('a'), appender.append('b')]
  t.same(lost.map(({ offset }) => offset), [1, 2])
  for (const { committed } of lost) await t.rejects(committed, { code: 'full' })
  t.equal(appender.nextOffset, 1)
  const batch = appender.appendBatch(numbers(4).map(() => Buffer.alloc(900_000)))
  const behind = [appender.append('behind'), appender.appendBatch(numbers(4).map(() => Buffer.alloc(900_000)))]
  for (const { committed } of [batch, ...behind]) await t.rejects(committed, { code: 'full' })
  t.equal(appender.nextOffset, 1)
  full = false
  // In the middle of a batch: its first parts are in the log, and are nobody's.
  let parts = 0
  log.append = (entry) => {
    if (++parts === 3) throw new LogError('full', 'no space')
    return append(entry)
  }
  const cut = appender.appendBatch(numbers(4).map(() => Buffer.alloc(900_000)))
  await t.rejects(cut.committed, { code: 'full' })
  const after = appender.append('after')
  t.equal(after.offset, 3)
  await after.committed
  t.equal(appender.visibleEndOffset, 4)
  const reader = new RecordReader({ log, topic: 'a', visibleEndOffset: () => appender.visibleEndOffset, startOffset: () => log.startOffset, now: () => 1, recordBytesMax: 2 ** 30 })
  t.same((await reader.read(0, { bytesMax: 1e9, recordsMax: 100 })).map(({ offset, value }) => [offset, String(value)]), [[0, 'there'], [3, 'after']])
  t.equal(appender.pendingBytes > 0, true)
  await appender.sync()
  t.equal(appender.pendingBytes, 0)
})
