/** inspect, verify and salvage on folders with known damage: what is found, what is lost, what opens afterwards, and that nothing is touched. */
import { cpSync, existsSync, readdirSync, readFileSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { loadBinding } from '../../src/binding.js'
import { crc32c } from '../../src/crc32c.js'
import { inspectStore, type NamedLayout } from '../../src/log/inspect.js'
import { RECORD_BATCH_LAYOUT as layout } from '../../src/log/log.js'
import { openStore, type BackendChoice } from '../../src/log/open-store.js'
import { salvageStore } from '../../src/log/salvage.js'
import { verifyStore } from '../../src/log/verify.js'
import { emptyBatch } from '../../src/protocol/empty-batch.js'
import { emptyEntry, RAW_ENTRY_LAYOUT } from '../../src/raw/entry.js'
import { Log } from '../../src/raw/log.js'
import { commitMark, entriesOf, entry, testFolder } from '../contract/entries.js'

const layouts: readonly NamedLayout[] = [{ name: 'record-batch', layout, emptyEntry: emptyBatch }, { name: 'raw', layout: RAW_ENTRY_LAYOUT, emptyEntry }]
const backends: readonly BackendChoice[] = 'binding' in loadBinding() ? ['node:fs', 'threads'] : ['node:fs']
const COUNT = 30
const ENTRY_BYTES = 400
/** Five entries a segment: segments begin at offsets 0, 5, ... 25. */
const SEGMENT_BYTES = 5 * ENTRY_BYTES
const segment = (baseOffset: number): string => `${String(baseOffset).padStart(20, '0')}.log`
const index = (baseOffset: number): string => segment(baseOffset).replace('.log', '.index')

/** A folder with one log as it is after a kill: all segments sealed but the last one. */
async function unclosed (t: Test, backend: BackendChoice): Promise<string> {
  const origin = testFolder(t, 'memory')
  const store = await openStore({ dataDir: origin, backend })
  const log = await store.open('a', { layout, segmentBytesMax: SEGMENT_BYTES })
  for (let id = 0; id < COUNT; id++) await log.append(entry({ id, bytes: ENTRY_BYTES, timestampMs: 1_000 + id })).committed
  const folder = testFolder(t, 'memory')
  cpSync(origin, folder, { recursive: true, filter: (file) => !file.endsWith('.lock') })
  await store.close()
  return folder
}

function change (folder: string, name: string, edit: (bytes: Buffer) => Buffer | void): void {
  const file = path.join(folder, name)
  const bytes = readFileSync(file)
  writeFileSync(file, edit(bytes) ?? bytes)
}

const flip = (at: number) => (bytes: Buffer): void => { bytes[at]! ^= 0x40 }
const remove = (inside: string, name: string): void => unlinkSync(path.join(inside, name))

/** Bytes of every file, to see that nothing changes. */
function contentOf (folder: string): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((file) => file.isFile())
  return Object.fromEntries(files.map((file) => {
    const name = path.join(file.parentPath, file.name)
    return [name, String(crc32c(readFileSync(name)))]
  }))
}

interface Case {
  readonly name: string
  readonly change: (inside: string) => void
  /** "kind file@position from-to" of each finding. */
  readonly findings: readonly string[]
  /** "from-to", exclusive. */
  readonly lost?: readonly string[]
  /** Of the salvaged log. */
  readonly endOffset?: number
}

/** Offset `offset` as a position in its segment. */
const at = (offset: number): number => offset % 5 * ENTRY_BYTES

