/** One store, several worker threads: order, nothing lost, every byte right, whoever ends how and when. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { loadBinding } from '../../src/binding.js'
import { RECORD_BATCH_LAYOUT, type Log, type LogStore } from '../../src/log/log.js'
import { openStore } from '../../src/log/open-store.js'
import { testFolder } from '../contract/entries.js'
import { PLAIN_NODE, PLAIN_WORKER } from '../support/plain-node.js'
import { makeEntry, readAll, stamped } from './native-support.js'
import { sharedEntry, type SharedReport, type SharedTask } from './shared-worker.js'

const layout = RECORD_BATCH_LAYOUT
const options = { layout, segmentBytesMax: 500_000 }
const WORKERS = 4

t.setTimeout(240_000)

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
  const worker = new Worker(new URL('./shared-worker.js', import.meta.url), { workerData: task, ...PLAIN_WORKER })
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

/** Which entries a log has from an offset on, in order; throws unless every byte is as it was appended. */
async function entriesOf (log: Log, from = 0): Promise<Found[]> {
  const bytes = await readAll(log, 1024 * 1024, from)
  const found: Found[] = []
  let baseOffset = from
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
    const dir = testFolder(t, backend === 'io_uring' ? 'disk' : 'memory')
    const count = 150
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
    // A machine that is busy with other things may run them one after the other.
    if (!reports.some(({ sawOthers }) => sawOthers)) t.comment('the workers did not overlap this time')
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

for (const backend of ['io_uring', 'threads'] as const) {
  t.test(`workers are ended at any moment, and others go on, ${backend}`, async t => {
    const dir = testFolder(t, backend === 'io_uring' ? 'disk' : 'memory')
    let store: LogStore | undefined = await openStore({ dataDir: dir, backend, shared: true })
    let common = await store.open('common', options)
    let checkedEndOffset = 0
    for (let round = 0; round < 4; round++) {
      // In every other round nobody but the workers has the store: it goes with the last of them.
      if (round % 2 === 1) {
        await store!.close()
        store = undefined
      }
      const workers = Array.from({ length: 3 }, (_, who) => startWorker({ dir, backend, who }))
      await Promise.all(workers.map(async ({ worker }) => { await once(worker, 'message') }))
      await sleep(round * 5)
      let endOffset = 0
      for (const { worker, exited } of workers) {
        void worker.terminate()
        if (store !== undefined) {
          const { baseOffset, committed } = common.append(sharedEntry(7, round))
          await committed
          endOffset = Math.max(endOffset, baseOffset + 1)
        }
        await exited
      }
      store ??= await openStore({ dataDir: dir, backend, shared: true })
      if (round % 2 === 1) common = await store.open('common', options)
      t.ok(common.endOffset >= endOffset)
      t.ok((await entriesOf(common, checkedEndOffset)).length > 0, `round ${round}: every byte is right`)
      checkedEndOffset = common.endOffset
    }
    await store!.close()
  })

  t.test(`a process ends with writes of several threads under way, ${backend}`, async t => {
    const dir = testFolder(t, backend === 'io_uring' ? 'disk' : 'memory')
    for (const task of backend === 'io_uring' ? ['exit', 'collect', 'leak'] : ['exit', 'collect']) {
      const { status, signal, stderr } = spawnSync('env', [...PLAIN_NODE, '--expose-gc', fileURLToPath(new URL('./shared-child.js', import.meta.url)), task, join(dir, task), backend], { encoding: 'utf8', timeout: 120_000 })
      t.strictSame({ status, signal, stderr }, { status: 0, signal: null, stderr: '' }, task)
      const store = await openStore({ dataDir: join(dir, task), backend })
      const log = await store.open('common', options)
      t.ok((await entriesOf(log)).length > 0)
      await store.close()
    }
  })
}

t.test('nobody waits for a thread that does something else', async t => {
  const dir = testFolder(t, 'memory')
  const store = await openStore({ dataDir: dir, shared: true })
  const common = await store.open('common', options)
  const { worker, exited } = startWorker({ dir, backend: 'io_uring', who: 0, blockMs: 20_000 })
  await once(worker, 'message')
  await sleep(30)
  const startMs = performance.now()
  for (let i = 0; i < 20; i++) {
    await common.append(sharedEntry(1, i)).committed
    await common.read(common.committedEndOffset - 1, { bytesMax: 10_000 })
  }
  t.ok(performance.now() - startMs < 15_000, '20 durable appends while the other thread holds still')
  void worker.terminate()
  await exited
  await store.close()
})

t.test('what is refused', async t => {
  const dir = testFolder(t, 'memory')
  const store = await openStore({ dataDir: dir, shared: true })
  const other = await openStore({ dataDir: `${dir}/../${dir.split('/').at(-1)!}`, shared: true })
  await t.rejects(openStore({ dataDir: dir }), { code: 'locked' }, 'who does not share')
  await t.rejects(openStore({ dataDir: dir, shared: true, uncoveredBytesMax: 1 }), { code: 'locked', message: /other limits/ })
  await t.rejects(openStore({ dataDir: dir, backend: 'node:fs', shared: true }), { code: 'denied', message: /only the native engine/ })

  const log = await store.open('a', options)
  await t.rejects(store.open('a', options), { code: 'locked' }, 'twice in one thread')
  await t.rejects(other.open('a', { layout }), { code: 'locked', message: /other settings/ })
  await t.rejects(other.open('a', { ...options, flushPolicy: { kind: 'none' } }), { code: 'locked', message: /other settings/ })
  const same = await other.open('a', options)
  await Promise.all([log.append(makeEntry()).committed, same.append(makeEntry({ offsets: 5 })).committed])
  t.strictSame([log.endOffset, same.committedEndOffset, log.bytes, same.bytes], [6, 6, 400, 400])
  await log.truncateFront(1)
  t.equal(same.startOffset, 1)
  await log.close()
  t.throws(() => log.append(makeEntry()), { code: 'closed' })
  await t.rejects(log.read(1, { bytesMax: 1 }), { code: 'closed' })
  t.equal(same.append(makeEntry()).baseOffset, 6, 'the others go on')
  // Removed by one while another one has it open and appends.
  const { committed } = same.append(makeEntry())
  await store.remove('a')
  await committed
  t.throws(() => same.append(makeEntry()), { code: 'closed' })
  await same.close()
  t.equal((await other.open('a', options)).endOffset, 0, 'a new log under the old name')
  await store.close()
  await store.close()
  t.throws(() => log.append(makeEntry()), { code: 'closed' })
  await other.close()
  await (await openStore({ dataDir: dir })).close()
})
