/** What log.ts promises of compressed segments, for every store on disk: nothing but the bytes of the files changes. */
import { closeSync, existsSync, openSync, readdirSync, readSync, statSync, writeSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { crc32c } from '../../src/crc32c.js'
import { LogError, RECORD_BATCH_LAYOUT as layout, type Log, type LogStore, type SegmentCompression } from '../../src/log/log.js'
import { entriesOf, entry, testFolder } from './entries.js'
import type { StoreUnderTest } from './support.js'

const ALL = { bytesMax: 100_000_000 }
const BLOCK_BYTES = 128 * 1024
const SEGMENT_BYTES_MAX = 3 * BLOCK_BYTES
const ENTRY_BYTES = 10_007

/** Bytes that get smaller by about a half. One store after the other is given the same. */
export function compressible (id: number, bytes = ENTRY_BYTES): Buffer {
  const key = `${id} ${bytes}`
  const made = compressibles.get(key) ?? makeCompressible(id, bytes)
  compressibles.set(key, made)
  return Buffer.from(made)
}
const compressibles = new Map<string, Buffer>()

function makeCompressible (id: number, bytes: number): Buffer {
  const one = entry({ id, bytes, timestampMs: 1_000 + id })
  let state = id + 1
  for (let at = 65; at < bytes; at++) {
    state = (state * 1_103_515_245 + 12_345) & 0x7fff_ffff
    one[at] = 0x30 + ((state >>> 16) & 7)
  }
  one.writeUInt32BE(crc32c(one.subarray(layout.checksumFrom)), layout.checksumAt)
  return one
}

export async function appendRange (log: Log, from: number, end: number): Promise<void> {
  const pending = []
  for (let id = from; id < end; id++) pending.push(log.append(compressible(id)).committed)
  await Promise.all(pending)
}

const sealedOf = (log: Log): ReturnType<Log['segments']> => log.segments().filter(({ sealed }) => sealed)

/** Why a store does not know a codec, which is what its engine says that was built without it; false if it does. */
export async function lackOf (codec: SegmentCompression, store: LogStore): Promise<string | false> {
  try {
    const log = await store.open('compressed', { layout, segmentCompression: codec })
    await log.close()
    return false
  } catch (error) {
    if (error instanceof LogError && error.code === 'denied' && /install/.test(error.message)) return error.message
    throw error
  } finally {
    await store.close()
  }
}

export async function lackOfAny (open: () => Promise<LogStore>): Promise<string | false> {
  const lack = await lackOf('zstd', await open())
  return lack === false ? await lackOf('lz4', await open()) : lack
}

/** Until every sealed segment is compressed. */
export async function untilCompressed (log: Log): Promise<void> {
  for (let waits = 0; sealedOf(log).some(({ compression }) => compression === 'none'); waits++) {
    if (waits === 2_000) throw new Error(`not compressed: ${JSON.stringify(log.segments())}`)
    await sleep(5)
  }
  // The plain file of the last one goes right after that.
  await sleep(20)
}

async function checkAll (t: Test, log: Log, from: number, end: number): Promise<void> {
  const found = []
  for (let offset = from; offset < end;) {
    const read = await log.read(offset, { bytesMax: 100_000, atLeastOneEntry: true })
    found.push(...entriesOf(read))
    if (read.nextOffset === offset) break
    offset = read.nextOffset
  }
  const wrong = found.findIndex(({ baseOffset, id, intact }, at) => baseOffset !== from + at || id !== from + at || !intact)
  t.equal(wrong, -1)
  t.equal(found.length, end - from)
}

const filesOf = (folder: string): readonly string[] => readdirSync(path.join(folder, 'a')).filter((name) => /\.log/.test(name)).sort()

export async function compressionContract (t: Test, store: StoreUnderTest): Promise<void> {
  for (const codec of ['zstd', 'lz4'] as const) {
    const skip = await lackOf(codec, await store.open(testFolder(t)))
    await t.test(`segments compressed with ${codec}`, { skip }, async (t) => await oneCodec(t, store, codec))
  }
  const skip = await lackOf('zstd', await store.open(testFolder(t)))
  await t.test('a segment that does not get smaller stays plain', { skip }, async (t) => {
    const opened = await store.open(testFolder(t, store.place))
    const log = await opened.open('a', { layout, segmentBytesMax: SEGMENT_BYTES_MAX, segmentCompression: 'zstd' })
    for (let id = 0; id < 100; id++) {
      const one = entry({ id, bytes: ENTRY_BYTES })
      for (let at = 65; at < one.length; at++) one[at] = Math.random() * 256
      one.writeUInt32BE(crc32c(one.subarray(layout.checksumFrom)), layout.checksumAt)
      await log.append(one).committed
    }
    await appendRange(log, 100, 300)
    for (let waits = 0; log.segments()[2]!.compression === 'none' && waits < 2_000; waits++) await sleep(5)
    t.equal(log.segments()[0]!.compression, 'none')
    t.equal(log.segments()[0]!.storedBytes, log.segments()[0]!.bytes)
    t.equal(entriesOf(await log.read(0, ALL)).length, 300)
    await opened.close()
  })
  await t.test('logs that are closed, cut from the front or removed meanwhile', { skip }, async (t) => await disturbed(t, store))
  await t.test('a damaged block costs the entries in it and no others', { skip }, async (t) => await damaged(t, store))
}

async function oneCodec (t: Test, store: StoreUnderTest, codec: SegmentCompression): Promise<void> {
  const folder = testFolder(t, store.place)
  let opened = await store.open(folder)
  const options = { layout, segmentBytesMax: SEGMENT_BYTES_MAX }
  let log = await opened.open('a', { ...options, segmentCompression: codec })
  // Readers and writers while segments are compressed.
  const writing = (async () => { for (let id = 0; id < 400; id += 20) await appendRange(log, id, id + 20) })()
  for (let reads = 0; reads < 5; reads++) {
    await sleep(10)
    const end = log.committedEndOffset
    t.equal(entriesOf(await log.read(0, { ...ALL, endOffset: end })).length, end)
  }
  await writing
  await untilCompressed(log)
  await checkAll(t, log, 0, 400)
  const infos = log.segments()
  t.ok(infos.length >= 5)
  for (const { baseOffset, bytes, compression, sealed, storedBytes } of infos) {
    t.equal(compression, sealed ? codec : 'none')
    const name = path.join(folder, 'a', `${String(baseOffset).padStart(20, '0')}.log`)
    if (!sealed) continue
    t.ok(storedBytes < bytes * 0.9)
    t.equal(statSync(`${name}${codec === 'zstd' ? '.zst' : '.lz4'}`).size, storedBytes)
    t.notOk(existsSync(name))
    let count = 0
    for await (const read of log.readSegment(baseOffset, { bytesMax: 50_000 })) count += entriesOf(read).filter(({ intact }) => intact).length
    t.match(await log.verifySegment(baseOffset), { entryCount: count, bytes, checksum: 'right', damage: null })
  }
  t.match(await log.entryAtTimestamp(1_123), { baseOffset: 123 })
  t.match(await log.entryWithTimestampMax(), { baseOffset: 399 })
  await opened.close()

  // Opened without compression: what is compressed stays so, and the log goes on.
  opened = await store.open(folder)
  log = await opened.open('a', options)
  t.same(log.segments().map(({ compression }) => compression), infos.map(({ compression }) => compression))
  t.match(await log.entryAtTimestamp(1_123), { baseOffset: 123 })
  await checkAll(t, log, 0, 400)
  await appendRange(log, 400, 450)
  await checkAll(t, log, 399, 450)
  await log.roll()
  await opened.close()
  // What was left plain is compressed at the next open with it.
  opened = await store.open(folder)
  log = await opened.open('a', { ...options, segmentCompression: codec })
  t.equal(log.endOffset, 450)
  await untilCompressed(log)
  await log.truncateFront(200)
  await checkAll(t, log, 200, 450)
  t.equal(filesOf(folder).length, log.segments().length)
  await log.truncateFront(450)
  t.same(filesOf(folder), [])
  await opened.remove('a')
  await opened.close()
}

async function disturbed (t: Test, store: StoreUnderTest): Promise<void> {
  const folder = testFolder(t, store.place)
  const opened = await store.open(folder)
  const options = { layout, segmentBytesMax: SEGMENT_BYTES_MAX, segmentCompression: 'zstd' as const }
  for (let round = 0; round < 3; round++) {
    const log = await opened.open('a', options)
    await appendRange(log, log.endOffset, log.endOffset + 300)
    await sleep(round * 7)
    await log.truncateFront(log.endOffset - 100)
    await sleep(round)
    await log.close()
    t.same(filesOf(folder).filter((name) => name.endsWith('~')), [])
  }
  const log = await opened.open('a', options)
  await checkAll(t, log, log.startOffset, log.endOffset)
  await appendRange(log, log.endOffset, log.endOffset + 300)
  await opened.remove('a')
  t.notOk(existsSync(path.join(folder, 'a')))
  await opened.close()
}

async function damaged (t: Test, store: StoreUnderTest): Promise<void> {
  const folder = testFolder(t, store.place)
  let opened = await store.open(folder)
  const options = { layout, segmentBytesMax: SEGMENT_BYTES_MAX, segmentCompression: 'zstd' as const }
  let log = await opened.open('a', options)
  await appendRange(log, 0, 200)
  await untilCompressed(log)
  await opened.close()
  const file = path.join(folder, 'a', `${'0'.padStart(20, '0')}.log.zst`)
  const position = secondBlockAt(file)
  flip(file, position + 100)

  opened = await store.open(folder)
  log = await opened.open('a', options)
  const whole = Math.floor(BLOCK_BYTES / ENTRY_BYTES)
  const read = await log.read(0, ALL)
  t.equal(entriesOf(read).length, whole)
  t.equal(read.nextOffset, whole)
  for (const offset of [whole, whole + 3]) {
    const error = await log.read(offset, ALL).catch((error: unknown) => error)
    t.match(error, { code: 'corrupt', message: new RegExp(`${path.basename(file)} is damaged at position ${position}`) })
    t.ok(error instanceof LogError)
  }
  // Samples lie 16 KiB apart: what stands before the first one behind the block is found from within it.
  const behind = Math.ceil((2 * BLOCK_BYTES + 16 * 1024) / ENTRY_BYTES) + 1
  await checkAll(t, log, behind, 200)
  const verification = await log.verifySegment(0)
  t.match(verification, { entryCount: whole, damage: { file, position } })
  await appendRange(log, 200, 210)
  t.equal(log.endOffset, 210)
  await opened.close()
}

/** Its position as the table has it. */
function secondBlockAt (name: string): number {
  const { size } = statSync(name)
  const file = openSync(name, 'r')
  const blocks = 3
  const bytes = Buffer.alloc(8)
  readSync(file, bytes, 0, 8, size - (24 + 12 * blocks) + 16 + 12)
  closeSync(file)
  return Number(bytes.readBigInt64BE())
}

function flip (name: string, at: number): void {
  const file = openSync(name, 'r+')
  const byte = Buffer.alloc(1)
  readSync(file, byte, 0, 1, at)
  byte[0]! ^= 0x10
  writeSync(file, byte, 0, 1, at)
  closeSync(file)
}
