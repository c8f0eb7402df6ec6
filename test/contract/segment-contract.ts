/** What log.ts promises of segments: when they end, when they go, and what one of them holds by itself. */
import { LogError, RECORD_BATCH_LAYOUT } from '../../src/log/log.js'
import { entriesOf, entry } from './entries.js'
import { ALL, appendAll, boundaries, codeOf, ids, numbered, range, type Register } from './support.js'

const layout = RECORD_BATCH_LAYOUT

export function segmentLimitTests (test: Register): void {
  test('a segment is rolled when it has its count of entries', async (t, store) => {
    const log = await store.open('a', { layout, segmentEntriesMax: 3 })
    await appendAll(log, range(0, 8).map((id) => entry({ id, count: id === 1 ? 10 : 1 })))
    t.same(boundaries(log), [[0, 12, true], [12, 15, true], [15, 17, false]], 'entries count, not the offsets that they cover')
    await log.append(entry({ id: 8 })).committed
    await log.append(entry({ id: 9 })).committed
    t.same(boundaries(log), [[0, 12, true], [12, 15, true], [15, 18, true], [18, 19, false]])
    t.same(await ids(log), range(0, 10))
  })

  test('a segment is rolled when its first entry is old', async (t, store) => {
    const log = await store.open('a', { layout, segmentAgeMsMax: 400 })
    await appendAll(log, numbered(5))
    await log.append(entry({ id: 5 })).committed
    t.same(boundaries(log), [[0, 6, false]])
    await new Promise((resolve) => setTimeout(resolve, 450))
    t.same(boundaries(log), [[0, 6, false]], 'without an append nothing happens')
    await appendAll(log, numbered(2, 6))
    t.same(boundaries(log), [[0, 6, true], [6, 8, false]])
    t.same(await ids(log), range(0, 8))
  })
}

export function oneSegmentTests (test: Register): void {
  test('one segment is read by itself', async (t, store) => {
    const log = await store.open('a', { layout, segmentBytesMax: 1_000 })
    await appendAll(log, numbered(25))
    const runs = async (baseOffset: number, bytesMax?: number): Promise<number[][]> => {
      const found: number[][] = []
      for await (const read of log.readSegment(baseOffset, bytesMax === undefined ? {} : { bytesMax })) found.push(entriesOf(read).map(({ id }) => id))
      return found
    }
    t.same(await runs(10), [range(10, 20)])
    t.same(await runs(20), [range(20, 25)], 'also the one that grows')
    t.same(await runs(0, 350), [range(0, 3), range(3, 6), range(6, 9), [9]])
    t.same(await runs(0, 1), range(0, 10).map((id) => [id]), 'at least one entry')
    t.equal(await codeOf(async () => await runs(5)), 'out-of-range', 'no segment begins there')
    await log.truncateFront(17)
    t.same(await runs(10), [range(17, 20)], 'not below the start of the log')
    t.equal(await codeOf(async () => await runs(0)), 'out-of-range', 'it is gone')
  })

  test('one segment is verified by itself', async (t, store) => {
    const log = await store.open('a', { layout, segmentBytesMax: 1_000 })
    await appendAll(log, numbered(25))
    const expected = (baseOffset: number, endOffset: number): object => ({ baseOffset, endOffset, entryCount: endOffset - baseOffset, bytes: (endOffset - baseOffset) * 100, damage: null })
    const verified = async (baseOffset: number): Promise<object> => {
      const { checksum, ...rest } = await log.verifySegment(baseOffset)
      t.not(checksum, 'wrong')
      return rest
    }
    t.same(await verified(0), expected(0, 10))
    t.same(await verified(20), expected(20, 25))
    for (const one of numbered(3, 25)) log.append(one)
    t.same(await verified(20), expected(20, 28), 'what was appended before counts')
    t.equal(await codeOf(async () => await log.verifySegment(5)), 'out-of-range')
    await log.close()
    t.equal(await codeOf(async () => await log.verifySegment(0)), 'closed')
  })
}

export function segmentTests (test: Register): void {
  test('a segment is rolled before an entry that would make it too large, and when asked', async (t, store) => {
    const log = await store.open('a', { layout, segmentBytesMax: 1_000 })
    await appendAll(log, range(0, 25).map((id) => entry({ id, timestampMs: 100 - id })))
    t.same(log.segments(), [
      { baseOffset: 0, endOffset: 10, bytes: 1_000, compression: 'none', storedBytes: 1_000, timestampMaxMs: 100, sealed: true },
      { baseOffset: 10, endOffset: 20, bytes: 1_000, compression: 'none', storedBytes: 1_000, timestampMaxMs: 90, sealed: true },
      { baseOffset: 20, endOffset: 25, bytes: 500, compression: 'none', storedBytes: 500, timestampMaxMs: 80, sealed: false }
    ])
    await log.roll()
    t.equal(log.segments().at(-1)!.sealed, true)
    await log.roll()
    await appendAll(log, numbered(2, 25))
    t.same(log.segments().map(({ baseOffset, sealed }) => [baseOffset, sealed]), [[0, true], [10, true], [20, true], [25, false]])
    t.equal(log.bytes, 2_700)
    t.same(await ids(log), range(0, 27), 'a read goes over the ends of segments')
    t.same(await ids(log, 17), range(17, 27))
  })

  test('truncateFront frees whole segments and keeps entries whole', async (t, store) => {
    const log = await store.open('a', { layout, segmentBytesMax: 1_000 })
    await appendAll(log, range(0, 30).map((id) => entry({ id, count: 10 })))
    await log.truncateFront(105)
    t.equal(log.startOffset, 105)
    t.same(log.segments().map(({ baseOffset }) => baseOffset), [100, 200])
    t.same(await ids(log), range(10, 30), 'the entry that contains the start is there as a whole')
    t.equal(await codeOf(async () => await log.read(104, ALL)), 'out-of-range')
    await log.truncateFront(50)
    t.equal(log.startOffset, 105, 'never back')
    await log.truncateFront(200)
    t.same(log.segments().map(({ baseOffset }) => baseOffset), [200])
    t.equal(await codeOf(async () => await log.truncateFront(301)), 'out-of-range')
    t.equal(log.startOffset, 200)
    await log.truncateFront(300)
    t.same([log.startOffset, log.endOffset, log.bytes, log.segments().length], [300, 300, 0, 0])
    t.hasStrict(await log.read(300, ALL), { parts: [], bytes: 0, nextOffset: 300 })
    t.equal(log.append(entry({ id: 30 })).baseOffset, 300)
    await log.flush()
    t.same(await ids(log), [30])
  })

  test('appends, reads, rolls and truncations at the same time', async (t, store) => {
    const log = await store.open('a', { layout, segmentBytesMax: 3_000 })
    const work: Promise<unknown>[] = []
    for (let id = 0; id < 400; id++) {
      work.push(log.append(entry({ id })).committed)
      if (id % 37 === 0) work.push(log.roll())
      if (id % 50 === 49) {
        await Promise.all(work)
        work.push(log.truncateFront(id - 30), log.flush())
      }
      if (id % 10 === 0) {
        work.push(log.read(Math.max(log.startOffset, id - 20), ALL).then(entriesOf, (error: unknown) => {
          if (!(error instanceof LogError && error.code === 'out-of-range')) throw error
        }))
      }
    }
    await Promise.all(work)
    t.equal(log.startOffset, 369)
    t.same(await ids(log), range(369, 400))
  })
}