const cases: readonly Case[] = [
  { name: 'as it should be', change: () => {}, findings: [] },
  { name: 'a byte of an entry', change: (inside) => change(inside, segment(5), flip(at(7) + 100)), findings: [`entries ${segment(5)}@800 7-8`], lost: ['7-8'] },
  { name: 'the length of an entry', change: (inside) => change(inside, segment(5), flip(at(7) + 10)), findings: [`entries ${segment(5)}@800 7-8`], lost: ['7-8'] },
  { name: 'two entries next to each other', change: (inside) => change(inside, segment(10), (bytes) => { bytes.fill(0, at(11), at(13)) }), findings: [`entries ${segment(10)}@400 11-13`], lost: ['11-13'] },
  { name: 'the last entry of a sealed segment', change: (inside) => change(inside, segment(5), flip(at(9) + 300)), findings: [`entries ${segment(5)}@1600 9-10`], lost: ['9-10'] },
  { name: 'a base offset that was changed', change: (inside) => change(inside, segment(5), flip(at(7) + 7)), findings: [`entries ${segment(5)}@800 7-8`], lost: ['7-8'] },
  { name: 'a sealed segment that was cut', change: (inside) => truncateSync(path.join(inside, segment(5)), 900), findings: [`segment-missing ${segment(10)}@0 7-10`, `entries ${segment(5)}@800 7-`, `index-torn ${index(5)}`], lost: ['7-10'] },
  { name: 'a segment that is gone', change: (inside) => { remove(inside, segment(10)); remove(inside, index(10)) }, findings: [`segment-missing ${segment(15)}@0 10-15`], lost: ['10-15'] },
  { name: 'a segment of zeros', change: (inside) => change(inside, segment(0), (bytes) => { bytes.fill(0) }), findings: [`entries ${segment(0)}@0 0-5`], lost: ['0-5'] },
  { name: 'an index that is gone', change: (inside) => remove(inside, index(10)), findings: [`index-missing ${index(10)}`] },
  { name: 'an index that is torn', change: (inside) => change(inside, index(10), (bytes) => bytes.subarray(0, 80)), findings: [`index-torn ${index(10)}`] },
  { name: 'an index with a lie in it', change: (inside) => change(inside, index(10), lieAboutTimestamp), findings: [`index-wrong ${index(10)}`] },
  { name: 'bytes that no checksum of an entry covers', change: (inside) => change(inside, segment(10), flip(at(12) + 13)), findings: [`index-wrong ${index(10)}`] },
  { name: 'the start offset', change: (inside) => writeFileSync(path.join(inside, 'start-offset'), 'nonsense'), findings: ['start-offset start-offset@0'] },
  { name: 'a replacement that was not finished', change: (inside) => writeFileSync(path.join(inside, 'start-offset~'), 'haul'), findings: ['leftover start-offset~'] },
  { name: 'the file of a removed segment', change: (inside) => writeFileSync(path.join(inside, `${segment(0)}~`), Buffer.alloc(4_096, 7)), findings: [`spare ${segment(0)}~`] },
  { name: 'a torn tail', change: (inside) => change(inside, segment(25), (bytes) => { bytes.fill(0, at(29) + 100); return bytes }), findings: [`tail-torn ${segment(25)}@1600 29-`], endOffset: 29 },
  { name: 'a segment that was begun and never written', change: (inside) => writeFileSync(path.join(inside, segment(31)), Buffer.alloc(4096)), findings: [] },
  { name: 'damage in the tail segment', change: (inside) => change(inside, segment(25), flip(at(27) + 100)), findings: [`entries ${segment(25)}@800 27-28`], lost: ['27-28'] },
  {
    name: 'the acknowledged end', // the mark of a write that began behind the first damage says that there was more
    change: (inside) => change(inside, segment(25), (bytes) => Buffer.concat([bytes.subarray(0, at(28)), Buffer.alloc(2 * ENTRY_BYTES, 7), commitMark(at(29), 2_000), Buffer.alloc(100)])),
    findings: [`tail-damaged ${segment(25)}@1200 28-`],
    lost: ['28-'],
    endOffset: 28
  }
]

function lieAboutTimestamp (bytes: Buffer): void {
  bytes.writeBigInt64BE(999_999n, 40)
  bytes.writeUInt32BE(crc32c(bytes.subarray(0, 84)), 84)
}

