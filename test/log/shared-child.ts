/** A process whose threads share a store, and that ends in some way. Arguments: what it does, folder, backend. */
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { RECORD_BATCH_LAYOUT } from '../../src/log/log.js'
import { openStore } from '../../src/log/open-store.js'
import { sharedEntry, type SharedTask } from './shared-worker.js'

const [task, dir, backendName] = process.argv.slice(2) as [string, string, string]
const backend = backendName === 'threads' ? 'threads' : 'io_uring'
const options = { layout: RECORD_BATCH_LAYOUT, segmentBytesMax: 500_000 }
const gc = (globalThis as unknown as { gc: () => void }).gc

function startWorker (workerData: SharedTask): Worker {
  return new Worker(new URL('./shared-worker.js', import.meta.url), { workerData })
}

const tasks: Record<string, () => Promise<void>> = {
  /** Ends while all its threads write and read. */
  async exit () {
    const store = await openStore({ dataDir: dir, backend, shared: true })
    const log = await store.open('common', options)
    const workers = [0, 1, 2].map(who => startWorker({ dir, backend, who }))
    await Promise.all(workers.map(async worker => { await once(worker, 'message') }))
    for (let i = 0; i < 200; i++) log.append(sharedEntry(5, i))
    void log.read(0, { bytesMax: 1_000_000 })
    setImmediate(() => { process.exit(0) })
  },

  /** Garbage collection, with --expose-gc: of Buffers and of logs while another thread appends; then threads without end. */
  async collect () {
    const store = await openStore({ dataDir: dir, backend, shared: true })
    let log = await store.open('common', options)
    const worker = startWorker({ dir, backend, who: 1 })
    await once(worker, 'message')
    const kept: Array<{ readonly part: Buffer, readonly copy: Buffer }> = []
    for (let i = 0; i < 60; i++) {
      await Promise.all(Array.from({ length: 10 }, async (_, j) => { await log.append(sharedEntry(2, i * 10 + j)).committed }))
      const { parts } = await log.read(Math.floor(log.committedEndOffset * ((i % 10) / 10)), { bytesMax: 100_000 })
      for (const part of parts.slice(0, 2)) kept.push({ part, copy: Buffer.from(part) })
      if (i % 3 === 0) kept.splice(0, kept.length / 2)
      void log.read(log.startOffset, { bytesMax: 100_000 })
      gc()
    }
    await log.close()
    log = undefined as never
    gc()
    await store.close()
    gc()
    for (const { part, copy } of kept) if (!part.equals(copy)) throw new Error('a Buffer changed under its reader')
    await worker.terminate()
  },

  /** Threads that come and go, with --expose-gc: neither descriptors nor memory nor threads may be left. */
  async leak () {
    const somePairs = async (): Promise<void> => {
      for (let i = 0; i < 6; i++) {
        await Promise.all([0, 1].map(async who => {
          const worker = startWorker({ dir, backend, who, ...(i % 2 === 0 && { count: 20, leaveOpen: who === 1 }) })
          const exited = once(worker, 'exit')
          await once(worker, 'message')
          if (i % 2 === 1) await worker.terminate()
          await exited
        }))
      }
    }
    const look = (): { files: number, threads: number, bytes: number } => {
      gc()
      return { files: readdirSync('/proc/self/fd').length, threads: readdirSync('/proc/self/task').length, bytes: process.memoryUsage().rss }
    }
    await somePairs()
    const before = look()
    for (let i = 0; i < 3; i++) await somePairs()
    const after = look()
    if (after.files > before.files || after.threads > before.threads || after.bytes > before.bytes + 30_000_000) {
      throw new Error(`before: ${JSON.stringify(before)}, after 18 pairs of threads: ${JSON.stringify(after)}`)
    }
  }
}

await tasks[task]!()
