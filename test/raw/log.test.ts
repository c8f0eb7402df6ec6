/** Raw topics as programs use them: on every kind of store, across restarts, with mistakes. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { inspect } from 'node:util'
import { test } from 'tap'
import { LogError, RECORD_BATCH_LAYOUT } from '../../src/log/log.js'
import { MemoryLogStore } from '../../src/log/memory-log.js'
import { openStore } from '../../src/log/open-store.js'
import { Appender } from '../../src/raw/appender.js'
import { ENTRY_HEADER_BYTES, entriesIn, finishEntry, RAW_ENTRY_LAYOUT } from '../../src/raw/entry.js'
import { FsyncPolicy, FsyncSchedule, Log, optionsFromEnvironment, put, ReadConsistency, tombstone, type BackendChoice, type LogRecord, type RecordBatch, type SharedOptions, type Topic } from '../../src/raw/index.js'
import { RecordReader } from '../../src/raw/reader.js'
import { openValueAt, prepareRecord, writeRecord } from '../../src/raw/record.js'
import { SegmentLimits } from '../../src/raw/segment-limits.js'
import { lackOf } from '../contract/compression-contract.js'
import { makeEntry, makeFolder } from '../log/native-support.js'

const values = (records: RecordBatch | readonly LogRecord[]): string[] => records.map(({ value }) => String(value))
const numbers = (count: number, from = 0): string[] => Array.from({ length: count }, (_, index) => String(from + index))

async function all (records: AsyncIterable<LogRecord>): Promise<LogRecord[]> {
  const found: LogRecord[] = []
  for await (const record of records) found.push(record)
  return found
}

type Open = (dataDir: string, options?: SharedOptions) => Promise<Log>

/** What holds on every kind of store. */
function behaves (name: string, open: Open): void {
  test(`${name}: what is appended in one turn has offsets without a gap and is read in order`, async (t) => {
    await using log = await open(makeFolder(t))
    const topic = await log.topic('events')
    const bytes = Buffer.from('b')
    const appended = [topic.append('a'), topic.append(bytes), topic.append(put('k', 'c')), topic.append(tombstone('k'))]
    bytes.fill('!') // the caller's bytes are its own again
    const batch = topic.appendBatch(['d', { key: 'x', value: '' }])
    t.same(appended.map(({ offset }) => offset), [0, 1, 2, 3])
    t.match(batch, { baseOffset: 4, count: 2 })
    t.equal(topic.endOffset, 6)
    await Promise.all([...appended, batch].map(({ committed }) => committed))
    t.equal(topic.committedEndOffset, 6)
    const records = await topic.read(0)
    t.equal(records.nextOffset, 6)
    t.same(records.map(({ offset, key, value }) => [offset, key?.toString() ?? null, value?.toString() ?? null]), [
      [0, null, 'a'], [1, null, 'b'], [2, 'k', 'c'], [3, 'k', null], [4, null, 'd'], [5, 'x', '']
    ])
    t.same(values(await all(topic.replay({ from: 4 }))), ['d', ''])
    t.same(values(await topic.read(1, { recordsMax: 2 })), ['b', 'c'])
    t.same(values(await topic.read(1, { bytesMax: 3 })), ['b', 'c'], 'keys count, too')
    t.same(values(await topic.readBatch({ maxBytes: 3, checkpoint: false })), ['a', 'b'], 'under the name of the documents')
    t.same(values(await topic.read(2, { bytesMax: 0 })), ['c'], 'at least one')
    await Promise.all(numbers(3).map(async () => { await topic.appendBatch(numbers(1_000)).committed }))
    t.equal((await topic.readBatch({ recordsMax: 3_000 })).length, 2_000, 'at most so many')
  })

  test(`${name}: a batch larger than an entry is there as a whole, and what follows it comes behind it`, async (t) => {
    await using log = await open(makeFolder(t))
    const topic = await log.topic('large')
    const before = topic.append('before')
    const value = Buffer.alloc(300_000)
    const records = numbers(40).map((text) => { const copy = Buffer.from(value); copy.write(text); return copy })
    const batch = topic.appendBatch(records)
    const after = topic.append('after')
    const second = topic.appendBatch(records.slice(0, 20))
    t.same([before.offset, batch.baseOffset, batch.count, after.offset, second.baseOffset], [0, 1, 40, 41, 42])
    t.ok(topic.committedEndOffset <= 1, 'hidden until it is whole')
    const seen: number[] = []
    const follow = (async () => { for await (const { offset } of topic.replay({ follow: true, to: 62 })) seen.push(offset) })()
    await Promise.all([batch.committed, after.committed, second.committed])
    await follow
    t.same(seen, Array.from({ length: 62 }, (_, index) => index))
    const found = await all(topic.replay({ from: 1, to: 41 }))
    t.equal(found.length, 40)
    t.ok(found.every((record, index) => record.value!.equals(records[index]!)))
    t.same(values(await topic.read(41, { recordsMax: 1 })), ['after'])
  })

  test(`${name}: cursors hand out every record once, peek, jump, and are shared by name`, async (t) => {
    await using log = await open(makeFolder(t))
    const topic = await log.topic('queue')
    topic.appendBatch(numbers(100))
    await topic.sync()
    t.equal(String((await topic.next({ checkpoint: false }))!.value), '0')
    t.equal(String((await topic.next())!.value), '0')
    const together = await Promise.all([topic.next(), topic.readBatch({ recordsMax: 3 }), topic.cursor('default').next(), topic.readBatch({ bytesMax: 4 })])
    t.same(together.flatMap((read) => read !== null && 'nextOffset' in read ? read.toArray() : [read]).map((record) => String(record!.value)), numbers(9, 1), 'in the order of the calls')
    t.equal(topic.cursor('default').position, 10)
    t.equal(topic.cursor('other', { consistency: ReadConsistency.AtLeastOnce({ persistEvery: 10 }) }).position, 0)
    t.same(topic.cursorNames().sort(), ['default', 'other'])
    await topic.cursor('default').seek(99)
    t.same(values(await topic.readBatch()), ['99'])
    t.equal(await topic.next(), null)
    t.same(await topic.readBatch(), [])
    await topic.removeCursor('default')
    t.equal(topic.cursor('default').position, 0)
    await t.rejects(topic.cursor('default').seek(101), { code: 'out-of-range', message: /offset 101 of the topic 'queue' is outside 0 to 100/ })
  })

  test(`${name}: the time to live is over when the clock says so, and cursors pass over`, async (t) => {
    let nowMs = 1_000
    await using log = await open(makeFolder(t), { clock: { now: () => nowMs } })
    const topic = await log.topic('short')
    topic.append({ value: 'a', ttlMs: 100 })
    topic.append({ value: 'b', ttlMs: 1_000, timestampMs: 500 })
    topic.append('c')
    await topic.append({ key: 'k', value: 'd', ttlMs: 0 }).committed
    t.match(await topic.next({ checkpoint: false }), { offset: 0, timestampMs: 1_000, expiresAtMs: 1_100 })
    nowMs = 1_099
    t.same(values(await topic.read(0)), ['a', 'b', 'c'])
    nowMs = 1_100
    t.same(values(await topic.read(0)), ['b', 'c'])
    nowMs = 1_500
    t.match(await topic.next(), { offset: 2, expiresAtMs: null })
    t.equal(await topic.next(), null)
    t.equal(topic.cursor('default').position, 4)
    // Behind one that is in an entry of its own.
    await topic.append('e').committed
    t.match(await topic.next({ cursor: 'late', checkpoint: false }), { offset: 2 })
    await topic.cursor('late').seek(3)
    t.match(await topic.next({ cursor: 'late' }), { offset: 4 })
    t.equal(await topic.next({ cursor: 'late' }), null)
  })

  test(`${name}: values are compressed where it helps`, async (t) => {
    await using log = await open(makeFolder(t), { recordBytesMax: 100_000 })
    const topic = await log.topic('text')
    const text = 'the same words again, '.repeat(2_000)
    for (const compression of ['lz4', 'zstd', 'none'] as const) {
      const bytes = topic.bytes
      await topic.append({ key: compression, value: text, compression }).committed
      t[compression === 'none' ? 'ok' : 'notOk'](topic.bytes - bytes > text.length, compression)
    }
    await topic.append({ value: 'x', compression: 'zstd' }).committed
    t.same(values(await topic.read(0)), [text, text, text, 'x'])
    t.throws(() => topic.append({ value: 'x', compression: 'brotli' as never }), { code: 'malformed', message: /'none', 'lz4' or 'zstd', not 'brotli'/ })
    t.throws(() => topic.append({ value: Buffer.alloc(100_001), compression: 'lz4' }), { code: 'too-large' }, 'or it could not be read again')
  })

  test(`${name}: segments are ended by count, listed, read alone, and replayed in parallel`, async (t) => {
    await using log = await open(makeFolder(t))
    const topic = await log.topic('segments', { segmentEntriesMax: 100 })
    for (let index = 0; index < 10; index++) {
      topic.appendBatch(numbers(50, index * 50))
      await topic.sync()
    }
    const segments = topic.listSegments()
    t.same(segments.map(({ id, endOffset }) => [id, endOffset]), [[0, 100], [100, 200], [200, 300], [300, 400], [400, 500]])
    t.same(values(await all(topic.readSegment(200))), numbers(100, 200))
    await t.rejects(all(topic.readSegment(7)), { code: 'out-of-range', message: /has no segment 7/ })
    const found: string[] = []
    await topic.replaySegments(async (records, { id }) => {
      t.ok(records.toArray().every(({ offset }) => offset >= id && offset < id + 100))
      found.push(...values(records))
    }, { concurrency: 3 })
    t.same(found.map(Number).sort((a, b) => a - b), numbers(500).map(Number))
    await t.rejects(topic.replaySegments(async () => { throw new Error('enough') }), { message: 'enough' })
    await topic.truncateFront(250)
    t.equal(topic.startOffset, 250)
    t.same(values(await topic.read(0, { recordsMax: 1 })), ['250'], 'below the start is the start')
    t.equal(String((await topic.next())!.value), '250')
    t.equal(topic.listSegments()[0]!.id, 200)
    t.same(values(await all(topic.readSegment(200))), numbers(50, 250))
  })

  test(`${name}: a topic is shared by its handles and closes with the last`, async (t) => {
    await using log = await open(makeFolder(t))
    const [one, two] = await Promise.all([log.topic('a'), log.topic('a')])
    await one!.append('1').committed
    t.equal(two!.endOffset, 1)
    await one!.close()
    await one!.close()
    t.throws(() => one!.append('x'), { code: 'closed', message: /handle of the topic 'a' is closed/ })
    t.throws(() => one!.appendBatch(['x']), { code: 'closed' })
    await t.rejects(one!.next(), { code: 'closed' })
    await two!.append('2').committed
    const closing = two!.close()
    const three = await log.topic('a', { replay: (records) => { t.same(values(records), ['1', '2']) } })
    await closing
    t.equal(three.endOffset, 2)
    await three.append('3').committed
    await three.next({ cursor: 'c' })
    await log.removeTopic('a')
    t.throws(() => three.append('x'), { code: 'closed' })
    await t.rejects(three.read(0), { code: 'closed', message: /'a' was removed/ })
    await three.close()
    const again = await log.topic('a')
    t.equal(again.endOffset, 0)
    t.equal(again.cursor('c').position, 0)
    await log.removeTopic('never there')
  })

  test(`${name}: names are any text`, async (t) => {
    await using log = await open(makeFolder(t))
    const names = ['events', 'a.b', 'a/b', '..', '.cursors', 'with space', 'ü', '日本', '.lock', '%41', 'A'.repeat(255)]
    for (const name of names) {
      const topic = await log.topic(name)
      await topic.append(name).committed
      await topic.next({ cursor: `${name}"/\n` })
    }
    t.same(await log.topicNames(), [...names].sort())
    for (const name of names) t.equal(String((await (await log.topic(name)).read(0)).at(0)!.value), name)
    for (const bad of ['', 'A'.repeat(256), '\ud800', undefined as never]) await t.rejects(log.topic(bad), { code: 'malformed' })
  })

  test(`${name}: mistakes are told and cost nothing`, async (t) => {
    await using log = await open(makeFolder(t))
    const topic = await log.topic('a', { recordBytesMax: 1_000, segmentBytesMax: 10_000 })
    const huge = await log.topic('huge')
    t.throws(() => topic.append(undefined as never), { code: 'malformed', message: /a record is a value or an object with one, not undefined/ })
    t.throws(() => topic.append({ value: 7 as never }), { code: 'malformed', message: /a Uint8Array or a string, not number/ })
    t.throws(() => topic.append({ value: null }), { code: 'malformed', message: /a tombstone needs a key/ })
    t.throws(() => topic.append({ value: 'x', ttlMs: -1 }), { code: 'malformed', message: /ttlMs/ })
    t.throws(() => topic.append({ value: 'x', timestampMs: 1.5 }), { code: 'malformed', message: /timestampMs/ })
    t.throws(() => topic.append(Buffer.alloc(1_001)), { code: 'too-large', message: /at most 1000 bytes of key and value in this topic, this one has 1001/ })
    t.throws(() => topic.append({ key: 'k', value: Buffer.alloc(1_000) }), { code: 'too-large' })
    t.throws(() => topic.appendBatch([]), { code: 'malformed', message: /at least one record/ })
    t.throws(() => topic.appendBatch('abc' as never), { code: 'malformed' })
    t.throws(() => topic.appendBatch(numbers(2_001)), { code: 'too-large', message: /at most 2000 records, this one has 2001/ })
    t.throws(() => topic.appendBatch(['ok', { value: null }]), { code: 'malformed' })
    t.throws(() => topic.appendBatch(['ok', Buffer.alloc(1_001)]), { code: 'too-large' })
    const large = Buffer.alloc(2 ** 29)
    t.throws(() => huge.appendBatch(Array.from({ length: 21 }, () => large)), { code: 'too-large', message: /at most 10737418240 bytes/ })
    t.equal(topic.endOffset, 0)
    const slow = await log.topic('slow', { pendingBytesMax: 300_000 })
    const appended = slow.append(Buffer.alloc(200_000))
    t.throws(() => slow.append(Buffer.alloc(200_000)), { code: 'full', message: /await 'committed'/ })
    await appended.committed
    await slow.sync()
    t.equal(slow.append(Buffer.alloc(200_000)).offset, 1)
    await t.rejects(topic.read(-1), { code: 'malformed' })
    await t.rejects(topic.read(1_000), { code: 'out-of-range' })
    await t.rejects(topic.readBatch({ recordsMax: 0 }), { code: 'malformed', message: /recordsMax is a whole number from 1 on, not 0/ })
    await t.rejects(topic.truncateFront(100), { code: 'out-of-range' })
    t.throws(() => topic.cursor(''), { code: 'malformed' })
    t.throws(() => topic.cursor('c', { consistency: { atLeastOnce: { persistEvery: 0 } } }), { code: 'malformed', message: /persistEvery/ })
    t.throws(() => topic.cursor('c', { consistency: 'at-least-once' as never }), { code: 'malformed', message: /ReadConsistency\.AtLeastOnce\({ persistEvery }\), not "at-least-once"/ })
    t.throws(() => ReadConsistency.AtLeastOnce(undefined as never), { code: 'malformed' })
    t.throws(() => ReadConsistency.AtLeastOnce({ persistEvery: 0.5 }), { code: 'malformed', message: /persistEvery is a whole number from 1 on, not 0.5/ })
    await t.rejects(log.topic('b', { flushPolicy: 'each' as never }), { code: 'malformed', message: /flush policy is of kind/ })
    await t.rejects(log.topic('b', { segmentEntriesMax: 0 }), { code: 'malformed', message: /segmentEntriesMax/ })
    await log.close()
    await log.close()
    await t.rejects(log.topic('a'), { code: 'closed', message: 'the log is closed' })
    t.throws(() => topic.append('x'), { code: 'closed', message: /the topic 'a' is closed/ })
    await topic.close()
  })

  test(`${name}: a reader that follows ends with its signal and with the topic`, async (t) => {
    await using log = await open(makeFolder(t))
    const topic = await log.topic('tail')
    const controller = new AbortController()
    const seen: string[] = []
    const following = [controller.signal, undefined].map(async (signal) => {
      for await (const { value } of topic.replay({ follow: true, ...(signal !== undefined && { signal }) })) seen.push(String(value))
    })
    for (const text of ['a', 'b']) {
      await topic.append(text).committed
      while (seen.filter((value) => value === text).length < 2) await new Promise((resolve) => setImmediate(resolve))
    }
    controller.abort()
    await following[0]
    await topic.close()
    await following[1]
    t.same(seen.sort(), ['a', 'a', 'b', 'b'])
  })
}

