/** One suite for every `LogStore`: what log.ts promises, as tests. `reopens` says whether a folder outlives its store. */
import type { Test } from 'tap'
import { RECORD_BATCH_LAYOUT, type LogErrorCode, type LogOptions, type LogRead, type LogStore, type ReadOptions } from '../../src/log/log.js'
import { compressionContract } from './compression-contract.js'
import { entriesOf, entry, testFolder } from './entries.js'
import { damageTests, limitReopenTests, reopenTests } from './reopen-contract.js'
import { oneSegmentTests, segmentLimitTests, segmentTests } from './segment-contract.js'
import { ALL, appendAll, codeOf, ids, numbered, range, type Register, type StoreUnderTest } from './support.js'

const layout = RECORD_BATCH_LAYOUT

export async function logContract (t: Test, store: StoreUnderTest): Promise<void> {
  const withStore = async (t: Test, use: (store: LogStore, folder: string) => Promise<void>): Promise<void> => {
    const folder = testFolder(t, store.place)
    const opened = await store.open(folder)
    try {
      await use(opened, folder)
    } finally {
      await opened.close()
    }
  }
  const test = (name: string, body: (t: Test, store: LogStore, folder: string) => Promise<void>): void => {
    void t.test(name, async (t) => { await withStore(t, async (opened, folder) => await body(t, opened, folder)) })
  }
  appendTests(test)
  readTests(test)
  timestampTests(test)
  segmentTests(test)
  segmentLimitTests(test)
  oneSegmentTests(test)
  nameTests(test)
  await t.test('flush policies', async (t) => await flushPolicyTests(t, store))
  if (!store.reopens) return
  await t.test('what is there after opening again', async (t) => await reopenTests(t, store))
  await t.test('compressed segments', async (t) => await compressionContract(t, store))
  await t.test('limits of segments after opening again', async (t) => await limitReopenTests(t, store))
  await t.test('damage in one segment', async (t) => await damageTests(t, store))
}

