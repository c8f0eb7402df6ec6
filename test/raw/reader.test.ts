/**
 * Which records a read takes from which entries, against the simplest way to say so; entries that are not what they say; and the batch of records that
 * a read hands out, over memory that is used again.
 */
import { inspect } from 'node:util'
import fc from 'fast-check'
import { test } from 'tap'
import { MemoryLogStore } from '../../src/log/memory-log.js'
import { entriesIn, ENTRY_HEADER_BYTES, finishEntry, RAW_ENTRY_LAYOUT } from '../../src/raw/entry.js'
import { findRecords } from '../../src/raw/entry-records.js'
import { HeldMemory } from '../../src/raw/held-memory.js'
import { Log, tombstone, type LogRecord } from '../../src/raw/index.js'
import { RecordReader } from '../../src/raw/reader.js'
import { prepareRecord, writeRecord, type RecordInput } from '../../src/raw/record.js'
import { makeFolder } from '../log/native-support.js'
import { BACKENDS, numbers, values } from './support.js'

const NOW_MS = 1_000

function makeEntry (inputs: readonly RecordInput[], recordCount = inputs.length): Buffer {
  const records = inputs.map(prepareRecord)
  const entry = Buffer.alloc(records.reduce((sum, { bytes }) => sum + bytes, ENTRY_HEADER_BYTES))
  let at = ENTRY_HEADER_BYTES
  for (const record of records) at = writeRecord(entry, at, record)
  finishEntry(entry, { recordCount, timestampMaxMs: 7, timestampMs: 7, batchIndex: 0, batchCount: 0 })
  return entry
}

async function openReader (entries: readonly Buffer[]): Promise<RecordReader> {
  const log = await new MemoryLogStore().open('a', { layout: RAW_ENTRY_LAYOUT })
  for (const entry of entries) log.append(entry)
  return new RecordReader({ log, topic: 'a', visibleEndOffset: () => log.endOffset, startOffset: () => 0, now: () => NOW_MS, recordBytesMax: 1_000 })
}

const plain = fc.nat(60).map((bytes): RecordInput => ({ value: Buffer.alloc(bytes, bytes) }))
const special = fc.oneof(
  fc.nat(60).map((bytes): RecordInput => ({ key: 'k', value: Buffer.alloc(bytes, bytes) })),
  fc.constant<RecordInput>({ key: 'gone', value: null }),
  fc.constant<RecordInput>({ value: 'z'.repeat(100), compression: 'lz4' }),
  fc.boolean().map((isOver): RecordInput => ({ value: 'limited', timestampMs: 1, ttlMs: isOver ? NOW_MS - 1 : NOW_MS }))
)
const anyEntry = fc.oneof(fc.array(plain, { minLength: 1, maxLength: 30 }), fc.array(fc.oneof({ weight: 4, arbitrary: plain }, special), { minLength: 1, maxLength: 30 }))
const anyReads = fc.array(fc.record({ skipped: fc.nat(3), bytesMax: fc.oneof(fc.nat(20), fc.nat(2_000)), recordsMax: fc.integer({ min: 1, max: 40 }) }), { minLength: 1, maxLength: 20 })

const isExpired = ({ ttlMs }: RecordInput): boolean => ttlMs === NOW_MS - 1
const payload = ({ key = null, value }: RecordInput): number => (key?.length ?? 0) + (value?.length ?? 0)

/** Offsets that a read from `from` on returns. */
function expected (records: readonly RecordInput[], from: number, bytesMax: number, recordsMax: number): number[] {
  const offsets: number[] = []
  let bytesLeft = bytesMax
  for (let offset = from; offset < records.length && offsets.length < recordsMax; offset++) {
    if (isExpired(records[offset]!)) continue
    bytesLeft -= payload(records[offset]!)
    if (bytesLeft < 0 && offsets.length > 0) break
    offsets.push(offset)
    if (bytesLeft < 0) break
  }
  return offsets
}

