/**
 * docs/storage.md, "Recovery": every row of its tables, as a folder made by hand, in every implementation. The rows have names there and
 * here, and the last test holds both to the same set. That decisions cost little is shown by counting the bytes that an open reads.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { loadBinding } from '../../src/binding.js'
import { crc32c } from '../../src/crc32c.js'
import { makeFrame, type SegmentCodec } from '../../src/log/compressed-frames.js'
import { encodeHeader, encodeTable, type StoredBlock } from '../../src/log/compressed-segment.js'
import { LogError, RECORD_BATCH_LAYOUT as layout, type Log } from '../../src/log/log.js'
import { openStore, type BackendChoice } from '../../src/log/open-store.js'
import { SegmentIndex } from '../../src/log/segment-index.js'
import { lackOfAny } from '../contract/compression-contract.js'
import { commitMark, entriesOf, entry, testFolder } from '../contract/entries.js'
import { PLAIN_NODE } from '../support/plain-node.js'

const backends: readonly BackendChoice[] = 'binding' in loadBinding() ? ['node:fs', 'threads'] : ['node:fs']
const root = fileURLToPath(new URL('../../../', import.meta.url))
/** Not a multiple of a sector, of a mark's alignment or of anything. */
const BYTES = 1_501
const MIB = 1024 * 1024

/** The entry with this offset, as a log would have stamped it. */
function stored (offset: number, bytes = BYTES): Buffer {
  const one = entry({ id: offset, bytes, timestampMs: 1_000 + offset })
  // Full of something, so that no sector of it looks unwritten.
  one.fill(0xa0 + offset % 16, 65)
  one.writeUInt32BE(crc32c(one.subarray(layout.checksumFrom)), layout.checksumAt)
  one.writeBigInt64BE(BigInt(offset), layout.baseOffsetAt)
  return one
}
const run = (from: number, end: number): Buffer => Buffer.concat(Array.from({ length: end - from }, (_, at) => stored(from + at)))

/** `content` with the commit mark of a write of the bytes `begin` to `end`, where it belongs. */
function withMark (content: Buffer, begin: number, end: number): Buffer {
  const mark = commitMark(begin, end)
  const at = Math.ceil(end / 8) * 8
  const all = Buffer.concat([content, Buffer.alloc(Math.max(0, at + 32 - content.length))])
  mark.copy(all, at)
  return all
}

/** `content` changed: filled from one position to another. */
function filled (content: Buffer, value: number, from: number, to = content.length): Buffer {
  return Buffer.from(content).fill(value, from, to)
}
const flipped = (content: Buffer, at: number): Buffer => { const copy = Buffer.from(content); copy[at]! ^= 0x40; return copy }
const zeros = (content: Buffer, bytes: number): Buffer => Buffer.concat([content, Buffer.alloc(bytes)])
const P = 3 * BYTES
/** The first sector that begins after P. */
const SECTOR = Math.ceil(P / 512) * 512

interface Row {
  readonly name: string
  /** The log's files. */
  readonly files: Readonly<Record<string, Buffer | string>>
  /** The end offset, or what the error says. */
  readonly outcome: number | RegExp
  /** Size of the last segment afterwards, where that is not that of its entries. */
  readonly gone?: string
  readonly start?: number
}

const segment = (base: number): string => `${String(base).padStart(20, '0')}.log`
const index = (base: number): string => `${String(base).padStart(20, '0')}.index`
const tail = (content: Buffer): Row['files'] => ({ [segment(0)]: content })
const six = run(0, 6)
const reused = (base: number): string => `${String(base).padStart(20, '0')}.reused`
/** What three entries from offset 100 on and `more` are, in the file of a removed segment with the offsets 0 to 40. */
const over = (more: Buffer, old = run(0, 40)): Row['files'] => {
  const content = Buffer.concat([run(100, 103), more])
  return { [segment(100)]: Buffer.concat([content, old.subarray(content.length)]), [reused(100)]: '' }
}
const three = run(103, 106)
/** The second of them has a sector of an old entry in it. */
const torn = Buffer.concat([three.subarray(0, BYTES + 300), run(0, 6).subarray(P + BYTES + 300, P + BYTES + 900), three.subarray(BYTES + 900)])
const stale = Buffer.alloc(17 * MIB, 1)

