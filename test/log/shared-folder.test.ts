/** One folder, every implementation: what one wrote the other opens, after a clean end, after a kill, and after damage. */
import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { loadBinding } from '../../src/binding.js'
import { LogError, RECORD_BATCH_LAYOUT as layout, type FlushPolicy } from '../../src/log/log.js'
import { openStore, type BackendChoice } from '../../src/log/open-store.js'
import { chooseLogs } from '../../src/log/recovery-points.js'
import { judge, type Aftermath } from '../../src/log/segment-scan.js'
import { crc32c } from '../../src/crc32c.js'
import { verifyStore } from '../../src/log/verify.js'
import { emptyBatch } from '../../src/protocol/empty-batch.js'
import { entriesOf, entry, testFolder } from '../contract/entries.js'
import { PLAIN_NODE } from '../support/plain-node.js'
import { childEntry, LOG_NAMES, SEGMENT_BYTES_MAX } from './store-child-entries.js'

const CHILD = fileURLToPath(new URL('./store-child.js', import.meta.url))
const hasNative = 'binding' in loadBinding()
const backends: readonly BackendChoice[] = hasNative ? ['node:fs', 'io_uring', 'threads'] : ['node:fs']
/** So few that logs write recovery points all the time. */
const UNCOVERED_BYTES_MAX = 40_000
const ALL = { bytesMax: 100_000_000 }

/** Lets a child append for a while, kills it, and returns the acknowledged end offset of each log. */
async function appendAndKill (folder: string, backend: BackendChoice, forMs: number): Promise<Map<string, number>> {
  const child = spawn('env', [...PLAIN_NODE, CHILD, folder, backend, String(UNCOVERED_BYTES_MAX)], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => { output += text })
  const ended = new Promise((resolve) => child.once('close', resolve))
  while (!output.includes('ready') && child.exitCode === null) await sleep(5)
  await sleep(forMs)
  child.kill('SIGKILL')
  await ended
  const lines = output.split('\n').slice(0, -1).map((line) => line.split(' ') as [string, string])
  return new Map(lines.filter(([name]) => name !== 'ready').map(([name, endOffset]) => [name, Number(endOffset)]))
}

t.test('killed under load: every acknowledged entry is there, whoever wrote it and whoever opens it', async (t) => {
  const folder = testFolder(t, 'memory')
  let acknowledgedCount = 0
  const lives = backends.flatMap((writer) => backends.map((reader) => ({ writer, reader })))
  for (const [index, { writer, reader }] of [...lives, ...lives.slice(0, 3)].entries()) {
    const acknowledged = await appendAndKill(folder, writer, 60 + index * 53 % 140)
    const store = await openStore({ dataDir: folder, backend: reader })
    for (const name of LOG_NAMES) {
      const endOffset = acknowledged.get(name) ?? 0
      acknowledgedCount += endOffset
      const log = await store.open(name, { layout, segmentBytesMax: SEGMENT_BYTES_MAX })
      t.ok(log.endOffset >= endOffset, `${writer} killed, ${reader} opens: ${name} has ${log.endOffset}, ${endOffset} acknowledged`)
      const read = await log.read(log.startOffset, ALL)
      t.equal(read.nextOffset, log.endOffset)
      const wrong = entriesOf(read).filter((found, at) =>
        !found.intact || found.id !== found.baseOffset || found.baseOffset !== log.startOffset + at || found.bytes !== childEntry(name, found.id).length)
      t.same(wrong, [], `${name}: every entry is what was appended`)
      if (log.endOffset > log.startOffset) t.same(await log.entryWithTimestampMax(), { baseOffset: log.endOffset - 1, timestampMaxMs: 999 + log.endOffset })
    }
    await store.close()
  }
  t.ok(acknowledgedCount > 500, `${acknowledgedCount} acknowledged`)
})

