/** Raw topics as programs use them: on every kind of store, across restarts, with mistakes. */
import { readdirSync } from 'node:fs'
import { test } from 'tap'
import { RECORD_BATCH_LAYOUT } from '../../src/log/log.js'
import { openStore } from '../../src/log/open-store.js'
import { ENTRY_HEADER_BYTES, finishEntry, RAW_ENTRY_LAYOUT } from '../../src/raw/entry.js'
import { FsyncPolicy, FsyncSchedule, Log, optionsFromEnvironment, put, ReadConsistency, tombstone, type SharedOptions } from '../../src/raw/index.js'
import { prepareRecord, writeRecord } from '../../src/raw/record.js'
import { makeEntry, makeFolder } from '../log/native-support.js'
import { all, BACKENDS, numbers, values } from './support.js'

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
    let [underWay, underWayMax] = [0, 0]
    await topic.replaySegments(async (records, { id }) => {
      underWayMax = Math.max(underWayMax, ++underWay)
      t.ok(records.toArray().every(({ offset }) => offset >= id && offset < id + 100))
      found.push(...values(records))
      // The first ones wait for each other.
      while (underWayMax < 3) await new Promise((resolve) => setImmediate(resolve))
      underWay--
    }, { concurrency: 3 })
    t.equal(underWayMax, 3)
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
    const huge = await log.topic('huge', { pendingBytesMax: 1_000_000 })
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
    const waiting = huge.appendBatch([Buffer.alloc(5_000_000), Buffer.alloc(5_000_000)])
    t.throws(() => huge.appendBatch([...Array.from({ length: 20 }, () => large), 'x']), { code: 'too-large', message: /at most 10737418240 bytes of keys and values, this one has 10737418241/ })
    t.throws(() => huge.appendBatch(Array.from({ length: 20 }, () => large)), { code: 'full' }, 'not too large: only too much beside what waits')
    await waiting.committed
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
    t.ok(topic.listSegments().length >= 6 && topic.listSegments().every(({ bytes }) => bytes <= 100_000), 'a segment ends before it is too large')
    t.equal((await topic.next({ cursor: 'strict' }))!.offset, 5)
    t.equal((await topic.next({ cursor: 'loose' }))!.offset, 7, 'a clean close stores where it stands')
    t.equal((await all(topic.replay())).length, 1_007)
    await t.rejects(Log.open(options), { code: 'locked' })
    await log.close()
  })
}
test('a folder that has no data is not made where its disk should have been mounted', async (t) => {
  for (const backend of BACKENDS) {
    const dataDir = makeFolder(t)
    const options = { dataDir, backend, createIfMissing: false }
    await t.rejects(Log.open(options), { code: 'denied', message: /has no data .*is its disk mounted\?/ })
    await t.rejects(Log.open({ ...options, dataDir: `${dataDir}/missing` }), { code: 'denied' })
    t.same(readdirSync(dataDir), [])
    await (await Log.open({ dataDir, backend })).close()
    await (await Log.open(options)).close()
  }
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
  await t.rejects(Log.open({ dataDir, tailBytesMax: -1 }), { code: 'malformed', message: /tailBytesMax is a whole number from 0 on, not -1/ })
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
  t.same(optionsFromEnvironment({ WALRUS_DATA_DIR: '', WALRUS_MAX_SEGMENT_ENTRIES: '', WALRUS_FSYNC: '', WALRUS_QUIET: '', WALRUS_DISABLE_IO_URING: '' }), { quiet: false }, 'empty is not set')
  t.equal(optionsFromEnvironment({ WALRUS_FSYNC: '', FSYNC: 'os' }).flushPolicy!.kind, 'none')
  for (const [text, kind] of Object.entries(policies)) t.equal(optionsFromEnvironment({ FSYNC: 'no-fsync', WALRUS_FSYNC: text }).flushPolicy!.kind, kind)
  for (const [text, expected] of [['1', 'threads'], ['true', 'threads'], ['0', undefined], ['False', undefined]] as const) t.equal(optionsFromEnvironment({ WALRUS_DISABLE_IO_URING: text }).backend, expected, text)
  t.throws(() => optionsFromEnvironment({ FSYNC: 'sometimes' }), { code: 'malformed', message: /not 'sometimes'/ })
  t.throws(() => optionsFromEnvironment({ WALRUS_MAX_SEGMENT_ENTRIES: 'many' }), { code: 'malformed', message: /WALRUS_MAX_SEGMENT_ENTRIES/ })
})