const tailRows: readonly Row[] = [
  { name: 'whole', files: tail(six), outcome: 6 },
  { name: 'whole', files: tail(zeros(six, 100_000)), outcome: 6 },
  { name: 'whole', files: tail(zeros(withMark(six, P, 6 * BYTES), 4_096)), outcome: 6 },
  { name: 'torn', files: tail(six.subarray(0, P + 700)), outcome: 3 },
  { name: 'torn', files: tail(zeros(filled(six, 0, P + 30), 9_000)), outcome: 3 },
  { name: 'torn', files: tail(filled(six, 0xee, P + 100, 6 * BYTES)), outcome: 3 },
  { name: 'torn', files: tail(filled(six, 0, P)), outcome: 3 },
  { name: 'mark-ends-here', files: tail(withMark(Buffer.concat([run(0, 3), Buffer.alloc(40), run(4, 6)]), BYTES, P)), outcome: 3 },
  { name: 'mark-began-later', files: tail(withMark(filled(six, 0xee, P + 100, 6 * BYTES), P + BYTES, 6 * BYTES)), outcome: /position 4503: acknowledged entries up to position 9006 are missing/ },
  { name: 'mark-began-later', files: tail(withMark(filled(six, 0, SECTOR, SECTOR + 512), P + BYTES, 6 * BYTES)), outcome: /position 4503: valid entries follow, from position 6004/ },
  { name: 'mark-began-before', files: tail(withMark(filled(six, 0xee, P + 100, 6 * BYTES), P, 6 * BYTES)), outcome: 3 },
  { name: 'mark-began-before', files: tail(withMark(filled(six, 0xee, P + 100, 6 * BYTES), BYTES, 6 * BYTES)), outcome: 3 },
  { name: 'unwritten', files: tail(withMark(filled(six, 0, SECTOR, SECTOR + 512), BYTES, 6 * BYTES)), outcome: 3 },
  { name: 'unwritten', files: tail(filled(six, 0, SECTOR, SECTOR + 512)), outcome: 3 },
  // The sector that P lies in: what follows P in it is zeros, or what it holds of the mark of the write before.
  { name: 'unwritten', files: tail(filled(six, 0, P, SECTOR)), outcome: 3 },
  { name: 'unwritten', files: tail(Buffer.concat([withMark(run(0, 3), 0, P), Buffer.alloc(SECTOR - Math.ceil(P / 8) * 8 - 32), six.subarray(SECTOR)])), outcome: 3 },
  { name: 'damaged', files: tail(flipped(six, P + 700)), outcome: /position 4503: valid entries follow, from position 6004/ },
  { name: 'damaged', files: tail(withMark(flipped(six, P + 700), P, 6 * BYTES)), outcome: /position 4503: valid entries follow/ },
  { name: 'damaged', files: tail(withMark(flipped(six, 700), 0, 6 * BYTES)), outcome: /position 0: valid entries follow/ },
  { name: 'damaged', files: tail(flipped(six, P + 7)), outcome: /position 4503: valid entries follow/ },
  { name: 'too-far', files: tail(Buffer.concat([run(0, 3), Buffer.alloc(8 * MIB), run(4, 6)])), outcome: /position 4503: valid entries follow, from position 8393111/ },
  // Of a log that was not flushed with each write more than one may be torn.
  { name: 'unwritten', files: { ...tail(Buffer.concat([run(0, 3), Buffer.alloc(8 * MIB), run(4, 6)])), unflushed: '' }, outcome: 3 },
  { name: 'damaged', files: { ...tail(Buffer.concat([run(0, 3), Buffer.alloc(8 * MIB, 1), run(4, 6)])), unflushed: '' }, outcome: /position 4503: valid entries follow/ },
  { name: 'reused', files: over(Buffer.alloc(0)), outcome: 103, start: 100, gone: reused(100) },
  { name: 'reused', files: over(torn), outcome: 104, start: 100, gone: reused(100) },
  { name: 'reused', files: over(withMark(Buffer.concat([run(100, 103), torn]), P, 6 * BYTES).subarray(P)), outcome: 104, start: 100, gone: reused(100) },
  { name: 'reused', files: over(Buffer.concat([stored(103).subarray(0, 600), run(0, 1).subarray(600), stored(104)])), outcome: 103, start: 100 },
  // Without that note it would be damage; and what was acknowledged before the last write is missed all the same.
  { name: 'damaged', files: { [segment(100)]: Buffer.concat([run(100, 103), torn, run(6, 40)]) }, outcome: /position 6004: valid entries follow/ },
  { name: 'mark-began-later', files: over(withMark(Buffer.concat([run(100, 103), torn]), 5 * BYTES, 6 * BYTES).subarray(P)), outcome: /position 6004: valid entries follow/ },
  { name: 'too-far', files: over(Buffer.concat([stale.subarray(0, 8 * MIB), run(105, 107)])), outcome: /position 4503: valid entries follow, from position 8393111/ },
  // Behind so much that is not of this segment nobody looks.
  { name: 'reused', files: over(Buffer.concat([stale, run(105, 107)])), outcome: 103, start: 100 },
  { name: 'stale', files: tail(Buffer.concat([run(100, 103), run(40, 60)])), outcome: /position 0/ },
  { name: 'stale', files: { [segment(100)]: Buffer.concat([run(100, 103), run(40, 60)]) }, outcome: 103, start: 100 },
  { name: 'stale', files: { [segment(100)]: Buffer.concat([run(100, 103), run(40, 60).subarray(77)]) }, outcome: 103, start: 100 },
  { name: 'stale', files: { [segment(100)]: Buffer.concat([run(100, 103), stored(103).subarray(0, 800), run(40, 60).subarray(800)]) }, outcome: 103, start: 100 }
]