/** A log of 60 entries as a kill leaves it, with a recovery point; its folder, and how many bytes and entries the point covers. */
async function unsealedWithPoint (t: Test, backend: BackendChoice, policy: FlushPolicy): Promise<{ folder: string, coveredBytes: number, coveredCount: number }> {
  const origin = testFolder(t, 'memory')
  const store = await openStore({ dataDir: origin, backend, flushPolicy: policy, uncoveredBytesMax: 20_000 })
  const log = await store.open('a', { layout })
  const index = path.join(origin, 'a', INDEX)
  for (let id = 0; id < 60; id++) {
    await log.append(entry({ id, bytes: 1_000, timestampMs: 1_000 + id })).committed
    if (policy.kind !== 'each') await log.flush()
    if (id === 40) while (!existsSync(index)) await sleep(2)
  }
  await sleep(20)
  const folder = testFolder(t, 'memory')
  cpSync(origin, folder, { recursive: true, filter: (file) => !file.endsWith('.lock') })
  await store.close()
  const bytes = readFileSync(path.join(folder, 'a', INDEX))
  return { folder, coveredBytes: Number(bytes.readBigInt64BE(32)), coveredCount: Number(bytes.readBigInt64BE(24)) }
}
const INDEX = `${'0'.repeat(20)}.index`
const SEGMENT = `${'0'.repeat(20)}.log`

t.test('recovery points: whoever wrote one, everybody begins at it, and one that does not count changes nothing', async (t) => {
  const intact = { start: 0, end: 60, entries: Array.from({ length: 60 }, (_, id) => id) }
  for (const writer of backends) {
    for (const policy of [{ kind: 'each' }, { kind: 'bytes', bytes: 1_000_000 }] as const) {
      const { folder: origin, coveredBytes, coveredCount } = await unsealedWithPoint(t, writer, policy)
      t.ok(coveredBytes >= 10_000 && coveredBytes <= 60_000 && coveredCount === coveredBytes / 1_000, `${writer}: a point at ${coveredBytes}`)
      const changed = (name: string, change: (bytes: Buffer) => void) => (folder: string): void => {
        const bytes = readFileSync(path.join(folder, name))
        change(bytes)
        writeFileSync(path.join(folder, name), bytes)
      }
      const cases: readonly (readonly [string, (folder: string) => void, unknown])[] = [
        ['intact', () => {}, intact],
        ['without a point', (folder) => unlinkSync(path.join(folder, INDEX)), intact],
        ['a torn one', (folder) => truncateSync(path.join(folder, INDEX), 80), intact],
        ['a damaged one', changed(INDEX, (bytes) => { bytes[77]! ^= 4 }), intact],
        ['damage long before the point shows when it is read', changed(SEGMENT, (bytes) => { bytes[500]! ^= 4 }), /0{20}\.log is damaged at position 0/],
        ['damage just before the point', changed(SEGMENT, (bytes) => { bytes[coveredBytes - 500]! ^= 4 }), new RegExp(`position ${coveredBytes - 1_000}: valid entries follow|acknowledged`)],
        ['a file that ends before the point', (folder) => truncateSync(path.join(folder, SEGMENT), 5_500), { start: 0, end: 5, entries: [0, 1, 2, 3, 4] }]
      ]
      for (const reader of backends) {
        for (const [name, change, expected] of cases) {
          const folder = testFolder(t, 'memory')
          cpSync(origin, folder, { recursive: true })
          change(path.join(folder, 'a'))
          t.match(await outcomeOf(folder, reader), expected, `${writer}, ${policy.kind}, ${reader}: ${name}`)
        }
      }
    }
  }
})

/** What the first version wrote in an index: no count, no time, no checksum of the segment. */
function toVersion1 (bytes: Buffer): Buffer {
  const header = Buffer.alloc(72)
  bytes.copy(header, 0, 0, 64)
  header.writeUInt32BE(1, 8)
  header.writeUInt32BE(crc32c(header.subarray(0, 64)), 64)
  return Buffer.concat([header, bytes.subarray(88)])
}