t.test('every damage is found and named, and everything else is saved', async (t) => {
  for (const writer of backends) {
    const origin = await unclosed(t, writer)
    for (const { name, change, findings, lost = [], endOffset = COUNT } of cases) {
      const folder = testFolder(t, 'memory')
      cpSync(origin, folder, { recursive: true })
      change(path.join(folder, 'a'))
      const before = contentOf(folder)
      const verified = await verifyStore(folder, { layouts })
      const found = verified.logs[0]!.findings.map(({ kind, file, position, fromOffset, toOffset }) =>
        `${kind} ${file.replace('a/', '')}${position === undefined ? '' : `@${position}`}${fromOffset === undefined ? '' : ` ${fromOffset}-${toOffset ?? ''}`}`)
      t.same(found, findings, `${writer}: ${name}`)
      const to = path.join(testFolder(t, 'memory'), 'new')
      const [salvaged] = await salvageStore(folder, to, { layouts })
      t.same(salvaged!.lost.map(({ fromOffset, toOffset }) => `${fromOffset}-${toOffset ?? ''}`), lost, `${name}: what is lost`)
      const lostIds = new Set(lost.flatMap((range) => { const [from, end] = range.split('-').map(Number) as [number, number]; return Array.from({ length: (end || COUNT) - from }, (_, i) => from + i) }))
      const expected = Array.from({ length: endOffset }, (_, id) => id).filter((id) => !lostIds.has(id))
      for (const reader of backends) {
        const copy = testFolder(t, 'memory')
        cpSync(to, copy, { recursive: true })
        const store = await openStore({ dataDir: copy, backend: reader })
        const log = await store.open('a', { layout })
        const read = entriesOf(await log.read(0, { bytesMax: 1e6 })).filter(({ bytes }) => bytes > 61)
        t.same([log.startOffset, log.endOffset, read.map(({ id, baseOffset, intact }) => intact && id === baseOffset ? id : 'wrong')], [0, endOffset, expected], `${name}: ${reader} opens it`)
        t.equal(log.append(entry({ id: 1, bytes: 100 })).baseOffset, endOffset, 'and it goes on')
        await store.close()
      }
      t.equal((await verifyStore(to, { layouts })).damageCount, 0)
      t.same(contentOf(folder), before, `${name}: nothing was touched`)
    }
  }
})

t.test('what stands behind the last entry', async (t) => {
  for (const writer of backends) {
    const folder = await unclosed(t, writer)
    const stateOf = async (): Promise<string> => (await inspectStore(folder, layouts)).logs[0]!.segments.at(-1)!.tail
    t.equal(await stateOf(), writer === 'node:fs' ? 'nothing' : 'mark')
    change(path.join(folder, 'a'), segment(25), (bytes) => bytes.subarray(0, SEGMENT_BYTES))
    t.equal(await stateOf(), 'nothing')
    change(path.join(folder, 'a'), segment(25), (bytes) => Buffer.concat([bytes, Buffer.alloc(5_000)]))
    t.equal(await stateOf(), 'zeros')
    change(path.join(folder, 'a'), segment(25), (bytes) => Buffer.concat([bytes.subarray(0, SEGMENT_BYTES), Buffer.alloc(90, 3)]))
    t.equal(await stateOf(), 'torn')
    change(path.join(folder, 'a'), segment(25), (bytes) => Buffer.concat([bytes.subarray(0, SEGMENT_BYTES), commitMark(at(29), SEGMENT_BYTES), entry({ bytes: ENTRY_BYTES }), entry({ bytes: ENTRY_BYTES })]))
    writeFileSync(path.join(folder, 'a', segment(25).replace('.log', '.reused')), '')
    t.equal(await stateOf(), 'stale')
    unlinkSync(path.join(folder, 'a', segment(25).replace('.log', '.reused')))
    change(path.join(folder, 'a'), segment(25), flip(500))
    t.equal(await stateOf(), 'damaged')
  }
})

t.test('what is removed, and written again, while it is verified is no damage', async (t) => {
  for (const backend of ['node:fs', 'auto'] as const) {
    const folder = testFolder(t)
    const store = await openStore({ dataDir: folder, backend })
    const log = await store.open('a', { layout, segmentBytesMax: 40_000 })
    let isOver = false
    const write = async (): Promise<void> => {
      while (!isOver) {
        for (let id = 0; id < 40; id++) await log.append(entry({ id, bytes: 3_000 })).committed
        await log.truncateFront(log.endOffset - 40)
      }
    }
    const writing = write()
    const found: unknown[] = []
    for (let look = 0; look < 40 || log.startOffset < 200; look++) found.push(...(await verifyStore(folder, { layouts, inUse: true })).logs.flatMap(({ findings }) => findings))
    isOver = true
    await writing
    t.same(found, [], `${log.startOffset} entries were removed`)
    await store.close()
    t.equal((await verifyStore(folder, { layouts })).damageCount, 0)
  }
})