function startOffsetLine (offset: number): string {
  const text = `haulout-start-offset 1 ${offset}`
  return `${text} ${crc32c(Buffer.from(text)).toString(16).padStart(8, '0')}\n`
}

const folderRows: readonly Row[] = [
  { name: 'begun', files: { ...tail(six), [segment(6)]: Buffer.alloc(65_536) }, outcome: 6, gone: segment(6) },
  { name: 'begun', files: { ...tail(six.subarray(0, P + 700)), [segment(6)]: '' }, outcome: 3, gone: segment(6) },
  { name: 'index-missing', files: { ...tail(run(0, 3)), [segment(3)]: run(3, 6) }, outcome: 6 },
  { name: 'index-damaged', files: { ...tail(run(0, 3)), [index(0)]: 'nothing of this kind', [segment(3)]: run(3, 6), [index(3)]: Buffer.alloc(120) }, outcome: 6 },
  { name: 'sealed-damaged', files: { ...tail(flipped(run(0, 3), BYTES + 700)), [segment(3)]: run(3, 6) }, outcome: /0{20}\.log is damaged at position 1501: its entries end at offset 1 and not at 3/ },
  { name: 'sealed-damaged', files: { ...tail(run(0, 3).subarray(0, P - 1)), [segment(3)]: run(3, 6) }, outcome: /position 3002: its entries end at offset 2 and not at 3/ },
  { name: 'segment-missing', files: { ...tail(run(0, 3)), [segment(4)]: run(4, 6) }, outcome: /0{20}\.log is damaged at position 4503: its entries end at offset 3 and not at 4/ },
  { name: 'segment-missing', files: { [segment(3)]: run(3, 6), 'start-offset': startOffsetLine(0) }, outcome: /0{19}3\.log is damaged at position 0: the entries from offset 0 on, .*missing/ },
  { name: 'below-start', files: { ...tail(flipped(run(0, 3), 700)), [segment(3)]: run(3, 6), 'start-offset': startOffsetLine(4) }, outcome: 6, start: 4, gone: segment(0) },
  { name: 'start-beyond', files: { ...tail(run(0, 3)), 'start-offset': startOffsetLine(5) }, outcome: 5, start: 5, gone: segment(0) },
  { name: 'start-damaged', files: { ...tail(six), 'start-offset': startOffsetLine(3).replace(' 3 ', ' 4 ') }, outcome: /start-offset is damaged at position 0/ },
  { name: 'leftovers', files: { ...tail(six), 'start-offset~': 'haul', [`${index(0)}~`]: '' }, outcome: 6, gone: 'start-offset~' },
  { name: 'leftovers', files: { ...tail(six), [`${segment(0)}~`]: run(0, 3), [reused(0)]: '', [reused(77)]: '' }, outcome: 6, gone: reused(77) }
]