t.test('a folder of the first version of indexes: opened, read, appended to, sealed and verified', async (t) => {
  const options = { layout, segmentBytesMax: 20_000 }
  for (const closed of [true, false]) {
    const origin = testFolder(t, 'memory')
    const store = await openStore({ dataDir: origin, backend: 'node:fs', uncoveredBytesMax: 4_000 })
    const log = await store.open('a', options)
    for (let id = 0; id < 75; id++) await log.append(entry({ id, bytes: 1_000, timestampMs: 1_000 + id })).committed
    const last = path.join(origin, 'a', `${String(60).padStart(20, '0')}.index`)
    while (!existsSync(last)) await sleep(2)
    if (closed) await store.close()
    const indexes = readdirSync(path.join(origin, 'a')).filter((name) => name.endsWith('.index'))
    t.equal(indexes.length, 4)
    for (const backend of backends) {
      const folder = testFolder(t, 'memory')
      cpSync(origin, folder, { recursive: true, filter: (file) => !file.endsWith('.lock') })
      for (const name of indexes) writeFileSync(path.join(folder, 'a', name), toVersion1(readFileSync(path.join(folder, 'a', name))))
      const versionOf = (name: string): number => readFileSync(path.join(folder, 'a', name)).readUInt32BE(8)
      const said = `${backend}, ${closed ? 'closed' : 'killed'}`
      for (const life of [0, 1]) {
        const again = await openStore({ dataDir: folder, backend })
        const reopened = await again.open('a', options)
        const count = 75 + life * 30
        t.same(entriesOf(await reopened.read(0, ALL)).map(({ id }) => id), Array.from({ length: count }, (_, id) => id), said)
        t.same(await reopened.entryAtTimestamp(1_033), { baseOffset: 33, timestampMaxMs: 1_033 })
        t.same(await reopened.entryWithTimestampMax(), { baseOffset: count - 1, timestampMaxMs: 999 + count })
        t.hasStrict(await reopened.verifySegment(20), { entryCount: 20, damage: null, checksum: 'none' }, `${said}: nothing to compare with`)
        for (let id = count; id < count + 30; id++) await reopened.append(entry({ id, bytes: 1_000, timestampMs: 1_000 + id })).committed
        t.hasStrict(await reopened.verifySegment(80), { damage: null, checksum: 'right' }, `${said}: a new segment has one`)
        await again.close()
        t.equal(versionOf(indexes.at(-1)!), 1, `${said}: what went on after such an index has one again`)
        t.equal(versionOf(`${String(80).padStart(20, '0')}.index`), 2)
      }
      const verified = await verifyStore(folder, { layouts: [{ name: 'record-batch', layout, emptyEntry: emptyBatch }] })
      t.same([verified.damageCount, verified.logs[0]!.endOffset], [0, 135])
    }
    if (!closed) await store.close()
  }
})

t.test('a folder goes from one to the other and back', async (t) => {
  const folder = testFolder(t, 'memory')
  let id = 0
  for (const backend of [...backends, ...backends, ...backends]) {
    const store = await openStore({ dataDir: folder, backend })
    const log = await store.open('a', { layout, segmentBytesMax: 20_000 })
    t.equal(log.endOffset, id, `${backend} finds what was written before`)
    const pending = Array.from({ length: 70 }, () => log.append(entry({ id: id++, timestampMs: 5_000 + id, bytes: 300 })))
    await pending.at(-1)!.committed
    if (id % 3 === 0) await log.roll()
    if (id > 140) await log.truncateFront(id - 120)
    const found = entriesOf(await log.read(log.startOffset, ALL))
    t.same(found.map((one) => one.id), Array.from({ length: id - log.startOffset }, (_, at) => log.startOffset + at))
    t.same(await log.entryAtTimestamp(5_000 + id - 10), { baseOffset: id - 11, timestampMaxMs: 5_000 + id - 10 })
    await store.close()
  }
})