const BACKENDS: readonly BackendChoice[] = process.platform === 'linux' ? ['io_uring', 'threads', 'node:fs'] : ['threads', 'node:fs']
// The others differ below the log, where every backend passes the log's contract.
for (const backend of process.platform === 'linux' ? [...BACKENDS, 'io_uring-buffered', 'mmap'] as const : BACKENDS) behaves(backend, async (dataDir, options) => await Log.open({ dataDir, backend, ...options }))
behaves('memory', async (_, options) => await Log.inMemory(options))

for (const backend of BACKENDS) {
  test(`${backend}: records and cursors are there again`, async (t) => {
    const dataDir = makeFolder(t)
    const options = { dataDir, backend, segmentBytesMax: 100_000 }
    let log = await Log.open(options)
    let topic = await log.topic('a')
    await topic.appendBatch(numbers(1_000)).committed
    await topic.appendBatch(numbers(6).map(() => Buffer.alloc(60_000))).committed
    for (let count = 0; count < 5; count++) await topic.next({ cursor: 'strict' })
    const loose = topic.cursor('loose', { consistency: ReadConsistency.AtLeastOnce({ persistEvery: 1_000 }) })
    for (let count = 0; count < 7; count++) await loose.next()
    topic.append('last')
    await log.close()

    log = await Log.open(options)
    t.same(await log.topicNames(), ['a'])
    topic = await log.topic('a')
    t.equal(topic.endOffset, 1_007)
    t.equal((await topic.next({ cursor: 'strict' }))!.offset, 5)
    t.equal((await topic.next({ cursor: 'loose' }))!.offset, 7, 'a clean close stores where it stands')
    t.equal((await all(topic.replay())).length, 1_007)
    await t.rejects(Log.open(options), { code: 'locked' })
    await log.close()
  })
}