/** The compressed form of the segment that begins at offset `base`, in blocks of 4 KiB. */
function compressed (plain: Buffer, base: number, codec: SegmentCodec): Buffer {
  const header = { codec, baseOffset: base, plainBytes: plain.length, blockBytes: 4_096 }
  const parts = [encodeHeader(header)]
  const blocks: StoredBlock[] = []
  let position = parts[0]!.length
  for (let at = 0; at < plain.length; at += 4_096) {
    const block = makeFrame(codec, plain.subarray(at, at + 4_096))
    blocks.push({ position, checksum: crc32c(block) })
    parts.push(block)
    position += block.length
  }
  return Buffer.concat([...parts, encodeTable(blocks, crc32c(plain))])
}
const sealedIndex = (from: number, end: number): Buffer => {
  const known = new SegmentIndex(from)
  for (let offset = from; offset < end; offset++) known.add(layout, stored(offset), 0)
  return known.encode('full')
}
const zst = (base: number): string => `${segment(base)}.zst`
const lz4 = (base: number): string => `${segment(base)}.lz4`
const compressedSix = compressed(six, 0, 'zstd')

const compressedRows: readonly Row[] = [
  { name: 'compressed-beside', files: { ...tail(six), [zst(0)]: compressedSix }, outcome: 6, gone: zst(0) },
  { name: 'compressed-beside', files: { ...tail(six), [zst(0)]: flipped(compressedSix, 70) }, outcome: 6, gone: zst(0) },
  { name: 'compressed-beside', files: { ...tail(run(0, 3)), [index(0)]: sealedIndex(0, 3), [lz4(0)]: compressed(run(0, 3), 0, 'lz4'), [segment(3)]: run(3, 6) }, outcome: 6, gone: lz4(0) },
  { name: 'compressed-index-missing', files: { [zst(0)]: compressedSix }, outcome: 6 },
  { name: 'compressed-index-missing', files: { [lz4(0)]: compressed(run(0, 3), 0, 'lz4'), [index(0)]: 'nothing of this kind', [segment(3)]: run(3, 6) }, outcome: 6 },
  { name: 'compressed-index-missing', files: { [zst(0)]: compressed(filled(six, 0, P), 0, 'zstd') }, outcome: /0{20}\.log\.zst is damaged at position 4503/ },
  { name: 'compressed-index-missing', files: { [lz4(0)]: flipped(compressed(run(0, 3), 0, 'lz4'), 70), [segment(3)]: run(3, 6) }, outcome: /0{20}\.log\.lz4 is damaged at position 64/ },
  { name: 'compressed-damaged', files: { [lz4(0)]: flipped(compressed(six, 0, 'lz4'), 70), [index(0)]: sealedIndex(0, 6) }, outcome: /0{20}\.log\.lz4 is damaged at position 64/ },
  { name: 'compressed-header-damaged', files: { [zst(0)]: flipped(compressedSix, 33), [index(0)]: sealedIndex(0, 6) }, outcome: /0{20}\.log\.zst is damaged at position 0/ },
  { name: 'compressed-header-damaged', files: { [zst(0)]: compressedSix.subarray(0, 50), [index(0)]: sealedIndex(0, 6) }, outcome: /0{20}\.log\.zst is damaged at position 0/ },
  { name: 'leftovers', files: { ...tail(six), [index(0)]: sealedIndex(0, 6), [`${zst(0)}~`]: compressedSix.subarray(0, 100) }, outcome: 6, gone: `${zst(0)}~` }
]