t.test('what recovery decides', async (t) => {
  const base: Aftermath = { position: 1_000, unflushed: false, markEndsHere: false, markBegin: undefined, markEnd: undefined, laterEntryFirst: undefined, laterEntryLast: undefined, unwrittenSector: false }
  const later = { laterEntryFirst: 2_000, laterEntryLast: 2_000 }
  const farther = { laterEntryFirst: 2_000, laterEntryLast: 1_000 + 8 * 1024 * 1024 }
  const cases: readonly (readonly [string, Partial<Aftermath>, 'cut' | 'corrupt'])[] = [
    ['nothing follows', {}, 'cut'],
    ['a mark that ends here', { markEndsHere: true, markBegin: 10, ...later }, 'cut'],
    ['a mark whose write began before', { markBegin: 1_000 }, 'cut'],
    ['a mark whose write began later', { markBegin: 1_001 }, 'corrupt'],
    ['a later entry behind what was never written', { ...later, unwrittenSector: true }, 'cut'],
    ['a later entry, everything written', later, 'corrupt'],
    ['a later entry of the same write', { ...later, markBegin: 900, unwrittenSector: true }, 'cut'],
    ['a later entry of a later write', { ...later, markBegin: 1_500, unwrittenSector: true }, 'corrupt'],
    ['an entry farther than one write reaches', { ...farther, unwrittenSector: true }, 'corrupt'],
    ['the same, of a log that was not flushed with each write', { ...farther, unflushed: true, unwrittenSector: true }, 'cut'],
    ['the same, and everything was written', { ...farther, unflushed: true }, 'corrupt'],
    ['the same, and a mark', { ...farther, markBegin: 900, unwrittenSector: true }, 'cut']
  ]
  for (const [name, change, outcome] of cases) t.equal(judge({ ...base, ...change }), outcome, name)
})

t.test('which logs write a recovery point', async (t) => {
  const chosen = (bytes: readonly number[]): readonly number[] => chooseLogs(bytes.map((bytesUncovered) => ({ bytesUncovered })), 100).map(({ bytesUncovered }) => bytesUncovered)
  t.same(chosen([]), [])
  t.same(chosen([60, 40]), [], 'as much as may be')
  t.same(chosen([1, 60, 40]), [60], 'the most first, until half is left')
  t.same(chosen([30, 30, 30, 30]), [30, 30, 30])
  t.same(chosen([5, 900, 0]), [900])
})

/** A reproducible sequence of numbers in [0, below). */
function random (seed: number): (below: number) => number {
  let state = seed * 2654435761 >>> 0
  return (below) => {
    state = Math.imul(state ^ state >>> 15, 0x2c1b3c6d) + 0x9e3779b9 >>> 0
    return Math.floor((state ^ state >>> 16) >>> 0) % below
  }
}

/** Does to the last segment what a crash, a disk or a person might. */
function damage (bytes: Buffer, next: (below: number) => number): Buffer {
  const at = next(bytes.length)
  const copy = Buffer.from(bytes)
  switch (next(8)) {
    case 0: return copy.subarray(0, at)
    case 1: copy[at]! ^= 1 + next(255); return copy
    case 2: copy.fill(0, at - at % 512, at - at % 512 + 512 * (1 + next(4))); return copy
    case 3: return copy.fill(0, at)
    case 4: return Buffer.concat([copy, Buffer.alloc(next(10_000))])
    case 5: return Buffer.concat([copy, copy.subarray(0, next(copy.length))])
    case 6: return Buffer.concat([copy.subarray(0, at), Buffer.alloc(next(3_000))])
    default: {
      const begin = next(copy.length)
      const mark = Buffer.alloc(32)
      mark.write('HAULMARK')
      mark.writeBigInt64BE(BigInt(begin), 8)
      mark.writeBigInt64BE(BigInt(copy.length), 16)
      mark.writeUInt32BE(crc32c(mark.subarray(0, 24)), 24)
      const padding = Buffer.alloc((8 - copy.length % 8) % 8)
      if (next(2) === 0) copy[at]! ^= 0x55
      return Buffer.concat([copy, padding, mark, Buffer.alloc(next(2) * 4_096)])
    }
  }
}

