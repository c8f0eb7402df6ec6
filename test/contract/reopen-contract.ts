/** What log.ts promises of a folder that is opened again, and of files in it that changed meanwhile. */
import { closeSync, openSync, readFileSync, readSync, truncateSync, writeSync } from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import { RECORD_BATCH_LAYOUT } from '../../src/log/log.js'
import { entriesOf, entry, testFolder } from './entries.js'
import { ALL, appendAll, boundaries, codeOf, ids, numbered, range, type StoreUnderTest } from './support.js'

const layout = RECORD_BATCH_LAYOUT

export async function reopenTests (t: Test, { open, place, shared = false }: StoreUnderTest): Promise<void> {
  const folder = testFolder(t, place)
  const options = { layout, segmentBytesMax: 2_000 }
  let store = await open(folder)
  let log = await store.open('a', options)
  await appendAll(log, range(0, 45).map((id) => entry({ id, count: 2, timestampMs: 1_000 + id })))
  if (shared) await (await open(folder)).close()
  else t.equal(await codeOf(async () => await open(folder)), 'locked', 'a folder has one store at a time')
  const again = async (): Promise<void> => {
    await store.close()
    store = await open(folder)
    log = await store.open('a', options)
  }
  const firstSegment = (): Buffer => Buffer.concat(['.log', '.index'].map((end) => readFileSync(path.join(folder, 'a', `${'0'.repeat(20)}${end}`))))
  const sealed = firstSegment()
  await again()
  t.same([log.startOffset, log.endOffset, log.committedEndOffset, log.bytes], [0, 90, 90, 4_500])
  t.same(log.segments().map(({ baseOffset, sealed }) => [baseOffset, sealed]), [[0, true], [40, true], [80, false]], 'the log goes on in its last segment')
  t.same(await ids(log), range(0, 45))
  t.same(await log.entryAtTimestamp(1_031), { baseOffset: 62, timestampMaxMs: 1_031 })
  await appendAll(log, numbered(5, 45))
  t.same(log.segments().map(({ baseOffset }) => baseOffset), [0, 40, 80])
  await log.roll()
  await again()
  t.equal(log.segments().at(-1)!.sealed, true, 'a roll is remembered')
  await appendAll(log, numbered(5, 50))
  t.same(await ids(log), range(0, 55))
  t.ok(firstSegment().equals(sealed), 'a sealed segment stays as it is')
  await log.truncateFront(45)
  await again()
  t.same([log.startOffset, log.segments()[0]!.baseOffset, log.endOffset], [45, 40, 100])
  t.same(await ids(log), range(22, 55))
  await log.truncateFront(100)
  await again()
  t.same([log.startOffset, log.endOffset], [100, 100], 'an empty log knows where it goes on')
  await log.append(entry({ id: 99 })).committed
  await again()
  t.same(await ids(log), [99])
  t.same(entriesOf(await log.read(100, ALL))[0]!.baseOffset, 100)
  await store.remove('a')
  await store.close()
  store = await open(folder)
  t.same(await store.names(), [], 'what was deleted stays deleted')
  await store.close()
}
/** Counts and times outlive a clean end, and the checksum goes on where it was. */
export async function limitReopenTests (t: Test, { open, place }: StoreUnderTest): Promise<void> {
  const folder = testFolder(t, place)
  for (let life = 0; life < 5; life++) {
    const store = await open(folder)
    const log = await store.open('a', { layout, segmentEntriesMax: 7 })
    await appendAll(log, numbered(3, life * 3))
    t.same(boundaries(log).map(([baseOffset]) => baseOffset), range(0, Math.ceil((life + 1) * 3 / 7)).map((index) => index * 7))
    await store.close()
  }
  const store = await open(folder)
  const log = await store.open('a', { layout, segmentAgeMsMax: 1 })
  await new Promise((resolve) => setTimeout(resolve, 2))
  await log.append(entry({ id: 15 })).committed
  t.same(boundaries(log), [[0, 7, true], [7, 14, true], [14, 15, true], [15, 16, false]], 'a segment is as old as it was')
  await log.roll()
  for (const { baseOffset } of log.segments()) t.equal((await log.verifySegment(baseOffset)).checksum, 'right', `from ${baseOffset}`)
  t.same(await ids(log), range(0, 16))
  await store.close()
}

/** With files: damage is found where it is. */
export async function damageTests (t: Test, { open, place }: StoreUnderTest): Promise<void> {
  const folder = testFolder(t, place)
  const store = await open(folder)
  const log = await store.open('a', { layout, segmentBytesMax: 1_000 })
  await appendAll(log, numbered(35))
  const file = (baseOffset: number): string => path.join(folder, 'a', `${String(baseOffset).padStart(20, '0')}.log`)
  const flip = (name: string, position: number): void => {
    const handle = openSync(name, 'r+')
    const byte = Buffer.alloc(1)
    readSync(handle, byte, 0, 1, position)
    writeSync(handle, Buffer.of(byte[0]! ^ 0x40), 0, 1, position)
    closeSync(handle)
  }
  t.same(await log.verifySegment(10), { baseOffset: 10, endOffset: 20, entryCount: 10, bytes: 1_000, checksum: 'right', damage: null })
  flip(file(10), 777)
  const { damage, ...rest } = await log.verifySegment(10)
  t.same(rest, { baseOffset: 10, endOffset: 17, entryCount: 7, bytes: 700, checksum: 'none' })
  t.same([damage?.file, damage?.position], [file(10), 700], 'the file is read, not memory')
  flip(file(10), 777)
  t.equal((await log.verifySegment(10)).checksum, 'right', 'it was that byte')
  // Bytes 12 to 15 of a record batch, the leader epoch, are covered by no checksum of its own.
  flip(file(10), 313)
  const outside = await log.verifySegment(10)
  t.same([outside.entryCount, outside.checksum, outside.damage?.file, outside.damage?.position], [10, 'wrong', file(10), 0])
  truncateSync(file(0), 950)
  const short = await log.verifySegment(0)
  t.same([short.endOffset, short.damage?.file, short.damage?.position], [9, file(0), 900])
  flip(file(20).replace('.log', '.index'), 90)
  const index = await log.verifySegment(20)
  t.same([index.entryCount, index.checksum, index.damage?.file], [10, 'none', file(20).replace('.log', '.index')])
  flip(file(30), 200 + 8)
  t.same((await log.verifySegment(30)).damage?.position, 200, 'also in the segment that grows')
  await store.close()
}
