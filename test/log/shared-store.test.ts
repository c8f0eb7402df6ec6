/** One store, several worker threads: order, nothing lost, every byte right, whoever ends how and when. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { loadBinding } from '../../src/binding.js'
import { RECORD_BATCH_LAYOUT, type Log } from '../../src/log/log.js'
import { openStore } from '../../src/log/open-store.js'
import { makeFolder, readAll, stamped } from './native-support.js'
import { sharedEntry, type SharedReport, type SharedTask } from './shared-worker.js'

const layout = RECORD_BATCH_LAYOUT
const options = { layout, segmentBytesMax: 500_000 }
const WORKERS = 4

const loaded = loadBinding()
if ('reason' in loaded) {
  t.pass('no addon here', { skip: loaded.reason })
  process.exit()
}

interface Started {
  readonly worker: Worker
  readonly exited: Promise<unknown>
}

function startWorker (task: SharedTask): Started {
  const worker = new Worker(new URL('./shared-worker.js', import.meta.url), { workerData: task })
  return { worker, exited: once(worker, 'exit') }
}

async function reportOf ({ worker }: Started): Promise<SharedReport> {
  for (;;) {
    const [message] = await once(worker, 'message') as [SharedReport | 'ready']
    if (message !== 'ready') return message
  }
}

interface Found {
  readonly who: number
  readonly index: number
  readonly baseOffset: number
}

/** Which entries a log has, in order; throws unless every byte is as it was appended. */
async function entriesOf (log: Log): Promise<Found[]> {
  const bytes = await readAll(log)
  const found: Found[] = []
  let baseOffset = log.startOffset
  for (let at = 0; at < bytes.length;) {
    const length = bytes.readInt32BE(at + 8) + 12
    const timestampMs = Number(bytes.readBigInt64BE(at + 35))
    const who = Math.floor(timestampMs / 1_000_000)
    const index = timestampMs % 1_000_000
    if (!stamped(sharedEntry(who, index), baseOffset).equals(bytes.subarray(at, at + length))) throw new Error(`${log.name}: the entry at offset ${baseOffset} is not as it was appended`)
    found.push({ who, index, baseOffset })
    baseOffset += index % 3 + 1
    at += length
  }
  if (baseOffset !== log.endOffset) throw new Error(`${log.name} ends at ${log.endOffset}, its entries at ${baseOffset}`)
  return found
}

for (const backend of ['io_uring', 'threads'] as const) {
  t.test(`several threads append to one log and to their own, ${backend}`, async t => {
    const dir = makeFolder(t)
    const count = 400
    const store = await openStore({ dataDir: dir, backend, shared: true })
    const common = await store.open('common', options)
    const workers = Array.from({ length: WORKERS }, (_, who) => startWorker({ dir, backend, who, count, leaveOpen: who % 2 === 0 }))
    const reports = await Promise.all(workers.map(reportOf))
    const entries = await entriesOf(common)
    t.equal(entries.length, WORKERS * count)
    for (const [who, { offsets }] of reports.entries()) {
      const mine = entries.filter(entry => entry.who === who)
      t.strictSame(mine.map(({ index }) => index), [...Array(count).keys()], `worker ${who}: all, in order`)
      t.strictSame(mine.map(({ baseOffset }) => baseOffset), offsets, `worker ${who}: at the offsets that it was told`)
    }
    t.ok(reports.some(({ sawOthers }) => sawOthers), 'they were at it at the same time')
    await Promise.all(workers.map(({ exited }) => exited))
    for (let who = 0; who < WORKERS; who++) {
      const own = await store.open(`own-${who}`, options)
      t.equal((await entriesOf(own)).length, count)
    }
    await store.close()
    const again = await openStore({ dataDir: dir, backend })
    t.equal((await entriesOf(await again.open('common', options))).length, WORKERS * count, 'and in the next life')
    await again.close()
  })
}