test('a read takes the records that its limits let it, from wherever it begins', async (t) => {
  await fc.assert(fc.asyncProperty(fc.array(anyEntry, { minLength: 1, maxLength: 40 }), anyReads, async (entries, reads) => {
    const records = entries.flat()
    const reader = await openReader(entries.map((inputs) => makeEntry(inputs)))
    let from = 0
    for (const { skipped, bytesMax, recordsMax } of reads) {
      from = from + skipped >= records.length ? 0 : from + skipped
      const batch = await reader.read(from, { bytesMax, recordsMax })
      const offsets = expected(records, from, bytesMax, recordsMax)
      // A limit that is reached as an entry ends may end the read there, although what follows has no bytes.
      const taken = batch.map(({ offset }) => offset)
      const left = offsets.slice(taken.length)
      t.ok(left.length === 0 || (taken.length > 0 && left.every((offset) => payload(records[offset]!) === 0)))
      t.strictSame(taken, offsets.slice(0, taken.length))
      t.equal(batch.length, taken.length)
      t.ok(batch.nextOffset > (taken.at(-1) ?? from - 1) && records.slice((taken.at(-1) ?? from - 1) + 1, batch.nextOffset).every(isExpired))
      const seen: (number | string | null)[][] = []
      batch.eachValue((bytes, start, end, offset) => { seen.push([offset, start < 0 ? null : bytes.toString('utf8', start, end)]) })
      t.strictSame(seen, taken.map((offset) => [offset, records[offset]!.value === null ? null : String(records[offset]!.value)]))
      t.strictSame([0, taken.length >> 1, -1].map((index) => batch.at(index)?.offset), [taken[0], taken[taken.length >> 1], taken.at(-1)])
      from = batch.nextOffset >= records.length ? 0 : batch.nextOffset
      if (skipped % 2 === 0) batch.release()
    }
  }), { numRuns: 100 })
})

test('records are found in entries of any sizes, more than are walked at the same time', (t) => {
  const counts = [3, 1, 500, 2, ...Array.from({ length: 60 }, (_, index) => index % 7 + 1), 40]
  const bytes = Buffer.concat(counts.map((count) => makeEntry(Array.from({ length: count }, (_, index) => index % 5 === 4 && count > 5 ? { key: 'k', value: 'x' } : { value: 'y'.repeat(index) }))))
  const entries = entriesIn([bytes])
  const found = findRecords(entries)
  t.strictSame(found.map(({ count }) => count), counts)
  t.strictSame(found.map(({ isPlain }) => isPlain), counts.map((count) => count <= 5))
  t.ok(found.every((records, index) => records.entry === entries[index] && records.startOf(0) === entries[index]!.from + ENTRY_HEADER_BYTES && records.startOf(records.count) === entries[index]!.to))
  t.strictSame(findRecords([]), [])
  t.end()
})

test('an entry that is not a run of its records is an error once one is asked for that is not there', async (t) => {
  const whole = makeEntry([{ value: 'before' }])
  const inputs = ['first', 'second', 'third'].map((value) => ({ value }))
  const tooMany = makeEntry(inputs, 4)
  const none = makeEntry([], 2 ** 31 - 1)
  const tooLong = makeEntry(inputs)
  tooLong.writeUInt32BE(2 ** 32 - 1, ENTRY_HEADER_BYTES + 5 + 5 + 1)
  const keyed = makeEntry([{ value: 'first' }, { key: 'k', value: 'x' }])
  keyed.writeUInt32BE(1_000, keyed.length - 6)
  const cutHead = makeEntry([{ value: 'first' }, { value: '' }])
  cutHead.writeUInt8(15, cutHead.length - 5)
  for (const [entry, there] of [[tooMany, 3], [none, 0], [tooLong, 1], [keyed, 1], [cutHead, 1]] as const) {
    const corrupt = { code: 'corrupt', message: /the entry at offset 1 of the topic 'a' is not a run of \d+ records/ }
    const reader = await openReader([whole, entry, whole])
    await t.rejects(reader.read(0, { bytesMax: 1_000, recordsMax: 100 }), corrupt)
    await t.rejects(reader.read(1 + there, { bytesMax: 0, recordsMax: 1 }), corrupt)
    if (there > 0) t.equal((await reader.read(1, { bytesMax: 1_000, recordsMax: there })).length, there)
  }
})