for (const backend of BACKENDS) {
  test(`${backend}: segments are compressed in the background, and each is verified from its file`, async (t) => {
    const lack = await lackOf('zstd', await openStore({ dataDir: makeFolder(t), backend }))
    if (lack !== false) return void t.comment(lack)
    const dataDir = makeFolder(t)
    await using log = await Log.open({ dataDir, backend, segmentEntriesMax: 100, segmentCompression: 'zstd' })
    const topics = [await log.topic('a'), await log.topic('b', { segmentCompression: 'none' })]
    for (const topic of topics) {
      for (let segment = 0; segment < 4; segment++) await topic.appendBatch(numbers(100).map((text) => text.repeat(100))).committed
    }
    const [compressed, plain] = topics as [Topic, Topic]
    const isCompressed = (topic: Topic, id: number): boolean => topic.listSegments().find((segment) => segment.id === id)!.compression === 'zstd'
    while (!isCompressed(compressed, 200)) await new Promise((resolve) => setTimeout(resolve, 5))
    t.notOk(isCompressed(plain, 200), 'a topic may say something else')
    for (const topic of topics) {
      t.match(await topic.verifySegment(200), { baseOffset: 200, endOffset: 300, checksum: 'right', damage: null })
      t.equal((await all(topic.readSegment(200)))[99]!.offset, 299)
      t.match(await topic.verifySegment(300), { endOffset: 400, damage: null }, 'the last one, too')
      await t.rejects(topic.verifySegment(250), { code: 'out-of-range', message: `the topic '${topic.name}' has no segment 250` })
    }
    for (const [topic, end] of [[compressed, '.log.zst'], [plain, '.log']] as const) {
      const file = path.join(dataDir, topic.name, `${'200'.padStart(20, '0')}${end}`)
      const bytes = readFileSync(file)
      bytes[bytes.length >> 1]! ^= 1
      writeFileSync(file, bytes)
      t.match(await topic.verifySegment(200), { damage: { file, what: String } })
      t.match(await topic.verifySegment(100), { damage: null }, 'the others are not concerned')
    }
  })
}

