/** A process, or a thread of it, that appends to many stores and ends in the same turn of the event loop. Arguments: a folder, how. */
import { once } from 'node:events'
import { join } from 'node:path'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { RECORD_BATCH_LAYOUT, type BackendChoice, type FlushPolicy } from '../../src/log/log.js'
import { openStore } from '../../src/log/open-store.js'
import { Log } from '../../src/raw/index.js'
import { makeEntry } from './native-support.js'

export type End = 'exit' | 'throw' | 'exit-listener' | 'worker-ends' | 'worker-exits' | 'worker-is-terminated' | 'beside-a-worker'

export interface ExitStore {
  readonly backend: BackendChoice
  readonly flushPolicy: FlushPolicy
  readonly shared: boolean
  /** A topic instead of logs. */
  readonly raw: boolean
}

/** Its time does not come before the end. */
const INTERVAL: FlushPolicy = { kind: 'interval', intervalMs: 60_000 }

export const STORES: readonly ExitStore[] = [
  { backend: 'io_uring', flushPolicy: { kind: 'none' }, shared: false, raw: false },
  { backend: 'io_uring', flushPolicy: { kind: 'none' }, shared: true, raw: false },
  { backend: 'threads', flushPolicy: INTERVAL, shared: false, raw: false },
  { backend: 'io_uring', flushPolicy: INTERVAL, shared: true, raw: false },
  { backend: 'io_uring-buffered', flushPolicy: { kind: 'bytes', bytes: 1e9 }, shared: false, raw: false },
  { backend: 'mmap', flushPolicy: { kind: 'none' }, shared: true, raw: false },
  { backend: 'io_uring', flushPolicy: { kind: 'each' }, shared: false, raw: false },
  { backend: 'io_uring', flushPolicy: { kind: 'none' }, shared: false, raw: true },
  { backend: 'threads', flushPolicy: INTERVAL, shared: true, raw: true }
]
export const ENTRY_COUNT = 100
export const LOG_NAMES = ['a', 'b', 'c']
/** Of a batch of a topic, which is written in parts. */
export const BATCH_COUNT = 60
const BATCH_VALUE = Buffer.alloc(100_000, 1)

const [dir, how] = (isMainThread ? process.argv.slice(2) : workerData) as [string?, End?]
if (dir !== undefined) await run(dir, how!)

async function run (dir: string, how: End): Promise<void> {
  if (isMainThread && how.includes('worker')) return await runBesideWorker(dir, how)
  const appends = await Promise.all(STORES.map(async (store, index) => await (store.raw ? openTopic : openLogs)(join(dir, String(index)), store)))
  const append = (): void => { for (const each of appends) each() }
  if (how === 'exit-listener') return void process.once('exit', append)
  append()
  if (how === 'throw') throw new Error('as was asked for')
  if (how === 'exit' || how === 'worker-exits') process.exit(0)
  if (how === 'worker-ends') return
  // This thread comes to no end of its turn.
  parentPort!.postMessage('appended')
  for (;;);
}

async function openLogs (dataDir: string, options: ExitStore): Promise<() => void> {
  const store = await openStore({ dataDir, ...options })
  const logs = await Promise.all(LOG_NAMES.map(async (name) => await store.open(name, { layout: RECORD_BATCH_LAYOUT })))
  return () => {
    for (let id = 0; id < ENTRY_COUNT; id++) for (const log of logs) log.append(makeEntry({ bytes: 100 + id * 50 }))
  }
}

async function openTopic (dataDir: string, options: ExitStore): Promise<() => void> {
  const log = await Log.open({ dataDir, ...options })
  const topic = await log.topic('topic')
  return () => {
    for (let id = 0; id < ENTRY_COUNT; id++) topic.append(`value ${id}`)
    topic.appendBatch(Array.from({ length: BATCH_COUNT }, () => BATCH_VALUE))
    topic.append('behind the batch')
  }
}

/** The main thread has a shared store open, too. */
async function runBesideWorker (dir: string, how: End): Promise<void> {
  const store = await openStore({ dataDir: join(dir, '1'), ...STORES[1]! })
  const worker = new Worker(new URL(import.meta.url), { workerData: [dir, how] })
  const exited = once(worker, 'exit')
  if (how === 'worker-is-terminated' || how === 'beside-a-worker') await once(worker, 'message')
  if (how === 'beside-a-worker') process.exit(0)
  if (how === 'worker-is-terminated') void worker.terminate()
  await exited
  await store.close()
}