function appendTests (test: Register): void {
  test('an empty log', async (t, store) => {
    const log = await store.open('a', { layout })
    t.same([log.name, log.startOffset, log.endOffset, log.committedEndOffset, log.bytes], ['a', 0, 0, 0, 0])
    t.hasStrict(await log.read(0, ALL), { parts: [], bytes: 0, nextOffset: 0 })
    t.same(log.segments(), [])
    t.equal(await log.entryAtTimestamp(0), null)
    t.equal(await log.entryWithTimestampMax(), null)
    await log.flush()
    await log.roll()
    await log.truncateFront(0)
    t.same(log.segments(), [])
  })

  test('order of appends is order of offsets; an entry covers its records', async (t, store) => {
    const log = await store.open('a', { layout })
    const pending = [entry({ id: 1 }), entry({ id: 2, count: 10 }), entry({ id: 3, bytes: 61 + 4 })].map((one) => log.append(one))
    t.same(pending.map(({ baseOffset }) => baseOffset), [0, 1, 11])
    t.equal(log.endOffset, 12)
    await pending[2]!.committed
    t.equal(log.committedEndOffset, 12, 'what was appended before is committed, too')
    await Promise.all(pending.map(async ({ committed }) => await committed))
    const read = await log.read(0, ALL)
    t.equal(read.nextOffset, 12)
    t.same(entriesOf(read).map(({ baseOffset, id, intact }) => [baseOffset, id, intact]), [[0, 1, true], [1, 2, true], [11, 3, true]])
    t.equal(log.bytes, 265)
  })

  test('the caller may use its buffer again when append has returned', async (t, store) => {
    const log = await store.open('a', { layout })
    const buffer = entry({ id: 7 })
    const { committed } = log.append(buffer)
    buffer.fill(0xff)
    await committed
    t.same(entriesOf(await log.read(0, ALL)).map(({ id, intact }) => [id, intact]), [[7, true]])
  })

  test('what is no entry is refused, without any effect', async (t, store) => {
    const log = await store.open('a', { layout, segmentBytesMax: 1_000 })
    const damaged = (change: (bytes: Buffer) => void): Buffer => {
      const bytes = entry()
      change(bytes)
      return bytes
    }
    const cases: readonly (readonly [string, Buffer, LogErrorCode])[] = [
      ['nothing', Buffer.alloc(0), 'malformed'],
      ['less than a header', entry().subarray(0, 60), 'malformed'],
      ['another format', damaged((bytes) => bytes.writeInt8(1, layout.magicAt)), 'malformed'],
      ['a length that is too small', damaged((bytes) => bytes.writeInt32BE(10, layout.lengthAt)), 'malformed'],
      ['a length that is too large', damaged((bytes) => bytes.writeInt32BE(1_000, layout.lengthAt)), 'malformed'],
      ['a negative length', damaged((bytes) => bytes.writeInt32BE(-1, layout.lengthAt)), 'malformed'],
      ['no records', damaged((bytes) => bytes.writeInt32BE(-1, layout.lastOffsetDeltaAt)), 'malformed'],
      ['two entries', Buffer.concat([entry(), entry()]), 'malformed'],
      ['larger than a segment', entry({ bytes: 1_001 }), 'too-large']
    ]
    for (const [name, bytes, code] of cases) t.equal(await codeOf(() => log.append(bytes)), code, name)
    t.equal(log.endOffset, 0)
    await log.append(entry({ bytes: 1_000, id: 9 })).committed
    t.same(await ids(log), [9])
  })

  test('options that cannot be are refused: a policy with a typing error is no weaker one', async (t, store) => {
    const cases: ReadonlyArray<readonly [string, object | undefined]> = [
      ['the layout', undefined], ['the layout', {}], ['lengthAt', { layout: { ...layout, lengthAt: 'x' } }], ['segmentBytesMax', { layout, segmentBytesMax: 0 }],
      ['segmentEntriesMax', { layout, segmentEntriesMax: 1.5 }], ['segmentAgeMsMax', { layout, segmentAgeMsMax: '1' }], ['flush policy', { layout, flushPolicy: 'none' }],
      ['flush policy', { layout, flushPolicy: { kind: 'interval' } }], ['segmentCompression', { layout, segmentCompression: 'gzip' }]
    ]
    for (const [what, options] of cases) await t.rejects(store.open('a', options as LogOptions), { code: 'malformed', message: new RegExp(what) })
    t.same(await store.names(), [])
    await (await store.open('a', { layout })).append(entry()).committed
  })

  test('large entries', async (t, store) => {
    const log = await store.open('a', { layout })
    const sizes = [5_000_000, 100, 12_345_678, 4_096, 9_000_001]
    await appendAll(log, sizes.map((bytes, id) => entry({ bytes, id })))
    const read = await log.read(0, ALL)
    t.same(entriesOf(read).map(({ id, bytes, intact }) => [id, bytes, intact]), sizes.map((bytes, id) => [id, bytes, true]))
    t.same(entriesOf(await log.read(2, { bytesMax: 1, atLeastOneEntry: true })).map(({ id, intact }) => [id, intact]), [[2, true]])
  })

  test('many appends in one turn, and over many turns', async (t, store) => {
    const log = await store.open('a', { layout })
    await appendAll(log, numbered(3_000, 0, 150))
    for (let id = 3_000; id < 3_040; id++) await log.append(entry({ id })).committed
    t.same(await ids(log), range(0, 3_040))
  })

  test('many logs at once, written and read at the same time', async (t, store) => {
    const logs = await Promise.all(range(0, 20).map(async (index) => await store.open(`log-${index}`, { layout, segmentBytesMax: 20_000 })))
    await Promise.all(logs.map(async (log, index) => {
      let seen = 0
      for (let round = 0; round < 10; round++) {
        const pending = numbered(20, index * 1_000 + round * 20, 120).map((one) => log.append(one))
        const read = await log.read(seen, ALL)
        const found = entriesOf(read)
        if (found.some(({ id, intact, baseOffset }, at) => !intact || baseOffset !== seen + at || id !== index * 1_000 + seen + at)) t.fail(`log ${index}, from ${seen}`)
        seen = read.nextOffset
        await pending.at(-1)!.committed
      }
    }))
    for (const [index, log] of logs.entries()) t.same(await ids(log), range(index * 1_000, index * 1_000 + 200))
  })

  test('close commits what was appended; afterwards nothing works', async (t, store) => {
    const log = await store.open('a', { layout })
    const pending = numbered(50).map((one) => log.append(one))
    await log.close()
    await Promise.all(pending.map(async ({ committed }) => await committed))
    await log.close()
    t.equal(await codeOf(() => log.append(entry())), 'closed')
    for (const call of [() => log.read(0, ALL), () => log.flush(), () => log.roll(), () => log.truncateFront(1), () => log.entryAtTimestamp(0)]) {
      t.equal(await codeOf(call), 'closed')
    }
    const again = await store.open('a', { layout })
    t.same(await ids(again), range(0, 50))
    t.equal(again.append(entry()).baseOffset, 50)
  })
}