test('what readers hold between two reads is bounded for all of them together', async (t) => {
  const log = await new MemoryLogStore().open('a', { layout: RAW_ENTRY_LAYOUT })
  const count = 60
  for (let index = 0; index < count; index++) log.append(makeEntry([{ value: Buffer.alloc(50_000, index + 1) }]))
  let bytesHeld = 0
  const read = log.read.bind(log)
  log.read = async (offset, options) => {
    const whole = await read(offset, options)
    bytesHeld += whole.bytes
    return { ...whole, release: () => { bytesHeld -= whole.bytes } }
  }
  const bytesMax = 1_000_000
  const held = new HeldMemory(bytesMax)
  const newReader = (): RecordReader => new RecordReader({ log, topic: 'a', visibleEndOffset: () => log.endOffset, startOffset: () => 0, now: () => NOW_MS, recordBytesMax: 1_000, held })
  const take = async (reader: RecordReader, offset: number): Promise<void> => {
    const batch = await reader.read(offset, { bytesMax: 0, recordsMax: 1 })
    if (batch.at(0)!.value![0] !== offset + 1) t.fail(`another record than the one at offset ${offset}`)
    batch.release()
    // What was read ahead has come, or has gone.
    await new Promise((resolve) => setImmediate(resolve))
  }
  const readers = numbers(20).map(newReader)
  let bytesHeldMax = 0
  for (let offset = 0; offset < count; offset++) {
    for (const reader of readers) {
      await take(reader, offset)
      bytesHeldMax = Math.max(bytesHeldMax, bytesHeld)
    }
  }
  t.ok(bytesHeldMax > bytesMax / 2 && bytesHeldMax <= bytesMax, `${bytesHeldMax} bytes`)
  const late = newReader()
  for (const offset of [0, 1, 2]) await take(late, offset)
  const before = bytesHeld
  late.close()
  await new Promise((resolve) => setImmediate(resolve))
  t.ok(bytesHeld < before, 'a reader that is closed holds nothing')
  for (const reader of readers) reader.close()
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(bytesHeld, 0)
  await take(readers[0]!, 7)
  t.equal(bytesHeld, 0, 'also when a read came late')
})

test('what was given to another thread with its memory is read again', async (t) => {
  for (const backend of BACKENDS) {
    const log = await Log.open({ dataDir: makeFolder(t), backend })
    const topic = await log.topic('a')
    const expected = Array.from({ length: 20 }, (_, id) => `value ${id}`.padEnd([10, 3_000, 30_000][id % 3]!))
    for (const value of expected) await topic.append(value).committed
    for (const index of [3, 4, 5]) {
      const { value } = (await topic.read(0)).at(index)!
      structuredClone(value!, { transfer: [value!.buffer as ArrayBuffer] })
      t.same(values(await topic.read(0)), expected, backend)
    }
    await log.close()
  }
})

test('memory of entries in pieces is used again once their batch is released, not before', async (t) => {
  const log = await new MemoryLogStore().open('a', { layout: RAW_ENTRY_LAYOUT })
  const count = 40
  for (let index = 0; index < count; index++) log.append(makeEntry([{ value: Buffer.alloc(20_000, index + 1) }]))
  const read = log.read.bind(log)
  log.read = async (offset, options) => {
    const whole = await read(offset, options)
    return { ...whole, parts: whole.parts.flatMap((part) => [part.subarray(0, 7_000), part.subarray(7_000)]) }
  }
  const newReader = (): RecordReader => new RecordReader({ log, topic: 'a', visibleEndOffset: () => log.endOffset, startOffset: () => 0, now: () => NOW_MS, recordBytesMax: 1_000 })
  const held = await newReader().read(3, { bytesMax: 100_000, recordsMax: 3 })
  const values = held.map(({ value }) => value!)
  for (let round = 0; round < 3; round++) {
    const reader = newReader()
    for (let offset = 0; offset < count; offset++) {
      const batch = await reader.read(offset, { bytesMax: 0, recordsMax: 1 })
      t.ok(batch.at(0)!.value!.every((byte) => byte === offset + 1))
      batch.release()
    }
  }
  t.ok(values.every((value, index) => value.every((byte) => byte === index + 4)))
})

