/**
 * A worker thread that uses a shared store, for shared-store.test.ts and as a process of its own. What it appends follows from its log,
 * from who appended it and from how many that one had appended before, so that every byte can be checked.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { RECORD_BATCH_LAYOUT } from '../../src/log/log.js'
import { openStore } from '../../src/log/open-store.js'
import { makeEntry } from './native-support.js'

export interface SharedTask {
  readonly dir: string
  readonly backend: 'io_uring' | 'threads'
  readonly who: number
  /** How many entries to append to each log; then the worker reports, and ends when it is told. Forever when it is not there. */
  readonly count?: number
  /** Leave logs and store open at the end. */
  readonly leaveOpen?: boolean
  /** Hold the thread for so long after each append: nobody else may have to wait for it. */
  readonly blockMs?: number
}

export interface SharedReport {
  /** Offsets that this worker's entries got in the log that all append to, in order of its appends. */
  readonly offsets: readonly number[]
  readonly sawOthers: boolean
}

/** The timestamp says whose entry it is and which. */
export function sharedEntry (who: number, index: number): Buffer {
  return makeEntry({ bytes: 100 + (who * 977 + index * 37) % 3_000, fill: (who * 61 + index) % 250 + 1, offsets: index % 3 + 1, timestampMs: who * 1_000_000 + index })
}

async function work ({ dir, backend, who, count = Infinity, leaveOpen = false, blockMs = 0 }: SharedTask): Promise<void> {
  const store = await openStore({ dataDir: dir, backend, shared: true })
  const common = await store.open('common', { layout: RECORD_BATCH_LAYOUT, segmentBytesMax: 500_000 })
  const own = await store.open(`own-${who}`, { layout: RECORD_BATCH_LAYOUT, segmentBytesMax: 500_000 })
  const offsets: number[] = []
  let sawOthers = false
  parentPort!.postMessage('ready')
  for (let index = 0; index < count;) {
    const round: Promise<void>[] = []
    for (let i = 0; i < who + 3 && index < count; i++, index++) {
      const entry = sharedEntry(who, index)
      const before = common.endOffset
      const { baseOffset, committed } = common.append(entry)
      if (baseOffset < before) throw new Error(`an entry got offset ${baseOffset} although the log ended at ${before}`)
      if (baseOffset > before) sawOthers = true
      if (common.endOffset < baseOffset + entry.readInt32BE(23) + 1) throw new Error('the log ends before an entry that it has')
      offsets.push(baseOffset)
      round.push(committed.then(() => {
        if (common.committedEndOffset <= baseOffset) throw new Error('an entry is committed behind the committed end')
      }))
      round.push(own.append(entry).committed)
      if (index % 7 === 0) {
        round.push(common.read(Math.floor(common.committedEndOffset * ((index % 10) / 10)), { bytesMax: 100_000, atLeastOneEntry: true }).then(() => {}))
      }
    }
    if (blockMs > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, blockMs)
    await Promise.all(round)
  }
  if (!leaveOpen) {
    await common.close()
    await store.close()
  }
  parentPort!.postMessage({ offsets, sawOthers } satisfies SharedReport)
}

if (parentPort !== null) await work(workerData as SharedTask)