test('a position is stored before its record is handed out, and after every n-th record, as the consistency says', async (t) => {
  const dataDir = makeFolder(t)
  const log = await Log.open({ dataDir })
  const topic = await log.topic('a', { flushPolicy: FsyncPolicy.Os })
  topic.appendBatch(numbers(100))
  await topic.sync()
  const strict = topic.cursor('strict')
  const loose = topic.cursor('loose', { consistency: { atLeastOnce: { persistEvery: 10 } } })
  for (let count = 0; count < 25; count++) await Promise.all([strict.next(), loose.next()])
  // What a copy of the folder says now is what a crash now would leave.
  const copy = makeFolder(t)
  const { cpSync } = await import('node:fs')
  cpSync(dataDir, copy, { recursive: true, filter: (name) => !name.endsWith('.lock') })
  await using crashed = await Log.open({ dataDir: copy })
  const after = await crashed.topic('a')
  t.equal(after.cursor('strict').position, 25)
  t.equal(after.cursor('loose').position, 20)
  await log.close()
})

test('a cursor behind the end of a topic that lost its last records stands at the end', async (t) => {
  const dataDir = makeFolder(t)
  let log = await Log.open({ dataDir })
  let topic = await log.topic('a')
  await topic.appendBatch(numbers(10)).committed
  while (await topic.next() !== null);
  await log.close()
  const { rmSync } = await import('node:fs')
  rmSync(`${dataDir}/a`, { recursive: true })
  log = await Log.open({ dataDir })
  topic = await log.topic('a')
  await topic.appendBatch(numbers(20)).committed
  t.equal((await topic.next())!.offset, 0)
  await log.close()
})

