/** A process that tests start to end it in some way. Its first argument says what it does, the second where. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { RECORD_BATCH_LAYOUT } from '../../src/log/log.js'
import { openNativeStore, type NativeStoreOptions } from '../../src/log/native-log.js'
import { openStore } from '../../src/log/open-store.js'
import { makeEntry } from './native-support.js'
import { say } from '../support/say.js'

const [task, dir, backendName, count] = process.argv.slice(2)
const backend = backendName as NonNullable<NativeStoreOptions['backend']>

/** Nobody's id, so that no other process counts. */
const OTHER_USER = 54_321

const tasks: Record<string, () => Promise<void>> = {
  /** Appends until it is killed; prints `<log> <end offset>` for every acknowledged entry. */
  async append () {
    const store = await openNativeStore(dir!, { backend })
    const logs = await Promise.all(['a-0', 'b-0', 'c-0'].map(async name =>
      await store.open(name, { layout: RECORD_BATCH_LAYOUT, segmentBytesMax: 400_000 })))
    say('ready')
    await Promise.all(logs.map(async (log, i) => {
      for (let count = 0; ; count++) {
        const pending = [...Array((count * 7 + i) % 5 + 1)].map(() => {
          const { baseOffset, committed } = log.append(makeEntry({ bytes: 61 + (log.endOffset * 37) % (i === 0 ? 20_000 : 500), fill: log.endOffset % 250 + 1 }))
          return committed.then(() => say(`${log.name} ${baseOffset + 1}`))
        })
        await Promise.all(pending)
      }
    }))
  },

  /** Ends with writes under way. */
  async exit () {
    const store = await openNativeStore(dir!, { backend })
    const log = await store.open('a-0', { layout: RECORD_BATCH_LAYOUT })
    for (let i = 0; i < 50; i++) log.append(makeEntry({ bytes: 100_000 }))
    void log.read(0, { bytesMax: 1000 })
    setImmediate(() => { process.exit(0) })
  },

  /** Appends to far more logs at once than there may be files open, and reads all of them at once. */
  async many () {
    const store = await openStore({ dataDir: dir!, backend })
    const logs = await Promise.all(Array.from({ length: Number(count) }, async (_, i) =>
      await store.open(`log-${i}`, { layout: RECORD_BATCH_LAYOUT, segmentBytesMax: 2000 })))
    for (let round = 0; round < 3; round++) await Promise.all(logs.map(async log => { await log.append(makeEntry({ bytes: 1500, fill: round + 1 })).committed }))
    const read = await Promise.all(logs.map(async log => { const { bytes } = await log.read(0, { bytesMax: 100_000 }); return bytes }))
    await store.close()
    const again = await openStore({ dataDir: dir!, backend })
    const ends = await Promise.all(logs.map(async ({ name }) => (await again.open(name, { layout: RECORD_BATCH_LAYOUT })).endOffset))
    await again.close()
    say(`${read.filter(bytes => bytes === 4500).length} ${ends.filter(end => end === 3).length}`)
  },

  /** Appends to a log whose file is gone and was given back to the system: of more logs than there may be files open. */
  async gone () {
    const store = await openNativeStore(dir!, { backend })
    const logs = await Promise.all(Array.from({ length: Number(count) }, async (_, i) => await store.open(`log-${i}`, { layout: RECORD_BATCH_LAYOUT })))
    for (const log of logs) await log.append(makeEntry()).committed
    rmSync(join(dir!, 'log-0', `${'0'.repeat(20)}.log`))
    await logs[0]!.append(makeEntry()).committed.catch((error: Error) => { say(error.message) })
    process.exit(0)
  },

  /** Ends by itself: a store that is open and idle holds nothing. */
  async idle () {
    const store = await openNativeStore(dir!, { backend })
    const log = await store.open('a-0', { layout: RECORD_BATCH_LAYOUT, flushPolicy: { kind: 'interval', intervalMs: 60_000 } })
    await log.append(makeEntry()).committed
    await log.flush()
  },

  /** Worker threads that end by themselves, and that are ended with writes under way. */
  async workers () {
    for (const how of ['terminate', 'exit']) {
      const worker = new Worker(new URL(import.meta.url), { argv: ['worker', `${dir!}/${how}`, backend], env: process.env })
      await new Promise<void>((resolve, reject) => {
        worker.once('message', () => { if (how === 'terminate') void worker.terminate(); else worker.postMessage('exit') })
        worker.once('error', reject)
        worker.once('exit', () => { resolve() })
      })
    }
    // The folders are free again.
    for (const how of ['terminate', 'exit']) await (await openNativeStore(`${dir!}/${how}`, { backend })).close()
  },

  async worker () {
    const { parentPort } = await import('node:worker_threads')
    const store = await openNativeStore(dir!, { backend })
    const log = await store.open('a-0', { layout: RECORD_BATCH_LAYOUT })
    parentPort!.on('message', () => process.exit(0))
    for (;;) {
      for (let i = 0; i < 20; i++) log.append(makeEntry({ bytes: 100_000 }))
      await log.append(makeEntry()).committed
      parentPort!.postMessage('writing')
    }
  },

  /** Appends 200 MB to many logs, with readers of all that is there, under a budget of 8 MiB; prints how many MiB the process grew at most. */
  async budget () {
    const mebibytesMax = (): number => Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))![1]) / 1024
    const store = await openNativeStore(dir!, { backend, tailBytesMax: 8 * 1024 * 1024, flushPolicy: { kind: 'none' } })
    const logs = await Promise.all(Array.from({ length: 20 }, async (_, i) => await store.open(`log-${i}`, { layout: RECORD_BATCH_LAYOUT, segmentBytesMax: 3_000_000 })))
    const entry = makeEntry({ bytes: 100_000 })
    const before = mebibytesMax()
    for (let round = 0; round < 100; round++) {
      await Promise.all(logs.map(async (log) => { await log.append(entry).committed }))
      const log = logs[round % logs.length]!
      const { bytes, release } = await log.read(round >> 1, { bytesMax: 1_000_000 })
      if (bytes === 0) throw new Error(`nothing was read from ${round >> 1} on, of ${log.startOffset} to ${log.committedEndOffset}`)
      release?.()
      if (round % 10 === 9) await Promise.all(logs.map(async (log) => { await log.flush(); await log.truncateFront(log.endOffset >> 1) }))
    }
    say(String(Math.round(mebibytesMax() - before)))
    await store.close()
  },

  /** As another user, who may have no thread more: what is opened then is refused, what is open goes on. Prints the refusals and the ends of logs. */
  async threads () {
    const options = { layout: RECORD_BATCH_LAYOUT, segmentBytesMax: 10_000, segmentCompression: 'zstd' } as const
    const before = await openNativeStore(`${dir!}/before`, { backend })
    const log = await before.open('without-indexes', options)
    for (let i = 0; i < 100; i++) await log.append(makeEntry({ bytes: 1_000 })).committed
    await before.close()
    for (const name of readdirSync(`${dir!}/before/without-indexes`)) if (name.endsWith('.index')) rmSync(`${dir!}/before/without-indexes/${name}`)
    const stores = [await openNativeStore(`${dir!}/before`, { backend }), await openNativeStore(`${dir!}/shared`, { backend, shared: true })]
    // Node's own threads are there.
    await Promise.all(Array.from({ length: 8 }, async () => await stat(dir!)))
    execFileSync('chmod', ['-R', 'a+rwX', dir!])
    execFileSync('prlimit', ['--pid', String(process.pid), '--nproc=1'])
    process.setgid!(OTHER_USER)
    process.setuid!(OTHER_USER)
    for (const shared of [false, true]) await openNativeStore(`${dir!}/refused-${String(shared)}`, { backend, shared }).catch((error: unknown) => { say((error as Error).message) })
    for (const store of stores) {
      const logs = await Promise.all(['without-indexes', 'b', 'c', 'd', 'e', 'f'].map(async name => await store.open(name, options)))
      for (let i = 0; i < 50; i++) await Promise.all(logs.map(async log => { await log.append(makeEntry({ bytes: 1_000 })).committed }))
      say(logs.map(({ endOffset }) => endOffset).join())
      await store.close()
    }
  },

  /** Garbage collection, with --expose-gc: of Buffers, of logs, and of a store that nobody closed. */
  async collect () {
    const gc = (globalThis as unknown as { gc: () => void }).gc
    const store = await openNativeStore(dir!, { backend, tailBytesMax: 200_000 })
    let log = await store.open('a-0', { layout: RECORD_BATCH_LAYOUT })
    const kept: Array<{ readonly part: Buffer, readonly copy: Buffer }> = []
    for (let i = 0; i < 60; i++) {
      await Promise.all([...Array(10)].map(async () => { await log.append(makeEntry({ bytes: 30_000, fill: i + 1 })).committed }))
      const { parts } = await log.read(Math.floor(log.endOffset * ((i % 10) / 10)), { bytesMax: 100_000 })
      // The same memory twice, and a part of it.
      const again = await log.read(log.endOffset - 1, { bytesMax: 100_000 })
      for (const part of [...parts.slice(0, 2), ...again.parts]) kept.push({ part, copy: Buffer.from(part) })
      if (i % 3 === 0) kept.splice(0, kept.length / 2)
      gc()
    }
    await log.close()
    log = undefined as never
    await store.close()
    gc()
    for (const { part, copy } of kept) if (!part.equals(copy)) throw new Error('a Buffer changed under its reader')
    kept.length = 0
    await openNativeStore(`${dir!}/forgotten`, { backend }).then(() => {})
    gc()
    await new Promise(resolve => setTimeout(resolve, 20))
    gc()
  }
}

await tasks[task!]!()