/** Opens the log; its offsets, or the error's message, which is the same when it is opened again. */
async function outcomeOf (folder: string, backend: BackendChoice): Promise<string | { start: number, end: number, wrong: readonly unknown[] }> {
  const store = await openStore({ dataDir: folder, backend })
  try {
    const log = await store.open('a', { layout })
    const read = entriesOf(await log.read(log.startOffset, { bytesMax: 1e9 }))
    return { start: log.startOffset, end: log.endOffset, wrong: read.filter(({ intact, id, baseOffset }) => !intact || id !== baseOffset) }
  } catch (error) {
    if (!(error instanceof LogError) || error.code !== 'corrupt') throw error
    return error.message
  } finally {
    await store.close()
  }
}

async function checkRow (t: Test, { name, files, outcome, gone, start = 0 }: Row, backend: BackendChoice): Promise<void> {
  const folder = testFolder(t)
  mkdirSync(path.join(folder, 'a'))
  writeFileSync(path.join(folder, 'haulout.format'), 'haulout-format 1\n')
  for (const [file, content] of Object.entries(files)) writeFileSync(path.join(folder, 'a', file), content)
  for (const time of ['', ', again']) {
    const found = await outcomeOf(folder, backend)
    if (typeof outcome === 'number') t.same(found, { start, end: outcome, wrong: [] }, `${backend}: ${name}${time}`)
    else t.match(found, outcome, `${backend}: ${name}${time}`)
  }
  if (gone !== undefined) t.notOk(existsSync(path.join(folder, 'a', gone)), `${name}: ${gone} is gone`)
  if (typeof outcome === 'number') return
  for (const [file, content] of Object.entries(files)) t.ok(readFileSync(path.join(folder, 'a', file)).equals(Buffer.from(content)), `${name}: ${file} stays as it is`)
}

t.test('what follows the last valid entry of an unsealed segment', async (t) => {
  for (const row of tailRows) for (const backend of backends) await checkRow(t, row, backend)
})

t.test('what the files of a log can be', async (t) => {
  for (const row of folderRows) for (const backend of backends) await checkRow(t, row, backend)
})

t.test('what compressed segments can be', async (t) => {
  for (const backend of backends) {
    const lack = await lackOfAny(async () => await openStore({ dataDir: testFolder(t), backend }))
    if (lack === false) for (const row of compressedRows) await checkRow(t, row, backend)
    else t.comment(`${backend}: ${lack}`)
  }
})

t.test('a newer format is refused and nothing is touched', async (t) => {
  for (const backend of backends) {
    const folder = testFolder(t)
    writeFileSync(path.join(folder, 'haulout.format'), 'haulout-format 77\n')
    mkdirSync(path.join(folder, '~deleted.1'))
    await t.rejects(openStore({ dataDir: folder, backend }), { code: 'denied', message: /version 77.* 2/ }, `${backend}: newer-format`)
    t.same(readdirSync(folder).filter((name) => name !== '.lock').sort(), ['haulout.format', '~deleted.1'])
  }
})

t.test('docs/storage.md has these rows and no others', async (t) => {
  const document = readFileSync(path.join(root, 'docs/storage.md'), 'utf8')
  const documented = [...new Set([...document.slice(document.indexOf('## Recovery\n')).matchAll(/^\| `([a-z-]+)` \|/gm)].map((match) => match[1]!))]
  t.same(documented.sort(), [...new Set([...tailRows, ...folderRows, ...compressedRows].map(({ name }) => name)), 'newer-format'].sort())
})