t.test('what the indexes say of a log that was closed, of one with a recovery point, of a moved start', async (t) => {
  for (const backend of backends) {
    const folder = testFolder(t, 'memory')
    const store = await openStore({ dataDir: folder, backend, uncoveredBytesMax: 4_000 })
    const log = await store.open('a', { layout })
    for (let id = 0; id < COUNT; id++) await log.append(entry({ id, bytes: ENTRY_BYTES, timestampMs: 1_000 + id })).committed
    while (!existsSync(path.join(folder, 'a', index(0)))) await new Promise((resolve) => setTimeout(resolve, 2))
    const used = await inspectStore(folder, layouts)
    t.equal(used.usedByProcess, process.pid)
    t.match(used.logs[0], { layout: 'record-batch', endOffset: COUNT, segments: [{ sealed: false, index: 'point', entryBytes: COUNT * ENTRY_BYTES }] })
    t.ok(used.logs[0]!.segments[0]!.recoveryPointBytes > 0)
    t.equal((await verifyStore(folder, { layouts, inUse: true })).damageCount, 0, 'while it is in use')
    await log.roll()
    for (let id = COUNT; id < COUNT + 3; id++) await log.append(entry({ id, bytes: ENTRY_BYTES, timestampMs: 500 })).committed
    await log.truncateFront(7)
    await store.close()
    t.match(await inspectStore(folder, layouts), { formatVersion: 1, usedByProcess: undefined, logs: [{ startOffset: 7, endOffset: 33, problems: [], segments: [{ index: 'full', timestampMaxMs: 1_029 }, { index: 'closed', sealed: true, timestampMaxMs: 500 }] }] })
    t.match(await verifyStore(folder, { layouts }), { damageCount: 0, logs: [{ startOffset: 7, endOffset: 33, entryCount: 33 }] })
    const to = path.join(testFolder(t, 'memory'), 'new')
    t.match(await salvageStore(folder, to, { layouts }), [{ startOffset: 7, endOffset: 33, entryCount: 33, lost: [] }])
    t.match(await inspectStore(to, layouts), { logs: [{ startOffset: 7, endOffset: 33 }] })
  }
})

t.test('folders that are something else are refused', async (t) => {
  const folder = testFolder(t, 'memory')
  await t.rejects(verifyStore(path.join(folder, 'nowhere'), { layouts }), { code: 'denied', message: /there is no folder/ })
  writeFileSync(path.join(folder, 'letter.txt'), '')
  await t.rejects(inspectStore(folder, layouts), { code: 'denied', message: /not a data folder/ })
  const newer = testFolder(t, 'memory')
  writeFileSync(path.join(newer, 'haulout.format'), 'haulout-format 99\n')
  await t.rejects(inspectStore(newer, layouts), { code: 'denied', message: /version 99/ })
  await t.rejects(verifyStore(newer, { layouts }), { code: 'denied', message: /version 99/ })
  writeFileSync(path.join(newer, 'haulout.format'), '?')
  t.match(await verifyStore(newer, { layouts }), { damageCount: 1, findings: [{ kind: 'format' }] })
  const sound = await unclosed(t, 'node:fs')
  await t.rejects(verifyStore(sound, { layouts, log: 'b' }), { message: /no log b in .*; there are: a/ })
  await t.rejects(salvageStore(sound, sound, { layouts }), { message: /another folder/ })
  await t.rejects(salvageStore(sound, path.join(sound, 'new'), { layouts }), { message: /another folder/ })
  await t.rejects(salvageStore(sound, folder, { layouts }), { message: /not empty \(there is letter\.txt/ })
})

t.test('raw topics: their entries are known by themselves, and readers pass over what is lost', async (t) => {
  const dataDir = testFolder(t, 'memory')
  const log = await Log.open({ dataDir, backend: 'node:fs' })
  const topic = await log.topic('events')
  for (let id = 0; id < 30; id++) await topic.append(`event ${id}`)
  await log.close()
  const inspected = (await inspectStore(dataDir, layouts)).logs.find(({ name }) => name.includes('events'))
  t.match(inspected, { layout: 'raw', startOffset: 0, endOffset: 30 })
  change(dataDir, inspected!.segments[0]!.file, (bytes) => { const at = bytes.indexOf('event 7'); bytes.fill(0, at, at + 90) })
  t.match((await verifyStore(dataDir, { layouts })).logs.find(({ name }) => name === inspected!.name), { findings: [{ kind: 'entries', fromOffset: 7 }] })
  const to = path.join(testFolder(t, 'memory'), 'new')
  const salvaged = (await salvageStore(dataDir, to, { layouts })).find(({ name }) => name === inspected!.name)
  const { fromOffset, toOffset = 0 } = salvaged!.lost[0]!
  const saved = await Log.open({ dataDir: to, backend: 'node:fs' })
  const read = []
  for await (const record of (await saved.topic('events')).replay()) read.push(record.value!.toString())
  t.same(read, Array.from({ length: 30 }, (_, id) => id).filter((id) => id < fromOffset || id >= toOffset).map((id) => `event ${id}`))
  t.ok(toOffset - fromOffset < 4)
  await saved.close()
})
