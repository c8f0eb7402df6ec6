/**
 * The journal of the native engine, after a kill: what only it holds comes back in both implementations, the tools know of it, and it ends
 * with what it belongs to. What the engine does with it while it runs is tested without Node (native/test/journal_test.cc).
 */
import { cpSync, existsSync, readFileSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { loadBinding } from '../../src/binding.js'
import { crc32c } from '../../src/crc32c.js'
import { readJournal } from '../../src/log/journal.js'
import { RECORD_BATCH_LAYOUT as layout, type LogStore } from '../../src/log/log.js'
import { openStore } from '../../src/log/open-store.js'
import { salvageStore } from '../../src/log/salvage.js'
import { verifyStore } from '../../src/log/verify.js'
import { emptyBatch } from '../../src/protocol/empty-batch.js'
import { entriesOf, entry, testFolder } from '../contract/entries.js'

const layouts = [{ name: 'record-batch', layout, emptyEntry: emptyBatch }]
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f']
const journalOf = (folder: string): string => path.join(folder, 'haulout.journal')
/** One is enough for all of them. */
let made: ReturnType<typeof killed> | undefined
const aKilled = async (): ReturnType<typeof killed> => await (made ??= killed(t))
const skip = 'reason' in loadBinding() ? 'only the native engine writes a journal' : false

/** A folder as a kill leaves it, with acknowledged entries in the journal; and how many each of its logs has. */
async function killed (t: Test): Promise<{ readonly folder: string, readonly count: number }> {
  const origin = testFolder(t)
  const store = await openStore({ dataDir: origin })
  t.teardown(async () => await store.close())
  const logs = await Promise.all(NAMES.map(async (name) => await store.open(name, { layout })))
  const folder = testFolder(t)
  let count = 0
  const append = async (times: number): Promise<void> => {
    for (const end = count + times; count < end; count++) {
      await Promise.all(logs.map(async (log, at) => await log.append(entry({ id: count * 10 + at, bytes: 100 + count % 50 })).committed))
    }
  }
  // It is made beside the first appends.
  for (let looks = 0; !existsSync(journalOf(origin)) || (await readJournal(origin)).size === 0; looks++) {
    if (looks === 200) throw new Error('nothing goes to the journal')
    await append(50)
  }
  await append(20)
  cpSync(origin, folder, { recursive: true, filter: (file) => !file.endsWith('.lock') })
  return { folder, count }
}

async function idsOf (store: LogStore, name: string): Promise<readonly number[]> {
  const log = await store.open(name, { layout })
  const ids: number[] = []
  for (let offset = log.startOffset; offset < log.committedEndOffset;) {
    const read = await log.read(offset, { bytesMax: 1 << 20 })
    ids.push(...entriesOf(read).map(({ id }) => id))
    offset = read.nextOffset
  }
  return ids
}

const expected = (at: number, count: number): readonly number[] => Array.from({ length: count }, (_, number) => number * 10 + at)

t.test('what the journal holds comes back, and is forgotten with its log', { skip }, async (t) => {
  const { folder, count } = await aKilled()
  const records = await readJournal(folder)
  t.ok(records.size > 0 && [...records.keys()].every((name) => NAMES.includes(name)))
  for (const backend of ['node:fs', 'auto'] as const) {
    const copy = testFolder(t)
    cpSync(folder, copy, { recursive: true })
    const store = await openStore({ dataDir: copy, backend })
    t.notOk(existsSync(journalOf(copy)))
    for (const [at, name] of NAMES.entries()) t.same(await idsOf(store, name), expected(at, count), `${name} by ${backend}`)
    await store.close()
  }
  // Without it they are gone: it was the journal that had them.
  const without = testFolder(t)
  cpSync(folder, without, { recursive: true })
  unlinkSync(journalOf(without))
  const store = await openStore({ dataDir: without, backend: 'node:fs' })
  t.ok((await idsOf(store, 'a')).length < count)
  await store.close()
})

t.test('the tools know of it', { skip }, async (t) => {
  const { folder, count } = await aKilled()
  const before = readFileSync(journalOf(folder))
  const { findings, damageCount } = await verifyStore(folder, { layouts })
  t.same(findings.map(({ kind, severity, file }) => ({ kind, severity, file })), [{ kind: 'journal', severity: 'note', file: 'haulout.journal' }])
  t.match(findings[0]!.what, /^it holds \d+ bytes of entries of 6 logs$/)
  t.equal(damageCount, 0)
  const to = path.join(testFolder(t), 'salvaged')
  const salvaged = await salvageStore(folder, to, { layouts })
  t.same(salvaged.map(({ name, entryCount, lost }) => ({ name, entryCount, lost })), NAMES.map((name) => ({ name, entryCount: count, lost: [] })))
  t.ok(readFileSync(journalOf(folder)).equals(before), 'the source is only read')
})

t.test('a damaged or cut off journal gives what comes before the damage, a newer one is refused', { skip }, async (t) => {
  const { folder, count } = await aKilled()
  const whole = readFileSync(journalOf(folder))
  for (const backend of ['node:fs', 'auto'] as const) {
    for (const [what, change] of [
      ['a byte of the second write', (copy: string) => writeFileSync(journalOf(copy), Buffer.from(whole).fill(0xff, 4096 + 50, 4096 + 51))],
      ['cut off', (copy: string) => truncateSync(journalOf(copy), 5_000)],
      ['empty', (copy: string) => truncateSync(journalOf(copy), 0)]
    ] as const) {
      const copy = testFolder(t)
      cpSync(folder, copy, { recursive: true })
      change(copy)
      const store = await openStore({ dataDir: copy, backend })
      const ids = await idsOf(store, 'c')
      t.ok(ids.length <= count, what)
      t.same(ids, expected(2, ids.length), what)
      await store.close()
    }
    const newer = testFolder(t)
    cpSync(folder, newer, { recursive: true })
    const header = Buffer.from(whole)
    header.writeUInt32BE(2, 8)
    header.writeUInt32BE(crc32c(header.subarray(0, 32)), 32)
    writeFileSync(journalOf(newer), header)
    await t.rejects(openStore({ dataDir: newer, backend }), { code: 'denied', message: /newer Haulout/ })
    t.ok(readFileSync(journalOf(newer)).equals(header))
  }
})

t.test('a store that is closed leaves none', { skip }, async (t) => {
  const folder = testFolder(t)
  const store = await openStore({ dataDir: folder })
  const logs = await Promise.all(NAMES.map(async (name) => await store.open(name, { layout })))
  for (let id = 0; !existsSync(journalOf(folder)) || id < 50; id++) await Promise.all(logs.map(async (log) => await log.append(entry({ id })).committed))
  await store.close()
  t.notOk(existsSync(journalOf(folder)))
})
