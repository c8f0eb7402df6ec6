/** The log in plain TypeScript on a disk that fails: faults are put below it, into the file handles of this process. */
import fs from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import path from 'node:path'
import t, { type Test } from 'tap'
import { openFileStore } from '../../src/log/file-log-store.js'
import { LogError, RECORD_BATCH_LAYOUT as layout, type Log } from '../../src/log/log.js'
import { entriesOf, entry, testFolder } from '../contract/entries.js'

const ALL = { bytesMax: 100_000_000 }
type Call = (this: FileHandle, ...parameters: any[]) => Promise<any>

const probe = await open('/dev/null', 'r')
const handles = Object.getPrototypeOf(probe) as Record<string, Call>
await probe.close()

/** Puts `replacement` in place of a function of all file handles until the test ends. It gets the real one. */
function replace (t: Test, name: 'read' | 'write' | 'writev' | 'datasync' | 'sync' | 'writeFile', replacement: (real: Call) => Call): void {
  const real = handles[name]!
  handles[name] = replacement(real)
  t.teardown(() => { handles[name] = real })
}

const failing = (code: string, when: () => boolean) => (real: Call): Call => async function (...parameters) {
  if (when()) throw Object.assign(new Error(`${code}: injected`), { code })
  return await real.apply(this, parameters)
}

async function codeOf (call: () => unknown): Promise<string | undefined> {
  try {
    await call()
    return undefined
  } catch (error) {
    return error instanceof LogError ? error.code : String(error)
  }
}

const ids = async (log: Log): Promise<number[]> => entriesOf(await log.read(log.startOffset, ALL)).map(({ id }) => id)

for (const [call, code] of [['datasync', 'EIO'], ['writev', 'EIO'], ['writev', 'ENOSPC']] as const) {
  t.test(`${call} ends with ${code}`, async (t) => {
    const store = await openFileStore(testFolder(t))
    const log = await store.open('a', { layout })
    const other = await store.open('b', { layout })
    for (let id = 0; id < 5; id++) await log.append(entry({ id })).committed
    let broken = true
    replace(t, call, failing(code, () => broken))
    const pending = [5, 6, 7].map((id) => log.append(entry({ id })))
    for (const { committed } of pending) t.equal(await codeOf(async () => await committed), 'failed')
    broken = false
    // The disk works again, but nobody knows what it kept: nothing is tried again until the log is opened again.
    t.equal(await codeOf(() => log.append(entry({ id: 8 }))), 'failed')
    t.equal(await codeOf(async () => await log.flush()), 'failed')
    t.equal(await codeOf(async () => await log.roll()), 'failed')
    t.equal(log.committedEndOffset, 5)
    t.same(await ids(log), [0, 1, 2, 3, 4], 'what was committed can be read')
    await other.append(entry({ id: 1 })).committed
    t.same(await ids(other), [1], 'another log does not notice')
    await log.close()
    const again = await store.open('a', { layout })
    const found = await ids(again)
    t.same(found, [0, 1, 2, 3, 4], 'what was rejected is gone, even where the kernel still shows it')
    t.equal(again.append(entry({ id: 100 })).baseOffset, found.length)
    await store.close()
  })
}

t.test('a part that cannot be read costs what stands in it, and only while it is so', async (t) => {
  const folder = testFolder(t)
  const store = await openFileStore(folder)
  let log = await store.open('a', { layout })
  for (let id = 0; id < 1_000; id++) log.append(entry({ id, bytes: 1_000 }))
  await log.close()
  log = await store.open('a', { layout })
  const spot = 500_000
  let refusalsLeft = 0
  replace(t, 'read', (real) => async function (...parameters) {
    const [, , bytes, position] = parameters as [Buffer, number, number, number]
    if (position <= spot && spot < position + bytes && refusalsLeft-- > 0) throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
    return await real.apply(this, parameters)
  })
  refusalsLeft = Infinity
  const before = await log.read(0, ALL)
  t.ok(before.nextOffset > 490 && before.nextOffset <= 500, `up to ${before.nextOffset}`)
  await t.rejects(log.read(500, ALL), { code: 'failed', message: /\/0{20}\.log at position 49\d{4}: EIO/ })
  t.equal((await log.read(600, ALL)).nextOffset, 1_000)
  refusalsLeft = 1
  t.equal((await log.read(0, ALL)).nextOffset, 1_000, 'what is given when it is asked for again')
  refusalsLeft = 1
  t.equal((await log.read(500, { bytesMax: 1_000, atLeastOneEntry: true })).nextOffset, 501, 'also where there is nothing to halve')
  await store.close()
})