function readTests (test: Register): void {
  test('reads begin with the entry that contains the offset', async (t, store) => {
    const log = await store.open('a', { layout })
    await appendAll(log, range(0, 300).map((id) => entry({ id, count: 10, bytes: 1_000 })))
    for (const offset of [0, 1, 9, 10, 15, 1_234, 2_990, 2_999]) {
      const read = await log.read(offset, { bytesMax: 2_000 })
      const first = Math.floor(offset / 10)
      t.same(entriesOf(read).map(({ id }) => id), range(first, Math.min(first + 2, 300)), `from ${offset}`)
      t.equal(read.nextOffset, Math.min(first + 2, 300) * 10)
    }
    t.hasStrict(await log.read(3_000, ALL), { parts: [], bytes: 0, nextOffset: 3_000 }, 'the end')
    for (const offset of [-1, 3_001, 1.5, NaN, Infinity]) t.equal(await codeOf(async () => await log.read(offset, ALL)), 'out-of-range', String(offset))
  })

  test('memory that is given back early is not that of other reads or of the log', async (t, store) => {
    const log = await store.open('a', { layout })
    await appendAll(log, range(0, 60).map((id) => entry({ id, bytes: 50_000 })))
    const [kept, given] = await Promise.all([log.read(0, ALL), log.read(0, ALL)])
    given.release?.()
    await appendAll(log, range(60, 120).map((id) => entry({ id, bytes: 50_000 })))
    const others = await Promise.all(range(0, 20).map(async (id) => await log.read(id, { bytesMax: 1_000_000 })))
    for (const other of others) other.release?.()
    t.same(entriesOf(kept).map(({ id }) => id), range(0, 60))
    t.same(await ids(log), range(0, 120))
  })

  test('what is borrowed is what is read, until it is given back', async (t, store) => {
    const log = await store.open('a', { layout, segmentBytesMax: 400_000 })
    const borrow = async (offset: number, options: ReadOptions): Promise<LogRead> => await (log.borrow?.(offset, options) ?? log.read(offset, options))
    await appendAll(log, range(0, 60).map((id) => entry({ id, bytes: id % 3 === 0 ? 300 : 30_000 })))
    const kept = await borrow(5, ALL)
    for (const bytesMax of [0, 200, 70_000, 1_000_000]) {
      for (const offset of [0, 1, 17, 40, 59, 60]) {
        for (const options of [{ bytesMax }, { bytesMax, atLeastOneEntry: true }, { bytesMax, endOffset: 41 }]) {
          const [read, borrowed] = [await log.read(offset, options), await borrow(offset, options)]
          t.same([Buffer.concat(borrowed.parts), borrowed.bytes, borrowed.nextOffset], [Buffer.concat(read.parts), read.bytes, read.nextOffset])
          borrowed.release?.()
          // Once is enough.
          borrowed.release?.()
        }
      }
    }
    await appendAll(log, range(60, 120).map((id) => entry({ id, bytes: 30_000 })))
    const others = await Promise.all(range(0, 20).map(async (id) => await borrow(id, { bytesMax: 300_000 })))
    t.ok(others.every((other, id) => entriesOf(other)[0]!.id === id && entriesOf(other).every(({ intact }) => intact)))
    for (const other of others) other.release?.()
    t.same(entriesOf(kept).map(({ id }) => id), range(5, 60))
    kept.release?.()
    for (const offset of [-1, 121, 1.5]) t.equal(await codeOf(async () => await borrow(offset, ALL)), 'out-of-range', String(offset))
    const unreturned = await borrow(0, ALL)
    await log.close()
    t.equal(await codeOf(async () => await borrow(0, ALL)), 'closed')
    t.same(entriesOf(unreturned).map(({ id }) => id), range(0, 120), 'the log may be closed meanwhile')
    unreturned.release?.()
  })

  test('bytesMax and atLeastOneEntry', async (t, store) => {
    const log = await store.open('a', { layout })
    await appendAll(log, numbered(10, 0, 200))
    const count = async (bytesMax: number, atLeastOneEntry?: boolean): Promise<number> =>
      entriesOf(await log.read(3, { bytesMax, ...(atLeastOneEntry !== undefined && { atLeastOneEntry }) })).length
    t.same([await count(0), await count(199), await count(200), await count(399), await count(400), await count(1_400), await count(9_000)], [0, 0, 1, 1, 2, 7, 7])
    t.same([await count(0, true), await count(199, true), await count(200, true), await count(399, true)], [1, 1, 1, 1])
    t.equal((await log.read(3, { bytesMax: 10 })).nextOffset, 3, 'nothing was read')
  })

  test('endOffset ends a read before the entry that reaches it', async (t, store) => {
    const log = await store.open('a', { layout })
    await appendAll(log, range(0, 5).map((id) => entry({ id, count: 10 })))
    const upTo = async (endOffset: number): Promise<number[]> => entriesOf(await log.read(10, { ...ALL, endOffset })).map(({ id }) => id)
    t.same(await upTo(10), [])
    t.same(await upTo(19), [])
    t.same(await upTo(20), [1])
    t.same(await upTo(49), [1, 2, 3])
    t.same(await upTo(50), [1, 2, 3, 4])
    t.same(await upTo(5_000), [1, 2, 3, 4])
    t.same((await log.read(10, { ...ALL, atLeastOneEntry: true, endOffset: 15 })).bytes, 0, 'not even one entry')
  })

  test('what is not committed is not read', async (t, store) => {
    const log = await store.open('a', { layout })
    await appendAll(log, numbered(5))
    const pending = numbered(5, 5).map((one) => log.append(one))
    const committedEndOffset = log.committedEndOffset
    const read = await log.read(0, ALL)
    t.ok(read.nextOffset >= committedEndOffset && read.nextOffset <= log.committedEndOffset)
    await pending.at(-1)!.committed
    t.same(await ids(log), range(0, 10))
  })

  test('views stay what they are', async (t, store) => {
    const log = await store.open('a', { layout, segmentBytesMax: 5_000 })
    await appendAll(log, numbered(20))
    const read = await log.read(0, ALL)
    const before = Buffer.concat(read.parts).toString('hex')
    await appendAll(log, numbered(2_000))
    await log.truncateFront(1_000)
    for (let offset = 1_000; offset < 2_000; offset += 100) await log.read(offset, { bytesMax: 3_000 })
    t.equal(Buffer.concat(read.parts).toString('hex'), before)
  })
}

