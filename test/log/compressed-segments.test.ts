/**
 * Compressed segments beside the contract: one implementation reads what the other one made, the tools for folders know them, every
 * damaged byte is found, and a full disk leaves the plain segment.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { loadBinding } from '../../src/binding.js'
import { inspectStore, type NamedLayout } from '../../src/log/inspect.js'
import { RECORD_BATCH_LAYOUT as layout, type Log, type SegmentCompression } from '../../src/log/log.js'
import { openStore, type BackendChoice } from '../../src/log/open-store.js'
import { salvageStore } from '../../src/log/salvage.js'
import { verifyStore } from '../../src/log/verify.js'
import { Log as RawLog } from '../../src/raw/index.js'
import { appendRange, compressible, lackOfAny, untilCompressed } from '../contract/compression-contract.js'
import { entriesOf, entry, testFolder } from '../contract/entries.js'

const ALL = { bytesMax: 100_000_000 }
const SEGMENT_BYTES_MAX = 800_000
const layouts: readonly NamedLayout[] = [{ name: 'batches', layout, emptyEntry: (count) => entry({ count }) }]
const lack = 'binding' in loadBinding() ? await lackOfAny(async () => await openStore({ dataDir: testFolder(t), backend: 'threads' })) : 'no addon'
const backends: readonly BackendChoice[] = lack === false ? ['node:fs', 'threads'] : ['node:fs']
const segmentFile = (base: number, suffix = '.zst'): string => `${String(base).padStart(20, '0')}.log${suffix}`

/** A folder with the log 'a': entries of offset 0 to `end`, its sealed segments compressed. */
async function makeFolder (t: Test, end: number, compression: SegmentCompression = 'zstd', backend: BackendChoice = backends.at(-1)!, segmentBytesMax = SEGMENT_BYTES_MAX): Promise<string> {
  const folder = testFolder(t)
  const store = await openStore({ dataDir: folder, backend, segmentCompression: compression })
  const log = await store.open('a', { layout, segmentBytesMax })
  await appendRange(log, 0, end)
  await untilCompressed(log)
  await store.close()
  return folder
}

async function wrongEntries (log: Log, end: number): Promise<number> {
  const found = entriesOf(await log.read(0, ALL))
  return found.length === end ? found.filter(({ id, baseOffset, intact }) => !intact || id !== baseOffset).length : -1
}

t.test('what one implementation has compressed the other one reads', { skip: lack }, async (t) => {
  for (const codec of ['zstd', 'lz4'] as const) {
    for (const [from, to] of [['node:fs', 'threads'], ['threads', 'node:fs']] as const) {
      const folder = await makeFolder(t, 200, codec, from)
      const store = await openStore({ dataDir: folder, backend: to })
      const log = await store.open('a', { layout })
      t.equal(await wrongEntries(log, 200), 0, `${codec} from ${from} to ${to}`)
      t.same(log.segments().slice(0, 2).map(({ compression }) => compression), [codec, codec])
      t.match(await log.verifySegment(0), { checksum: 'right', damage: null })
      await store.close()
    }
  }
})

t.test('the codec\'s own tool gives the plain segment', async (t) => {
  for (const [codec, suffix] of [['zstd', '.zst'], ['lz4', '.lz4']] as const) {
    if (spawnSync(codec, ['--version']).status !== 0) {
      t.comment(`${codec} is not installed`)
      continue
    }
    for (const backend of backends) {
      const folder = await makeFolder(t, 100, codec, backend)
      const { stdout, status } = spawnSync(codec, ['-dc', path.join(folder, 'a', segmentFile(0, suffix))], { maxBuffer: 1e9 })
      t.equal(status, 0)
      const expected = Buffer.concat(Array.from({ length: 79 }, (_, id) => {
        const one = compressible(id)
        one.writeBigInt64BE(BigInt(id))
        return one
      }))
      t.ok(stdout.equals(expected), `${codec}, made by ${backend}: ${stdout.length} bytes, ${expected.length} expected`)
    }
  }
})