async function outcomeOf (folder: string, backend: BackendChoice): Promise<unknown> {
  const store = await openStore({ dataDir: folder, backend })
  try {
    const log = await store.open('a', { layout, segmentBytesMax: 50_000 })
    return { start: log.startOffset, end: log.endOffset, entries: entriesOf(await log.read(log.startOffset, ALL)).filter(({ intact }) => intact).map(({ id }) => id) }
  } catch (error) {
    if (!(error instanceof LogError)) throw error
    return error.message.replace(/^.*\/a\//, '')
  } finally {
    await store.close()
  }
}

t.test('after damage every implementation comes to the same end', async (t) => {
  const origin = testFolder(t, 'memory')
  const store = await openStore({ dataDir: origin, backend: 'node:fs', uncoveredBytesMax: 8_000 })
  const log = await store.open('a', { layout, segmentBytesMax: 50_000 })
  for (let id = 0; id < 60; id++) await log.append(entry({ id, bytes: 300 + id * 61 % 3_000 })).committed
  await log.flush()
  await sleep(20)
  const unclosed = path.join(testFolder(t, 'memory'), 'unclosed')
  cpSync(origin, unclosed, { recursive: true, filter: (file) => !file.endsWith('.lock') })
  await store.close()
  const last = readdirSync(path.join(unclosed, 'a')).filter((name) => name.endsWith('.log')).sort().at(-1)!
  const bytes = readFileSync(path.join(unclosed, 'a', last))
  const outcomes = new Set<string>()
  for (let seed = 1; seed <= 60; seed++) {
    const damaged = damage(bytes, random(seed))
    const results = []
    for (const backend of hasNative ? ['node:fs', 'threads'] as const : ['node:fs'] as const) {
      const folder = path.join(unclosed, '..', `${seed}-${backend.replace(':', '')}`)
      mkdirSync(folder)
      cpSync(unclosed, folder, { recursive: true })
      writeFileSync(path.join(folder, 'a', last), damaged)
      const first = await outcomeOf(folder, backend)
      t.same(await outcomeOf(folder, 'node:fs'), first, `seed ${seed}, ${backend}: the same when opened again`)
      results.push(first)
    }
    t.same(results.at(-1), results[0], `seed ${seed}`)
    outcomes.add(typeof results[0] === 'string' ? 'corrupt' : 'cut')
    if (typeof results[0] === 'object' && (results[0] as { end: number }).end > 60) t.fail('an entry that was never written')
  }
  t.same([...outcomes].sort(), ['corrupt', 'cut'], 'both happen')
})

t.test('damage in the middle of a log, or files that are missing, are refused', async (t) => {
  for (const backend of backends) {
    const cases: readonly (readonly [string, RegExp, (folder: string, segments: readonly string[]) => void])[] = [
      ['a byte of a full segment, and its index', /position \d+: its entries end at offset/, (folder, segments) => {
        const file = path.join(folder, segments[1]!)
        const bytes = readFileSync(file)
        bytes[bytes.length - 400]! ^= 1
        writeFileSync(file, bytes)
        writeFileSync(file.replace('.log', '.index'), 'nothing')
      }],
      ['a segment is missing', /are missing/, (folder, segments) => { removeSegment(folder, segments[1]!) }],
      ['the first segment is missing', /are missing/, (folder, segments) => {
        writeFileSync(path.join(folder, 'start-offset'), startOffsetLine(0))
        removeSegment(folder, segments[0]!)
      }],
      ['the start offset', /start offset/, (folder) => { writeFileSync(path.join(folder, 'start-offset'), startOffsetLine(0).replace(' 0 ', ' 7 ')) }]
    ]
    for (const [name, message, change] of cases) {
      const folder = testFolder(t, 'memory')
      const store = await openStore({ dataDir: folder, backend: 'node:fs' })
      const log = await store.open('a', { layout, segmentBytesMax: 2_000 })
      for (let id = 0; id < 30; id++) await log.append(entry({ id, bytes: 400 })).committed
      await store.close()
      const inside = path.join(folder, 'a')
      change(inside, readdirSync(inside).filter((file) => file.endsWith('.log')).sort())
      t.match(await outcomeOf(folder, backend), message, `${backend}: ${name}`)
    }
  }
})

function removeSegment (folder: string, segment: string): void {
  for (const name of [segment, segment.replace('.log', '.index')]) unlinkSync(path.join(folder, name))
}

function startOffsetLine (offset: number): string {
  const text = `haulout-start-offset 1 ${offset}`
  return `${text} ${crc32c(Buffer.from(text)).toString(16).padStart(8, '0')}\n`
}

t.test('whole entries that stand in each other\'s place are damage to whoever reads them', async (t) => {
  // As large as a block of the device: what a write that went astray leaves may be valid entries, and their checksums right.
  const bytes = 4_096
  const segment = `${'0'.repeat(20)}.log`
  const origin = testFolder(t, 'memory')
  const store = await openStore({ dataDir: origin, backend: 'node:fs' })
  const log = await store.open('a', { layout })
  for (let id = 0; id < 16; id++) await log.append(entry({ id, bytes, timestampMs: 1_000 + id })).committed
  await store.close()
  const block = (file: Buffer, at: number): Buffer => file.subarray(at * bytes, (at + 1) * bytes)
  // Samples are at 0, 4, 8 and 12: whoever reads behind damage begins at the next one.
  const cases: readonly (readonly [string, (now: Buffer, before: Buffer) => void, number])[] = [
    ['two of them', (now, before) => { block(before, 7).copy(now, 5 * bytes); block(before, 5).copy(now, 7 * bytes) }, 5],
    ['an earlier one again', (now, before) => { block(before, 5).copy(now, 6 * bytes) }, 6],
    ['a later one too early', (now, before) => { block(before, 9).copy(now, 6 * bytes) }, 6],
    ['the one at a sample', (now, before) => { block(before, 6).copy(now, 4 * bytes) }, 4],
    ['the count of one', (now) => { now[6 * bytes + layout.lastOffsetDeltaAt + 1]! ^= 1 }, 6],
    ['the length of one', (now) => { now[6 * bytes + layout.lengthAt]! ^= 1 }, 6]
  ]
  for (const backend of backends) {
    for (const [name, change, at] of cases) {
      const folder = testFolder(t, 'memory')
      cpSync(origin, folder, { recursive: true })
      const file = path.join(folder, 'a', segment)
      const content = readFileSync(file)
      change(content, Buffer.from(content))
      writeFileSync(file, content)
      const again = await openStore({ dataDir: folder, backend })
      const damaged = await again.open('a', { layout })
      const idsFrom = async (offset: number): Promise<readonly number[]> => entriesOf(await damaged.read(offset, ALL)).map(({ id }) => id)
      t.same(await idsFrom(0), Array.from({ length: at }, (_, id) => id), `${backend}: ${name}: what lies before is served`)
      await t.rejects(damaged.read(at, ALL), { code: 'corrupt', message: new RegExp(`${segment} is damaged at position ${at * bytes}`) }, `${backend}: ${name}`)
      t.same(await idsFrom(8), [8, 9, 10, 11, 12, 13, 14, 15], `${backend}: ${name}: what lies behind is served`)
      await again.close()
    }
  }
})

t.test('whose folder it is', async (t) => {
  for (const backend of backends) {
    const codeOf = async (folder: string): Promise<string> => {
      try {
        await (await openStore({ dataDir: folder, backend })).close()
        return 'opened'
      } catch (error) {
        return error instanceof LogError ? `${error.code}: ${error.message}` : String(error)
      }
    }
    const folder = testFolder(t, 'memory')
    writeFileSync(path.join(folder, 'letter.txt'), 'not ours')
    t.match(await codeOf(folder), /^denied: .*letter\.txt/, `${backend}: some other folder`)
    t.same(readdirSync(folder).filter((name) => name !== '.lock'), ['letter.txt'], 'and nothing is touched')
    const newer = testFolder(t, 'memory')
    writeFileSync(path.join(newer, 'haulout.format'), 'haulout-format 77\n')
    t.match(await codeOf(newer), /^denied: .*version 77\D.*[12]/, `${backend}: a newer format`)
    const stale = testFolder(t, 'memory')
    writeFileSync(path.join(stale, '.lock'), `${process.pid} 1 pid\n`)
    t.equal(await codeOf(stale), process.platform === 'linux' ? 'opened' : `locked: folder ${stale} is in use by process ${process.pid}`, `${backend}: a process that has the id of a dead owner`)
    for (const owner of backends) {
      const used = testFolder(t, 'memory')
      const store = await openStore({ dataDir: used, backend: owner })
      t.equal(await codeOf(used), `locked: folder ${used} is in use by process ${process.pid}`, `${owner} has it, ${backend} wants it`)
      await store.close()
      t.equal(await codeOf(used), 'opened')
    }
    const file = path.join(testFolder(t, 'memory'), 'file')
    writeFileSync(file, '')
    t.match(await codeOf(file), /^(denied|failed): /, `${backend}: not a folder`)
  }
})

t.test('a folder that is taken away', async (t) => {
  await Promise.all(backends.flatMap((backend) => [false, true].map(async (isReplaced) => {
    const what = `${backend}, ${isReplaced ? 'and another one put into its place' : 'moved'}`
    const parent = testFolder(t, 'memory')
    const [folder, elsewhere] = [path.join(parent, 'data'), path.join(parent, 'elsewhere')]
    const store = await openStore({ dataDir: folder, backend })
    const [log, idle] = await Promise.all(['a', 'idle'].map(async (name) => await store.open(name, { layout })))
    const errorOf = async (call: () => unknown): Promise<string> => {
      try {
        await call()
        return 'no error'
      } catch (error) {
        return error instanceof LogError ? `${error.code}: ${error.message}` : String(error)
      }
    }
    await log!.append(entry({ id: 0 })).committed
    renameSync(folder, elsewhere)
    if (isReplaced) {
      mkdirSync(folder)
      writeFileSync(path.join(folder, '.lock'), 'of somebody else\n')
    }
    await sleep(1_100)
    await errorOf(async () => { await log!.append(entry({ id: 1 })).committed })
    const gone = `folder ${folder} is not the one that was opened any more: it was removed, replaced or unmounted`
    for (const [call, name] of [
      [async () => { await log!.append(entry({ id: 2 })).committed }, 'append'], [async () => { await idle!.append(entry({ id: 0 })).committed }, 'append to an idle log'],
      [async () => await store.open('b', { layout }), 'open'], [async () => await store.remove('c'), 'remove'], [async () => await store.rename('c', 'd'), 'rename']
    ] as const) {
      const error = await errorOf(call)
      t.ok(error.startsWith('failed: ') && error.includes(gone), `${what}: ${name}: ${error}`)
    }
    await errorOf(async () => await store.close())
    t.same(existsSync(folder) ? readdirSync(folder) : undefined, isReplaced ? ['.lock'] : undefined, `${what}: nothing is made there`)
    if (isReplaced) t.equal(readFileSync(path.join(folder, '.lock'), 'latin1'), 'of somebody else\n', `${what}: its lock is left alone`)
    const again = await openStore({ dataDir: elsewhere, backend })
    const found = entriesOf(await (await again.open('a', { layout })).read(0, ALL)).map(({ id }) => id)
    t.ok(found[0] === 0 && !found.includes(2), `${what}: what was acknowledged is where the folder is: ${found.join(' ')}`)
    await again.close()
  })))
})