function timestampTests (test: Register): void {
  test('look-ups by timestamp', async (t, store) => {
    const log = await store.open('a', { layout, segmentBytesMax: 60_000 })
    // Not in order, over several segments and many samples.
    const timestamps = range(0, 1_000).map((index) => 1_000_000 + index * 10 + (index % 7 === 0 ? 500 : 0))
    await appendAll(log, timestamps.map((timestampMs, id) => entry({ id, timestampMs, bytes: 200 })))
    for (const wanted of [0, 1_000_000, 1_000_500, 1_000_501, 1_004_321, 1_009_990, 1_010_000, 1_010_440, 1_010_441]) {
      const index = timestamps.findIndex((timestampMs) => timestampMs >= wanted)
      t.same(await log.entryAtTimestamp(wanted), index === -1 ? null : { baseOffset: index, timestampMaxMs: timestamps[index] }, String(wanted))
    }
    const largest = Math.max(...timestamps)
    t.same(await log.entryWithTimestampMax(), { baseOffset: timestamps.indexOf(largest), timestampMaxMs: largest })
    await log.truncateFront(501)
    t.same(await log.entryAtTimestamp(0), { baseOffset: 501, timestampMaxMs: timestamps[501] }, 'not below the start')
    await log.truncateFront(996)
    const rest = timestamps.slice(996)
    t.same(await log.entryWithTimestampMax(), { baseOffset: 996 + rest.indexOf(Math.max(...rest)), timestampMaxMs: Math.max(...rest) })
    await log.truncateFront(1_000)
    t.equal(await log.entryAtTimestamp(0), null)
    t.equal(await log.entryWithTimestampMax(), null)
  })

  test('the first of several entries with the largest timestamp', async (t, store) => {
    const log = await store.open('a', { layout, segmentBytesMax: 300 })
    await appendAll(log, [5, 9, 3, 9, 9, 1].map((timestampMs) => entry({ timestampMs })))
    t.same(await log.entryWithTimestampMax(), { baseOffset: 1, timestampMaxMs: 9 })
    await log.truncateFront(2)
    t.same(await log.entryWithTimestampMax(), { baseOffset: 3, timestampMaxMs: 9 })
    await log.truncateFront(5)
    t.same(await log.entryWithTimestampMax(), { baseOffset: 5, timestampMaxMs: 1 })
  })
}