for (const backend of BACKENDS) {
  test(`${backend}: a batch of records is an iterable with positions, and its memory can be given back`, async (t) => {
    let nowMs = 1_000
    await using log = await Log.open({ dataDir: makeFolder(t), backend, clock: { now: () => nowMs } })
    const topic = await log.topic('a')
    const text = 'word '.repeat(100)
    topic.append('zero')
    topic.append({ value: 'gone', ttlMs: 1 })
    await topic.append({ key: 'k2', value: 'two', timestampMs: 2 }).committed
    topic.append({ key: 'k3', value: text, compression: 'lz4', ttlMs: 5_000 })
    await topic.append(tombstone('k4')).committed
    nowMs = 1_001
    const batch = await topic.read(0)
    t.equal(batch.length, 4)
    t.equal(batch.nextOffset, 5)
    t.same([0, 1, 2, 3, -1, -4].map((index) => batch.at(index)!.offset), [0, 2, 3, 4, 4, 0])
    t.same([4, -5].map((index) => batch.at(index)), [undefined, undefined])
    t.same(JSON.parse(JSON.stringify(batch.at(0))), { offset: 0, timestampMs: 1_000, key: null, value: JSON.parse(JSON.stringify(Buffer.from('zero'))), expiresAtMs: null })
    t.match(inspect(batch.at(1)), /offset: 2,\s+timestampMs: 2,\s+key: <Buffer 6b 32>,\s+value: <Buffer 74 77 6f>,\s+expiresAtMs: null/)
    t.same(batch.map(({ valueBytes, expiresAtMs }, index) => [index, valueBytes, expiresAtMs]), [[0, 4, null], [1, 3, null], [2, text.length, 6_000], [3, 0, null]])
    const seen: Array<[number, string | null]> = []
    batch.eachValue((bytes, from, to, offset) => seen.push([offset, from < 0 ? null : bytes.toString('utf8', from, to)]))
    t.same(seen, [[0, 'zero'], [2, 'two'], [3, text], [4, null]])
    batch.release()
    batch.release()
    for (const use of [() => batch.at(0), () => batch.toArray(), () => { batch.eachValue(() => {}) }]) t.throws(use, { code: 'closed', message: 'this batch of records was released' })
    t.same(values(await topic.read(2)), ['two', text, 'null'], 'the reader reads on')
  })

  test(`${backend}: what is given back is not what others look at`, async (t) => {
    await using log = await Log.open({ dataDir: makeFolder(t), backend })
    const topic = await log.topic('a')
    const sizes = numbers(400).map((_, index) => 500 + index * 37 % 9_000)
    await topic.appendBatch(sizes.map((bytes, index) => Buffer.alloc(bytes, index))).committed
    const kept: Array<ArrayLike<LogRecord>> = []
    const readers = numbers(4).map(async (_, reader) => {
      for (let offset = reader; offset < 400;) {
        const batch = await topic.read(offset, { bytesMax: 20_000 * (reader + 1) })
        offset = batch.nextOffset
        if (offset % 2 === 0) kept.push(batch.toArray())
        else batch.release()
      }
    })
    await Promise.all(readers)
    await topic.appendBatch(sizes.map((bytes) => Buffer.alloc(bytes, 255))).committed
    for (let offset = 0; offset < 800;) {
      const batch = await topic.read(offset, { bytesMax: 200_000 })
      offset = batch.nextOffset
      batch.release()
    }
    t.ok(kept.length > 0)
    t.ok(kept.every((records) => Array.from(records).every(({ offset, value }) => value!.equals(Buffer.alloc(sizes[offset]!, offset)))))
  })
}