t.test('a failure between two groups: what came before is committed, what came after is not', async (t) => {
  const store = await openFileStore(testFolder(t))
  const log = await store.open('a', { layout, segmentBytesMax: 1_000 })
  let calls = 0
  replace(t, 'datasync', failing('EIO', () => ++calls === 3))
  const pending = Array.from({ length: 50 }, (_, id) => log.append(entry({ id })))
  const outcomes = await Promise.all(pending.map(async ({ committed }) => await codeOf(async () => await committed)))
  t.same(outcomes, [...Array(20).fill(undefined), ...Array(30).fill('failed')], 'ten entries a segment, one flush each')
  t.equal(log.committedEndOffset, 20)
  t.same(await ids(log), Array.from({ length: 20 }, (_, id) => id))
  await store.close()
})

t.test('what is flushed later is on stable storage after so many milliseconds or bytes, without being asked', async (t) => {
  let calls = 0
  replace(t, 'datasync', (real) => async function (...parameters) {
    calls++
    return await real.apply(this, parameters)
  })
  for (const [flushPolicy, flushes] of [
    [{ kind: 'interval', intervalMs: 20 }, true], [{ kind: 'bytes', bytes: 3_000 }, true],
    [{ kind: 'interval', intervalMs: 60_000 }, false], [{ kind: 'bytes', bytes: 1_000_000 }, false], [{ kind: 'none' }, false]
  ] as const) {
    const store = await openFileStore(testFolder(t), { flushPolicy })
    const log = await store.open('a', { layout })
    await log.append(entry()).committed
    await log.flush()
    calls = 0
    for (let id = 1; id < 20 || (flushes && id < 2_000 && calls === 0); id++) {
      log.append(entry({ id, bytes: 1_000 }))
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    t.equal(calls > 0, flushes, `${JSON.stringify(flushPolicy)}: ${calls} flushes`)
    await store.close()
  }
})

t.test('writes that are cut short go on where they ended', async (t) => {
  const folder = testFolder(t)
  const store = await openFileStore(folder)
  const log = await store.open('a', { layout })
  let seed = 1
  replace(t, 'writev', (real) => async function (buffers: readonly Buffer[], position: number) {
    seed = seed * 16807 % 2147483647
    const all = Buffer.concat(buffers)
    return await real.call(this, [all.subarray(0, 1 + seed % all.length)], position)
  })
  await Promise.all(Array.from({ length: 300 }, async (_, id) => { await log.append(entry({ id, bytes: 65 + id * 13 % 700 })).committed }))
  const found = entriesOf(await log.read(0, ALL))
  t.same(found.map(({ id, intact }) => id * 2 + Number(intact)), Array.from({ length: 300 }, (_, id) => id * 2 + 1))
  await store.close()
})

t.test('a disk without space refuses appends before they are accepted', async (t) => {
  const store = await openFileStore(testFolder(t))
  const real = fs.statfsSync
  let free = 17 * 1024 * 1024
  fs.statfsSync = ((path: string) => ({ ...real(path), bavail: free / 4_096, bsize: 4_096 })) as typeof fs.statfsSync
  syncBuiltinESMExports()
  t.teardown(() => {
    fs.statfsSync = real
    syncBuiltinESMExports()
  })
  const log = await store.open('a', { layout })
  await log.append(entry({ id: 0, bytes: 500_000 })).committed
  free -= 500_000
  t.equal(await codeOf(() => log.append(entry({ id: 1, bytes: 700_000 }))), 'full')
  t.equal(log.endOffset, 1)
  free += 1_000_000
  t.equal(log.append(entry({ id: 2, bytes: 700_000 })).baseOffset, 1, 'and goes on when there is space again')
  await log.flush()
  t.same(await ids(log), [0, 2])
  await store.close()
})

t.test('a start that cannot be written ends the log, and the old start counts', async (t) => {
  const folder = testFolder(t)
  const store = await openFileStore(folder)
  const log = await store.open('a', { layout, segmentBytesMax: 1_000 })
  for (let id = 0; id < 30; id++) await log.append(entry({ id })).committed
  let broken = true
  replace(t, 'sync', failing('EIO', () => broken))
  t.equal(await codeOf(async () => await log.truncateFront(15)), 'failed')
  broken = false
  await log.close()
  const again = await store.open('a', { layout, segmentBytesMax: 1_000 })
  t.same([again.startOffset, again.endOffset], [0, 30])
  await store.close()
})

t.test('a disk that is full when a segment is sealed: it does without an index', async (t) => {
  const folder = testFolder(t)
  const store = await openFileStore(folder)
  const log = await store.open('a', { layout, segmentBytesMax: 1_000 })
  await log.append(entry({ id: 0 })).committed
  let full = true
  replace(t, 'writeFile', failing('ENOSPC', () => full))
  await log.roll()
  for (let id = 1; id < 15; id++) await log.append(entry({ id })).committed
  await log.close()
  t.same(fs.readdirSync(`${folder}/a`).filter((name) => name.endsWith('.index')), [])
  full = false
  const again = await store.open('a', { layout, segmentBytesMax: 1_000 })
  t.same(await ids(again), Array.from({ length: 15 }, (_, id) => id))
  await store.close()
})

/** The names of what is synced from now on, of files and folders, in order. */
function watchSyncs (t: Test, fails: (name: string) => boolean = () => false): string[] {
  const names: string[] = []
  replace(t, 'sync', (real) => async function () {
    const name = fs.readlinkSync(`/proc/self/fd/${this.fd}`)
    names.push(name)
    if (fails(name)) throw Object.assign(new Error('EIO: injected'), { code: 'EIO' })
    await real.call(this)
  })
  return names
}

/** The folder as a killed process leaves it. */
function killed (t: Test, folder: string): string {
  const copy = path.join(testFolder(t), 'killed')
  fs.cpSync(folder, copy, { recursive: true })
  fs.writeFileSync(path.join(copy, '.lock'), '999999999 1 pid\n')
  return copy
}

const skip = process.platform !== 'linux' && 'looks at /proc'

t.test('what a killed process may have left unsynced is synced before anything is built on it', { skip }, async (t) => {
  const folder = path.join(testFolder(t), 'new', 'data')
  const synced = watchSyncs(t)
  const store = await openFileStore(folder)
  for (let name = folder; name !== '/'; name = path.dirname(name)) t.ok(synced.includes(name), `a new folder's own name: ${name}`)
  const log = await store.open('a', { layout, segmentBytesMax: 1_000 })
  for (let id = 0; id < 30; id++) await log.append(entry({ id })).committed
  await log.truncateFront(3)
  const copy = killed(t, folder)
  await store.close()
  for (const [dataDir, wasClosed] of [[copy, false], [folder, true]] as const) {
    synced.length = 0
    const again = await openFileStore(dataDir)
    t.ok(synced.includes(dataDir), 'names of logs that were made, renamed or removed')
    t.same([(await again.open('a', { layout })).startOffset], [3])
    t.equal(synced.includes(path.join(dataDir, 'a', 'start-offset')), !wasClosed, 'a start that was seen never moves back')
    t.equal(synced.includes(path.join(dataDir, 'a')), !wasClosed)
    await again.close()
  }
})

t.test('a name whose sync failed is synced before its log is opened again', { skip }, async (t) => {
  const folder = testFolder(t)
  const store = await openFileStore(folder)
  const log = await store.open('a', { layout })
  let broken = true
  const synced = watchSyncs(t, (name) => broken && name === folder)
  t.equal(await codeOf(async () => await log.append(entry()).committed), 'failed')
  await log.close()
  t.equal(await codeOf(async () => await store.open('a', { layout })), 'failed', 'nothing is promised while it cannot be')
  broken = false
  synced.length = 0
  const again = await store.open('a', { layout })
  t.ok(synced.includes(folder))
  await again.append(entry({ id: 5 })).committed
  await again.close()
  broken = true
  t.equal(await codeOf(async () => await store.rename('a', 'b')), 'failed')
  t.equal(await codeOf(async () => await store.open('b', { layout })), 'failed')
  broken = false
  t.same(await ids(await store.open('b', { layout })), [5])
  await store.close()
})

t.test('what only the page cache may hold is written again', async (t) => {
  const folder = testFolder(t)
  const store = await openFileStore(folder, { flushPolicy: { kind: 'none' } })
  const log = await store.open('a', { layout })
  for (let id = 0; id < 20; id++) log.append(entry({ id }))
  let broken = true
  replace(t, 'datasync', failing('EIO', () => broken))
  t.equal(await codeOf(async () => await log.flush()), 'failed')
  broken = false
  await log.close()
  let bytes = 0
  replace(t, 'write', (real) => async function (...parameters) {
    const result = await real.apply(this, parameters)
    bytes += result.bytesWritten
    return result
  })
  const again = await store.open('a', { layout })
  t.same(await ids(again), Array.from({ length: 20 }, (_, id) => id))
  t.equal(bytes, 2_000, 'so that the sync that follows puts it on the disk')
  await store.close()
})

t.test('the folder says whether its log waits for the disk', async (t) => {
  const folder = testFolder(t)
  const store = await openFileStore(folder)
  const marks: boolean[] = []
  for (const kind of ['none', 'each', 'none'] as const) {
    const log = await store.open('a', { layout, flushPolicy: { kind } })
    await log.append(entry()).committed
    await log.flush()
    marks.push(fs.existsSync(path.join(folder, 'a', 'unflushed')))
    await log.close()
  }
  t.same(marks, [true, false, true])
  await store.close()
})

t.test('on a full disk the start of a log still moves', async (t) => {
  const folder = testFolder(t)
  const store = await openFileStore(folder)
  const open = async (name: string): Promise<Log> => await store.open(name, { layout, segmentBytesMax: 1_000 })
  const [log, single] = [await open('a'), await open('b')]
  for (let id = 0; id < 45; id++) await log.append(entry({ id })).committed
  for (let id = 0; id < 5; id++) await single.append(entry({ id })).committed
  const inside = path.join(folder, 'a')
  let full = (): boolean => fs.existsSync(path.join(inside, `${'0'.repeat(18)}10.log`))
  replace(t, 'writeFile', failing('ENOSPC', () => full()))
  // Without the file the log begins with its first segment: the old ones go first, oldest first.
  await log.truncateFront(25)
  t.same([log.startOffset, log.segments()[0]!.baseOffset], [25, 20])
  full = () => true
  await log.truncateFront(33)
  t.same([log.startOffset, log.segments()[0]!.baseOffset], [33, 30], 'with it, it is overwritten')
  t.equal(await codeOf(async () => await single.truncateFront(5)), 'full', 'the last segment stays: nothing else says where the log goes on')
  t.same([single.startOffset, single.append(entry({ id: 5 })).baseOffset], [0, 5], 'a refusal is no failure')
  await log.append(entry({ id: 45 })).committed
  await store.close()
  full = () => false
  const again = await openFileStore(folder)
  t.same(await ids(await again.open('a', { layout })), Array.from({ length: 13 }, (_, at) => 33 + at))
  t.same(await ids(await again.open('b', { layout })), [0, 1, 2, 3, 4, 5])
  await again.close()
})

t.test('a log is removed where leftovers of a process with the same id lie', async (t) => {
  const folder = testFolder(t)
  const store = await openFileStore(folder)
  await (await store.open('a', { layout })).append(entry()).committed
  for (let count = 0; count < 50; count++) fs.mkdirSync(path.join(folder, `~deleted.${process.pid}.${count}`, 'inside'), { recursive: true })
  await store.remove('a')
  t.same(await store.names(), [])
  await store.close()
})