function nameTests (test: Register): void {
  test('names, remove, rename', async (t, store) => {
    const a = await store.open('a', { layout })
    await a.append(entry({ id: 1 })).committed
    await (await store.open('Topic_with.many-chars-0', { layout })).append(entry({ id: 2 })).committed
    t.same([...await store.names()].sort(), ['Topic_with.many-chars-0', 'a'])
    t.equal(await codeOf(async () => await store.open('a', { layout })), 'locked')
    t.equal(await codeOf(async () => await store.rename('a', 'b')), 'locked', 'an open log keeps its name')
    await a.close()
    t.equal(await codeOf(async () => await store.rename('a', 'Topic_with.many-chars-0')), 'locked')
    await store.rename('a', 'b')
    await store.rename('missing', 'c')
    t.same([...await store.names()].sort(), ['Topic_with.many-chars-0', 'b'])
    const other = await store.open('d', { layout })
    await other.append(entry()).committed
    await other.close()
    t.equal(await codeOf(async () => await store.rename('d', 'b')), 'denied')
    t.same(await ids(await store.open('b', { layout })), [1])
    await store.remove('b')
    await store.remove('b')
    t.same([...await store.names()].sort(), ['Topic_with.many-chars-0', 'd'])
    const again = await store.open('b', { layout })
    t.same([again.startOffset, again.endOffset], [0, 0], 'a log with the name of one that was deleted is empty')
    for (const name of ['', '.', '..', 'a/b', 'a b', 'ü', '~deleted.1', '.lock', 'haulout.format', 'haulout.journal', 'x'.repeat(256)]) {
      t.equal(await codeOf(async () => await store.open(name, { layout })), 'malformed', JSON.stringify(name))
    }
    t.equal((await store.open('x'.repeat(255), { layout })).endOffset, 0)
  })

  test('a closed store', async (t, store) => {
    const log = await store.open('a', { layout })
    const { committed } = log.append(entry())
    t.ok(store.bytesFree() > 0)
    await store.close()
    await committed
    await store.close()
    t.equal(await codeOf(() => log.append(entry())), 'closed')
    t.equal(await codeOf(async () => await store.open('b', { layout })), 'closed')
  })
}

async function flushPolicyTests (t: Test, { open, place }: StoreUnderTest): Promise<void> {
  for (const policy of [{ kind: 'none' }, { kind: 'interval', intervalMs: 5 }, { kind: 'bytes', bytes: 1_000 }] as const) {
    const store = await open(testFolder(t, place), policy)
    const log = await store.open('a', { layout, segmentBytesMax: 2_000 })
    for (let id = 0; id < 100; id++) {
      log.append(entry({ id, timestampMs: id }))
      if (log.committedEndOffset !== id + 1) t.fail(`${policy.kind}: committed at once`)
    }
    t.same(await ids(log), range(0, 100), `${policy.kind}: and can be read at once`)
    t.same(await log.entryWithTimestampMax(), { baseOffset: 99, timestampMaxMs: 99 })
    await log.flush()
    await log.truncateFront(50)
    await new Promise((resolve) => setTimeout(resolve, 20))
    t.same(await ids(log), range(50, 100))
    await store.close()
  }
}