/** Bytes that a process of its own reads to open the logs of a folder. */
function bytesReadToOpen (folder: string, backend: BackendChoice): number {
  const child = fileURLToPath(new URL('./open-child.js', import.meta.url))
  const { stdout, stderr, status } = spawnSync('env', [...PLAIN_NODE, child, folder, backend], { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  return Number(stdout)
}

/** The folder as a kill would leave it, of a moment when the last recovery point covers all but a few MiB. */
async function copyWithPoint (t: Test, folder: string, log: Log): Promise<string> {
  const point = path.join(folder, 'a', index(0))
  for (;;) {
    const before = existsSync(point) ? readFileSync(point) : Buffer.alloc(0)
    const copy = testFolder(t)
    cpSync(folder, copy, { recursive: true, filter: (file) => !file.endsWith('.lock') && !file.endsWith('~') })
    await sleep(20)
    // Nothing was written meanwhile, so the copy is of one moment.
    if (before.length > 72 && log.bytes - Number(before.readBigInt64BE(32)) <= 4 * MIB && before.equals(readFileSync(point))) return copy
    await appendMib(log)
  }
}

async function appendMib (log: Log): Promise<void> {
  for (let id = 0; id < 21; id++) log.append(stored(0, 50_000))
  await log.flush()
}

t.test('after a clean close an open reads the same little, however much there is; after a kill, what no recovery point covers', { skip: process.platform !== 'linux' && 'counts by /proc' }, async (t) => {
  for (const backend of backends) {
    const clean: number[] = []
    for (const mib of [2, 40]) {
      const folder = testFolder(t)
      const store = await openStore({ dataDir: folder, backend, uncoveredBytesMax: 2 * MIB })
      const log = await store.open('a', { layout, flushPolicy: { kind: 'none' } })
      while (log.bytes < mib * MIB) await appendMib(log)
      if (mib === 40) {
        const killed = await copyWithPoint(t, folder, log)
        // What no point covers, two windows, and the space behind the entries twice: for marks, and for entries.
        const reservedBytes = statSync(path.join(killed, 'a', segment(0))).size - log.bytes
        const read = bytesReadToOpen(killed, backend)
        t.ok(read < 14 * MIB + 2 * reservedBytes, `${backend}: killed, ${log.bytes} bytes there, ${reservedBytes} reserved: reads ${read}`)
      }
      await store.close()
      clean.push(bytesReadToOpen(folder, backend))
    }
    t.ok(clean[1]! < 100_000 && clean[1]! < clean[0]! + 50_000, `${backend}: 2 MiB: reads ${clean[0]}, 40 MiB: reads ${clean[1]}`)
  }
})

t.test('logs, and segments of one log without an index, are recovered next to each other', async (t) => {
  // The native engine's part of this is in native/test/recovery_test.cc.
  const folder = testFolder(t)
  writeFileSync(path.join(folder, 'haulout.format'), 'haulout-format 1\n')
  const names = ['a', 'b', 'c', 'd']
  for (const name of names) {
    mkdirSync(path.join(folder, name))
    writeFileSync(path.join(folder, name, segment(0)), run(0, 3_000))
  }
  const file = await open(path.join(folder, 'haulout.format'))
  const prototype = Object.getPrototypeOf(file) as { read: (...given: unknown[]) => Promise<unknown> }
  await file.close()
  const { read } = prototype
  let underWay = 0
  let underWayMax = 0
  prototype.read = async function (this: unknown, ...given: unknown[]) {
    underWayMax = Math.max(underWayMax, ++underWay)
    return await read.apply(this, given).finally(() => { underWay-- })
  }
  t.teardown(() => { prototype.read = read })
  const store = await openStore({ dataDir: folder, backend: 'node:fs' })
  const logs = await Promise.all(names.map(async (name) => await store.open(name, { layout })))
  t.same(logs.map((log) => log.endOffset), names.map(() => 3_000))
  t.ok(underWayMax > 1, `${underWayMax} reads at the same time`)
  await store.close()
  const one = testFolder(t)
  writeFileSync(path.join(one, 'haulout.format'), 'haulout-format 1\n')
  mkdirSync(path.join(one, 'a'))
  for (let base = 0; base < 6_000; base += 1_000) writeFileSync(path.join(one, 'a', segment(base)), run(base, base + 1_000))
  underWayMax = 0
  const again = await openStore({ dataDir: one, backend: 'node:fs' })
  const log = await again.open('a', { layout })
  t.same([log.endOffset, log.segments().length], [6_000, 6])
  t.ok(underWayMax > 1 && underWayMax <= 4, `${underWayMax} reads of segments at the same time`)
  await again.close()
})