test('the log of cursors stays short, and says the same', async (t) => {
  const { CursorPositions } = await import('../../src/raw/cursor-positions.js')
  const dataDir = makeFolder(t)
  let store = await openStore({ dataDir })
  let positions = await CursorPositions.open(store, Date.now, 2_000)
  for (let round = 0; round < 60; round++) {
    await Promise.all(numbers(10).map(async (cursor) => { await positions.set('topic', cursor, round * 10 + Number(cursor)) }))
    if (round % 10 === 0) await positions.remove('topic', '9')
  }
  const segments = readdirSync(`${dataDir}/.cursors`).filter((name) => name.endsWith('.log'))
  await positions.close()
  await store.close()
  t.ok(segments.every((name) => Number.parseInt(name) > 0), `compacted: ${segments.join(' ')}`)
  store = await openStore({ dataDir })
  positions = await CursorPositions.open(store, Date.now)
  t.same(positions.of('topic').map(({ cursor, offset }) => offset - Number(cursor)), Array(10).fill(590))
  await store.close()
})

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

test('a folder that holds something else is refused and stays as it is', async (t) => {
  const dataDir = makeFolder(t)
  const store = await openStore({ dataDir })
  await (await store.open('orders-0', { layout: RECORD_BATCH_LAYOUT })).append(makeEntry()).committed
  await store.close()
  await t.rejects(Log.open({ dataDir }), { code: 'denied', message: /logs that are not raw topics, like 'orders-0'/ })
  t.notOk(readdirSync(dataDir).includes('.cursors'))
  const newer = makeFolder(t)
  await (await Log.open({ dataDir: newer })).close()
  const newerStore = await openStore({ dataDir: newer })
  const record = prepareRecord({ key: '["haulout-raw-topics"]', value: '2' })
  const entry = Buffer.alloc(ENTRY_HEADER_BYTES + record.bytes)
  writeRecord(entry, ENTRY_HEADER_BYTES, record)
  finishEntry(entry, { recordCount: 1, timestampMaxMs: 1, timestampMs: 1, batchIndex: 0, batchCount: 0 })
  await (await newerStore.open('.cursors', { layout: RAW_ENTRY_LAYOUT })).append(entry).committed
  await newerStore.close()
  await t.rejects(Log.open({ dataDir: newer }), { code: 'denied', message: /format 2, this version knows 1/ })
  await t.rejects(Log.open({ dataDir: '' }), { code: 'malformed', message: /dataDir is the path of a folder, not ""/ })
  await t.rejects(Log.open({} as never), { code: 'malformed' })
  await t.rejects(Log.open({ dataDir, backend: 'tape' as never }), { code: 'malformed', message: /backend is 'auto', 'io_uring', .*'node:fs', not "tape"/ })
  await t.rejects(Log.open({ dataDir, flushPolicy: 'none' as never }), { code: 'malformed', message: /not "none"/ })
})