t.test('inspect, verify and salvage', async (t) => {
  const folder = await makeFolder(t, 200)
  const file = path.join(folder, 'a', segmentFile(0))
  const { logs: [inspected] } = await inspectStore(folder, layouts)
  t.match(inspected, { startOffset: 0, endOffset: 200, problems: [], segments: [{ file: `a/${segmentFile(0)}`, compression: 'zstd', fileBytes: statSync(file).size, entryBytes: 79 * 10_007, sealed: true, index: 'full' }] })
  t.match(await verifyStore(folder, { layouts }), { damageCount: 0, logs: [{ entryCount: 200, segmentCount: 3 }] })

  const content = readFileSync(file)
  const at = Math.floor(content.length / 2)
  content[at]! ^= 1
  writeFileSync(file, content)
  const { logs: [verified], damageCount } = await verifyStore(folder, { layouts })
  t.ok(damageCount >= 2)
  t.match(verified!.findings[0], { kind: 'compressed', file: `a/${segmentFile(0)}`, severity: 'damage' })
  t.match(verified!.findings[1], { kind: 'entries', file: `a/${segmentFile(0)}` })
  const to = path.join(testFolder(t), 'salvaged')
  const [salvaged] = await salvageStore(folder, to, { layouts })
  t.match(salvaged, { startOffset: 0, endOffset: 200, lost: [{ file: `a/${segmentFile(0)}` }] })
  // A block of 26 entries, and the two that reach into it.
  t.ok(salvaged!.entryCount >= 200 - 28 && salvaged!.entryCount < 200)
  t.match(await verifyStore(to, { layouts }), { damageCount: 0 })

  writeFileSync(file, content.subarray(0, -5))
  t.match((await verifyStore(folder, { layouts })).logs[0]!.findings[0], { kind: 'compressed', what: /table/ })
  const [rest] = await salvageStore(folder, path.join(testFolder(t), 'salvaged'), { layouts })
  t.match(rest, { endOffset: 200, lost: [{ file: `a/${segmentFile(0)}` }] })
  t.ok(rest!.entryCount >= salvaged!.entryCount && rest!.entryCount < 200, 'blocks are found without it, and more is believed of one that is damaged than with its checksum')
})

t.test('salvage finds the blocks of a segment whose table or header is damaged, or whose end is missing', async (t) => {
  for (const codec of ['zstd', 'lz4'] as const) {
    const folder = await makeFolder(t, 400, codec, backends.at(-1), 3_000_000)
    const file = path.join(folder, 'a', segmentFile(0, codec === 'zstd' ? '.zst' : '.lz4'))
    const content = readFileSync(file)
    const salvaged = async (change: (bytes: Buffer) => Buffer): Promise<{ readonly kept: number, readonly lost: number }> => {
      writeFileSync(file, change(Buffer.from(content)))
      const to = path.join(testFolder(t), 'salvaged')
      const [log] = await salvageStore(folder, to, { layouts })
      t.match(await verifyStore(to, { layouts }), { damageCount: 0 })
      t.equal(log!.endOffset, 400)
      return { kept: log!.entryCount, lost: log!.lost.length }
    }
    const zero = (from: number, to: number) => (bytes: Buffer): Buffer => bytes.fill(0, from < 0 ? bytes.length + from : from, to)
    t.same(await salvaged(zero(-30, content.length)), { kept: 400, lost: 0 }, `${codec}: the table`)
    t.same(await salvaged((bytes) => bytes.subarray(0, -300)), { kept: 400, lost: 0 }, `${codec}: no table`)
    t.same(await salvaged(zero(0, 64)), { kept: 400, lost: 0 }, `${codec}: the header`)
    t.same(await salvaged((bytes) => zero(0, 64)(zero(-30, bytes.length)(bytes))), { kept: 400, lost: 0 }, `${codec}: both`)
    // Blocks have 13 entries.
    const middle = content.length >> 1
    const { kept, lost } = await salvaged((bytes) => zero(middle, middle + 100)(zero(-30, bytes.length)(bytes)))
    t.ok(kept > 400 - 2 * 15 && kept < 400 && lost > 0, `${codec}: the table and a block: ${kept}`)
    const half = await salvaged((bytes) => bytes.subarray(0, middle))
    t.ok(half.kept > 200 && half.kept < 300 && half.lost > 0, `${codec}: half of the file: ${half.kept}`)
  }
})

