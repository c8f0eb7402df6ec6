/** What only the native store has: its addon, its backends, memory and disk behind one read, a folder shared with the store in TypeScript. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { candidatePaths, findPackage, loadBinding } from '../../src/binding.js'
import { openFileStore } from '../../src/log/file-log-store.js'
import { RECORD_BATCH_LAYOUT, type LogError, type LogStore, type StorageBackend } from '../../src/log/log.js'
import { openNativeStore, type NativeStoreOptions } from '../../src/log/native-log.js'
import { PLAIN_NODE } from '../support/plain-node.js'
import { makeEntry, makeFolder, readAll, stamped } from './native-support.js'

const CHILD = fileURLToPath(new URL('./native-child.js', import.meta.url))
const layout = RECORD_BATCH_LAYOUT
const FIRST = '00000000000000000000'

function overwrite (path: string, position: number, bytes: Uint8Array): void {
  const file = openSync(path, 'r+')
  writeSync(file, bytes, 0, bytes.length, position)
  closeSync(file)
}

t.test('the addon is where node-pre-gyp finds it', async t => {
  const packagePath = findPackage(fileURLToPath(new URL('.', import.meta.url)))
  const { find } = createRequire(import.meta.url)('@mapbox/node-pre-gyp') as { find: (path: string) => string }
  t.ok(candidatePaths(packagePath).includes(find(packagePath)))
})

const loaded = loadBinding()
if ('reason' in loaded) {
  t.pass('no addon here', { skip: loaded.reason })
  process.exit()
}

for (const backend of ['io_uring', 'io_uring-buffered', 'threads', 'mmap'] as const) {
  t.test(`memory and disk read alike, ${backend}`, async t => {
    const dir = makeFolder(t)
    const store = await openNativeStore(dir, { backend, tailBytesMax: 100_000 })
    const log = await store.open('a', { layout, segmentBytesMax: 1_000_000 })
    const entries: Buffer[] = []
    for (let round = 0; round < 30; round++) {
      const batch = [...Array(round % 7 + 1).keys()].map(i => makeEntry({ bytes: 61 + (round * 7919 + i * 104729) % 60_000, fill: round + i + 1 }))
      await Promise.all(batch.map(async entry => { await log.append(entry).committed }))
      for (const entry of batch) entries.push(stamped(entry, entries.length))
    }
    const all = Buffer.concat(entries)
    for (const bytesMax of [1, 5_000, 300_000, 100_000_000]) t.ok((await readAll(log, bytesMax)).equals(all), `${bytesMax} bytes at a time`)
    // Many reads in one turn, all over the log.
    const reads = await Promise.all(entries.map(async (_, offset) => await log.read(offset, { bytesMax: 1, atLeastOneEntry: true })))
    t.ok(reads.every((read, offset) => Buffer.concat(read.parts).equals(entries[offset]!)))
    await store.close()
  })

  t.test(`much is on its way to the disk before the turn ends, ${backend}`, async t => {
    const dir = makeFolder(t)
    const store = await openNativeStore(dir, { backend })
    const log = await store.open('a', { layout })
    await log.append(makeEntry()).committed
    const large = makeEntry({ bytes: 300_000, fill: 9 })
    const { committed } = log.append(large)
    const isWritten = (): boolean => readFileSync(join(dir, 'a', `${FIRST}.log`)).subarray(200, 300_200).equals(stamped(large, 1))
    const pause = new Int32Array(new SharedArrayBuffer(4))
    // The event loop does not turn meanwhile.
    for (let times = 0; times < 1000 && !isWritten(); times++) Atomics.wait(pause, 0, 0, 10)
    t.ok(isWritten())
    await committed
    await store.close()
  })

  t.test(`large entries and many logs, ${backend}`, async t => {
    const store = await openNativeStore(makeFolder(t), { backend })
    const large = makeEntry({ bytes: 20_000_000, fill: 3 })
    const logs = await Promise.all([...Array(200).keys()].map(async i => await store.open(`t-${i}`, { layout })))
    await Promise.all(logs.flatMap((log, i) => [log.append(makeEntry()), log.append(i === 7 ? large : makeEntry())].map(async ({ committed }) => { await committed })))
    t.ok(logs.every(log => log.committedEndOffset === 2))
    t.ok(Buffer.concat((await logs[7]!.read(1, { bytesMax: 1, atLeastOneEntry: true })).parts).equals(stamped(large, 1)))
    t.throws(() => logs[0]!.append('text' as never), { code: 'malformed' })
    await store.close()
  })

  t.test(`a folder that goes from one store to the other, ${backend}`, async t => {
    const dir = makeFolder(t)
    const expected: Buffer[] = []
    const openers: ReadonlyArray<() => Promise<LogStore>> = [
      async () => await openNativeStore(dir, { backend }), async () => await openFileStore(dir)
    ]
    for (let turn = 0; turn < 6; turn++) {
      const store = await openers[turn % 2]!()
      for (const open of openers) await t.rejects(open(), { code: 'locked', message: new RegExp(`in use by process ${process.pid}`) })
      const log = await store.open('a', { layout, segmentBytesMax: 20_000 })
      t.equal(log.endOffset, expected.length)
      for (let i = 0; i < 40; i++) {
        const entry = makeEntry({ bytes: 1500 + i, fill: i + 1, timestampMs: 1000 + expected.length })
        expected.push(stamped(entry, log.append(entry).baseOffset))
      }
      await log.flush()
      if (turn === 3) await log.truncateFront(100)
      t.ok((await readAll(log)).equals(Buffer.concat(expected.slice(turn >= 3 ? 100 : 0))), `turn ${turn}`)
      t.strictSame(await log.entryWithTimestampMax(), { baseOffset: expected.length - 1, timestampMaxMs: 999 + expected.length })
      await store.close()
    }
  })
}

t.test('damage names file and position, and is never passed over', async t => {
  const dir = makeFolder(t)
  const open = async () => await openNativeStore(dir)
  let store = await open()
  let log = await store.open('a', { layout, segmentBytesMax: 50_000 })
  for (let i = 0; i < 30; i++) await log.append(makeEntry({ bytes: 5000, fill: i + 1 })).committed
  await store.close()

  // In a sealed segment: found when it is read. What lies before and after it is served.
  overwrite(join(dir, 'a', `${FIRST}.log`), 12_345, Buffer.of(0xff))
  store = await open()
  log = await store.open('a', { layout, segmentBytesMax: 50_000 })
  const damaged = { code: 'corrupt', message: /a\/00000000000000000000\.log is damaged at position 10000:/ }
  t.equal((await log.read(0, { bytesMax: 100_000 })).nextOffset, 2)
  await t.rejects(log.read(2, { bytesMax: 100_000 }), damaged)
  t.equal((await log.read(3, { bytesMax: 1000_000 })).nextOffset, 30)
  await store.close()

  // In an unsealed one: found at open.
  const last = readdirSync(join(dir, 'a')).filter(name => name.endsWith('.log')).sort().at(-1)!
  rmSync(join(dir, 'a', last.replace('.log', '.index')))
  overwrite(join(dir, 'a', last), 5_010, Buffer.of(0xff))
  store = await open()
  const error = await store.open('a', { layout }).then(() => undefined, (error: unknown) => error as LogError)
  t.match(error, { code: 'corrupt', message: new RegExp(`${last} is damaged at position 5000: valid entries follow, from position 10000 on`) })
  await t.rejects(store.open('a', { layout }), { code: 'corrupt' }, 'and stays so')
  await (await store.open('b', { layout })).append(makeEntry()).committed
  await store.close()
})

t.test('a folder in use by another process', async t => {
  const dir = makeFolder(t)
  const child = spawn('env', [...PLAIN_NODE, CHILD, 'append', dir, 'io_uring'], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  await t.rejects(openNativeStore(dir), { code: 'locked', message: `folder ${dir} is in use by process ${child.pid}` })
  await t.rejects(openFileStore(dir), { code: 'locked' })
  child.kill('SIGKILL')
  await once(child, 'close')
  await (await openNativeStore(dir)).close()
})

t.test('what is flushed later is committed at once', async t => {
  const dir = makeFolder(t)
  for (const flushPolicy of [{ kind: 'interval', intervalMs: 10 }, { kind: 'bytes', bytes: 1000 }, { kind: 'none' }] as const) {
    const store = await openNativeStore(dir, { flushPolicy })
    const log = await store.open(flushPolicy.kind, { layout })
    const { committed } = log.append(makeEntry({ bytes: 2000 }))
    t.equal(log.committedEndOffset, 1, 'committed as soon as it is accepted')
    await committed
    t.equal((await log.read(0, { bytesMax: 5000 })).bytes, 2000, 'and can be read')
    await new Promise(resolve => setTimeout(resolve, 30))
    await log.flush()
    await store.close()
    const again = await openNativeStore(dir)
    t.equal((await again.open(flushPolicy.kind, { layout })).endOffset, 1)
    await again.close()
  }
})

t.test('what has completed comes to JavaScript in one call per wake-up, to the thread that asked', async t => {
  const { binding } = loaded
  const real = binding.openStore
  for (const shared of [false, true]) {
    // A turn of the event loop has a wake-up of the ring's descriptor, one of the store's handle, or both.
    let turn = 0
    let ticking = setImmediate(function tick () { turn++; ticking = setImmediate(tick) })
    const callsIn = new Map<number, number>()
    let told = 0
    binding.openStore = (dir, backend, tailBytesMax, uncoveredBytesMax, isShared, onEvents, ...lent) => real(dir, backend, tailBytesMax, uncoveredBytesMax, isShared, (changed, results) => {
      callsIn.set(turn, (callsIn.get(turn) ?? 0) + 1)
      told += changed.length
      onEvents(changed, results)
    }, ...lent)
    const store = await openNativeStore(makeFolder(t), { shared }).finally(() => { binding.openStore = real })
    const logs = await Promise.all([...Array(50).keys()].map(async i => await store.open(`t-${i}`, { layout })))
    callsIn.clear()
    for (let round = 0; round < 10; round++) {
      const committed = logs.map(async log => { await log.append(makeEntry()).committed })
      await new Promise(resolve => setImmediate(resolve))
      // While this thread is busy, the other one completes all of them.
      do pause(5)
      while (shared && logs.some(({ committedEndOffset, endOffset }) => committedEndOffset < endOffset))
      await Promise.all(committed)
    }
    clearImmediate(ticking)
    const callsMax = Math.max(...callsIn.values())
    t.ok(told >= 500 && callsMax <= (shared ? 1 : 2), `${shared ? 'shared' : 'alone'}: ${told} changes of logs, at most ${callsMax} calls in a turn`)
    await store.close()
  }
})

function pause (ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

t.test('what is flushed later is on stable storage after so many milliseconds or bytes, without being asked', async t => {
  // Every write says in its commit mark up to where all was on stable storage when it began.
  const stableIn = (dir: string): number => {
    const file = readFileSync(join(dir, 'a', `${FIRST}.log`))
    return file.readBigInt64BE(file.lastIndexOf('HAULMARK') + 8) === 0n ? 0 : 1
  }
  for (const [backend, flushPolicy, flushes] of [
    ['io_uring', { kind: 'interval', intervalMs: 20 }, true], ['threads', { kind: 'interval', intervalMs: 20 }, true], ['io_uring', { kind: 'bytes', bytes: 3_000 }, true],
    ['io_uring', { kind: 'interval', intervalMs: 60_000 }, false], ['io_uring', { kind: 'bytes', bytes: 1_000_000 }, false], ['io_uring', { kind: 'none' }, false]
  ] as const) {
    const dir = makeFolder(t)
    // What a log says counts, and not what its store does; without that, the store's policy.
    const store = await openNativeStore(dir, { backend, ...(flushes && { flushPolicy }) })
    const log = await store.open('a', { layout, ...(!flushes && { flushPolicy }) })
    for (let id = 0; id < 20 || (flushes && id < 2_000 && stableIn(dir) === 0); id++) {
      log.append(makeEntry({ bytes: 1_000 }))
      await new Promise(resolve => setTimeout(resolve, 5))
    }
    t.equal(stableIn(dir), flushes ? 1 : 0, `${backend}: ${JSON.stringify(flushPolicy)}`)
    await store.close()
  }
})

t.test('the backend that was asked for, or the next best, and why', async t => {
  const dir = makeFolder(t)
  const backendOf = async (folder: string, options: NativeStoreOptions = {}): Promise<StorageBackend> => {
    const store = await openNativeStore(folder, options)
    await store.close()
    return store.backend
  }
  const { direct } = await backendOf(dir, { backend: 'threads' })
  t.match(await backendOf(dir, { backend: 'mmap' }), { name: 'mmap', direct: false, reason: /mmap was asked for/ })
  t.match(await backendOf(dir, { backend: 'threads' }), { name: 'threads', reason: /threads were asked for/ })
  const chosen = await backendOf(dir)
  if (!chosen.name.startsWith('io_uring')) return t.pass('no io_uring here', { skip: chosen.reason })
  t.match(chosen, { name: direct ? 'io_uring' : 'io_uring-buffered', direct, reason: /io_uring works here/ })
  t.match(await backendOf(dir, { backend: 'io_uring-buffered' }), { name: 'io_uring-buffered', direct: false, reason: 'buffered io_uring was asked for' })
  if (!existsSync('/dev/shm')) return
  // Memory, where direct I/O may be refused (newer kernels take it).
  const inMemory = mkdtempSync('/dev/shm/haulout-')
  t.teardown(() => { rmSync(inMemory, { recursive: true, force: true }) })
  const there = await backendOf(inMemory)
  t.match(there, there.direct ? { name: 'io_uring' } : { name: 'io_uring-buffered', reason: /io_uring works here; this file system refuses direct I\/O/ })
  for (const backend of ['io_uring', 'io_uring-buffered', 'threads', 'mmap'] as const) {
    const store = await openNativeStore(inMemory, { backend, tailBytesMax: 0 })
    const log = await store.open(backend, { layout })
    for (let i = 0; i < 20; i++) await log.append(makeEntry({ bytes: 5000, fill: i + 1 })).committed
    t.equal((await readAll(log)).length, 100_000, `${backend} in memory`)
    await store.close()
  }
})