for (const backend of BACKENDS) {
  test(`${backend}: readers go on at the start when it moves past them`, async (t) => {
    await using log = await Log.open({ dataDir: makeFolder(t), backend, segmentBytesMax: 50_000, flushPolicy: FsyncSchedule.NoFsync })
    const topic = await log.topic('a')
    for (let batch = 0; batch < 100; batch++) topic.appendBatch(numbers(20).map(() => Buffer.alloc(500)))
    await topic.sync()
    const seen: number[] = []
    let truncated: Promise<void> | undefined
    for await (const { offset } of topic.replay()) {
      seen.push(offset)
      if (seen.length === 150) truncated = topic.truncateFront(1_500)
      if (seen.length % 50 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await truncated
    t.ok(seen.every((offset, index) => index === 0 || offset > seen[index - 1]!))
    t.same(seen.slice(-500), Array.from({ length: 500 }, (_, index) => 1_500 + index))
    t.equal((await topic.next())!.offset, 1_500)
  })
}

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

for (const backend of BACKENDS) {
  test(`${backend}: a segment ends by age, which goes on when the log is opened again`, async (t) => {
    const options = { dataDir: makeFolder(t), backend }
    let beganMs = 0
    for (const [index, segmentAgeMsMax] of [60_000, 60_000, 40].entries()) {
      await using log = await Log.open({ ...options, segmentAgeMsMax })
      const topic = await log.topic('a')
      if (index === 2) while (Date.now() - beganMs < 50) await new Promise((resolve) => setTimeout(resolve, 5))
      await topic.appendBatch(['x', 'y']).committed
      if (index === 0) beganMs = Date.now()
      t.same(topic.listSegments().map(({ id, endOffset }) => [id, endOffset]).slice(0, 2), [[[0, 2]], [[0, 4]], [[0, 4], [4, 6]]][index])
    }
  })
}

test('a segment ends by records also when they come one by one', async (t) => {
  await using log = await Log.open({ dataDir: makeFolder(t) })
  const counted = await log.topic('counted', { segmentEntriesMax: 7 })
  for (const text of numbers(20)) counted.append(text)
  await counted.sync()
  t.same(counted.listSegments().map(({ endOffset }) => endOffset), [7, 14, 20])
})

test('a topic keeps so many bytes, or what is young enough, by whole segments', async (t) => {
  let nowMs = 1_000
  await using log = await Log.open({ dataDir: makeFolder(t), clock: { now: () => nowMs } })
  const topic = await log.topic('a', { segmentEntriesMax: 10 })
  for (let segment = 0; segment < 5; segment++) {
    await topic.appendBatch(numbers(10).map(() => Buffer.alloc(1_000))).committed
    nowMs += 100
  }
  t.equal(await topic.retain({}), 0)
  t.equal(await topic.retain({ bytesMax: 45_000 }), 10)
  t.equal(await topic.retain({ ageMsMax: 300 }), 20)
  t.equal(await topic.retain({ bytesMax: 0, ageMsMax: 0 }), 40, 'the last segment stays')
  t.same(topic.listSegments().map(({ id }) => id), [40])
  await t.rejects(topic.retain({ bytesMax: -1 }), { code: 'malformed', message: /bytesMax/ })
})

test('policies have the names of both documents', async (t) => {
  t.same([FsyncSchedule.SyncEach, FsyncSchedule.Milliseconds(200), FsyncSchedule.NoFsync], [FsyncPolicy.Always, FsyncPolicy.Batch(200), FsyncPolicy.Os])
  for (const flushPolicy of [FsyncSchedule.Milliseconds(5), FsyncPolicy.Os, FsyncPolicy.Always, { kind: 'bytes', bytes: 100 } as const]) {
    await using log = await Log.open({ dataDir: makeFolder(t), flushPolicy })
    const topic = await log.topic('a')
    await topic.append('x').committed
    await topic.sync()
    t.equal(topic.pendingBytes, 0)
    t.equal(String((await topic.next())!.value), 'x')
  }
})

test('the environment of the documents', async (t) => {
  t.same(optionsFromEnvironment({}), { quiet: false })
  t.same(optionsFromEnvironment({ WALRUS_DATA_DIR: '/data', WALRUS_DISABLE_IO_URING: '1', WALRUS_MAX_SEGMENT_ENTRIES: '500000', WALRUS_QUIET: '1', FSYNC: '500ms' }), {
    dataDir: '/data', backend: 'threads', segmentEntriesMax: 500_000, quiet: true, flushPolicy: { kind: 'interval', intervalMs: 500 }
  })
  const policies = { 'sync-each': 'each', always: 'each', 'no-fsync': 'none', os: 'none', async: 'interval' }
  for (const [text, kind] of Object.entries(policies)) t.equal(optionsFromEnvironment({ FSYNC: 'no-fsync', WALRUS_FSYNC: text }).flushPolicy!.kind, kind)
  t.throws(() => optionsFromEnvironment({ FSYNC: 'sometimes' }), { code: 'malformed', message: /not 'sometimes'/ })
  t.throws(() => optionsFromEnvironment({ WALRUS_MAX_SEGMENT_ENTRIES: 'many' }), { code: 'malformed', message: /WALRUS_MAX_SEGMENT_ENTRIES/ })
})