t.test('verify finds every damaged byte', async (t) => {
  for (const codec of ['zstd', 'lz4'] as const) {
    // One compressed segment, and one behind it.
    const folder = await makeFolder(t, 6, codec, backends.at(-1), 60_000)
    const file = path.join(folder, 'a', segmentFile(0, codec === 'zstd' ? '.zst' : '.lz4'))
    const content = readFileSync(file)
    const unseen: number[] = []
    // Every byte of what is not a block, and some of those that are.
    for (let at = 0; at < content.length; at += at < 110 || at > content.length - 60 ? 1 : 97) {
      const damaged = Buffer.from(content)
      damaged[at]! ^= 1 << at % 8
      writeFileSync(file, damaged)
      if ((await verifyStore(folder, { layouts })).damageCount === 0) unseen.push(at)
    }
    t.same(unseen, [], codec)
  }
})

t.test('a disk that is full for the compressed file leaves the plain one, and the log as it was', async (t) => {
  const folder = testFolder(t)
  const probe = await open(path.join(folder, 'probe'), 'w')
  const prototype = Object.getPrototypeOf(probe) as { write: (...given: unknown[]) => Promise<unknown> }
  await probe.close()
  const { write } = prototype
  let refused = 0
  prototype.write = async () => {
    refused++
    throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })
  }
  t.teardown(() => { prototype.write = write })
  const store = await openStore({ dataDir: testFolder(t), backend: 'node:fs', segmentCompression: 'lz4' })
  const log = await store.open('a', { layout, segmentBytesMax: SEGMENT_BYTES_MAX })
  await appendRange(log, 0, 200)
  for (let waits = 0; refused < 2 && waits < 1_000; waits++) await sleep(5)
  t.equal(refused, 2)
  t.ok(log.segments().every(({ compression }) => compression === 'none'))
  await appendRange(log, 200, 220)
  t.equal(await wrongEntries(log, 220), 0)
  await store.close()
})

t.test('raw topics have the option, and say what came of it', { skip: lack !== 'no addon' && lack }, async (t) => {
  const folder = testFolder(t)
  await t.rejects(RawLog.open({ dataDir: folder, segmentCompression: 'gzip' as 'zstd' }).then(async (log) => await log.topic('x')), { code: 'malformed', message: /'none', 'zstd', 'lz4'/ })
  const other = testFolder(t)
  const log = await RawLog.open({ dataDir: other, segmentCompression: 'zstd', segmentBytesMax: 100_000 })
  const topic = await log.topic('x')
  const texts = Array.from({ length: 2_000 }, (_, id) => `the record with the number ${id} says what all of them say`)
  for (const text of texts) topic.append(text)
  await topic.sync()
  await topic.roll()
  for (let waits = 0; topic.listSegments().some(({ sealed, compression }) => sealed && compression === 'none') && waits < 1_000; waits++) await sleep(5)
  const segments = topic.listSegments()
  t.ok(segments.every(({ compression, storedBytes, bytes }) => compression === 'zstd' && storedBytes < bytes / 2))
  const read: string[] = []
  for (const { id } of segments) for await (const { value } of topic.readSegment(id)) read.push(String(value))
  t.same(read, texts)
  await log.close()
  t.ok(readdirSync(other).length > 0)
})
