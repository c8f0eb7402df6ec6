/** Raw topics of one folder in several threads: one writer a topic, readers anywhere, cursors that are one thread's at a time. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { test, type Test } from 'tap'
import { loadBinding } from '../../src/binding.js'
import { openStore } from '../../src/log/open-store.js'
import { CursorPositions } from '../../src/raw/cursor-positions.js'
import { Log, ReadConsistency, type BackendChoice, type Topic } from '../../src/raw/index.js'
import { makeFolder } from '../log/native-support.js'
import { PLAIN_NODE, PLAIN_WORKER } from '../support/plain-node.js'
import { mayEndAt, TOPIC_OPTIONS, valueAt, writeRounds, type ThreadTask } from './threads-worker.js'

const loaded = loadBinding()
if ('reason' in loaded) {
  test('no addon here', { skip: loaded.reason }, async () => {})
  process.exit()
}
const BACKENDS: readonly BackendChoice[] = ['io_uring', 'threads']
const FILE = new URL('./threads-worker.js', import.meta.url)

function start (task: ThreadTask): { readonly worker: Worker, readonly message: Promise<unknown>, readonly exited: Promise<unknown> } {
  const worker = new Worker(FILE, { workerData: task, ...PLAIN_WORKER })
  return { worker, message: once(worker, 'message').then(([message]) => message as unknown), exited: once(worker, 'exit') }
}

/** Reads all that can be seen, and checks every byte of it. */
async function check (t: Test, topic: Topic): Promise<number> {
  const end = topic.committedEndOffset
  let count = 0
  let last = -1
  for await (const { offset, value } of topic.replay({ to: end })) {
    if (String(value) !== valueAt(offset) || offset <= last) t.fail(`the record at offset ${offset}, behind ${last}`)
    last = offset
    count++
  }
  return count
}

for (const backend of BACKENDS) {
  test(`${backend}: writers in several threads, one follower for all of them`, async (t) => {
    const dataDir = makeFolder(t)
    await using log = await Log.open({ dataDir, backend, shared: true })
    const names = ['a', 'b', 'c']
    const threads = names.map((topic, index) => start({ dataDir, backend, topic, rounds: 6, leaveOpen: index === 1 }))
    await Promise.all(names.map(async (name) => {
      const topic = await log.topic(name, TOPIC_OPTIONS)
      let next = 0
      for await (const { offset, value } of topic.replay({ follow: true, to: 54 })) {
        if (offset !== next++ || String(value) !== valueAt(offset)) t.fail(`${name}: the record at offset ${offset}`)
        if (!mayEndAt(topic.committedEndOffset)) t.fail(`${name}: a part of a batch is to be seen at ${topic.committedEndOffset}`)
      }
      t.equal(next, 54)
    }))
    await Promise.all(threads.map(({ exited }) => exited))
    // Whose thread has ended is free for others.
    for (const name of names) t.equal((await log.topic(name, TOPIC_OPTIONS)).append('x').offset, 54)
  })

  test(`${backend}: threads are ended in the middle of their batches, and others go on`, async (t) => {
    const dataDir = makeFolder(t)
    for (let round = 0; round < 3; round++) {
      const log = round === 1 ? undefined : await Log.open({ dataDir, backend, shared: true })
      const topic = await log?.topic('a', TOPIC_OPTIONS)
      const { worker, message, exited } = start({ dataDir, backend, topic: `a${round}` })
      const { worker: other, message: otherMessage, exited: otherExited } = start({ dataDir, backend, topic: `b${round}` })
      await Promise.all([message, otherMessage])
      await new Promise((resolve) => setTimeout(resolve, 10 + round * 15))
      void worker.terminate()
      void other.terminate()
      await topic?.append('meanwhile').committed
      await Promise.all([exited, otherExited])
      await using again = log ?? await Log.open({ dataDir, backend, shared: true })
      for (const name of [`a${round}`, `b${round}`]) {
        const left = await again.topic(name, TOPIC_OPTIONS)
        const count = await check(t, left)
        t.ok(count > 0, `${name}: ${count} records of ${left.endOffset} offsets`)
        const { offset, committed } = left.append('next')
        await committed
        t.equal(String((await left.read(offset)).at(0)?.value), 'next')
      }
    }
  })

  test(`${backend}: a process ends while its threads write`, async (t) => {
    const dataDir = makeFolder(t)
    const { status, signal, stderr } = spawnSync('env', [...PLAIN_NODE, fileURLToPath(FILE), dataDir, backend], { encoding: 'utf8', timeout: 120_000 })
    t.same({ status, signal, stderr }, { status: 0, signal: null, stderr: '' })
    await using log = await Log.open({ dataDir, backend })
    for (const name of ['a', 'b']) t.ok(await check(t, await log.topic(name, TOPIC_OPTIONS)) > 0)
  })

  test(`${backend}: a cursor goes from thread to thread, and no record is handed out twice`, async (t) => {
    const dataDir = makeFolder(t)
    await using log = await Log.open({ dataDir, backend, shared: true })
    const topic = await log.topic('jobs', TOPIC_OPTIONS)
    topic.append(valueAt(0))
    await writeRounds(topic, 2)
    const seen: number[] = []
    for (const count of [3, 4, 5]) {
      const { message, exited } = start({ dataDir, backend, topic: 'jobs', cursor: { name: 'worker', count }, leaveOpen: count === 4 })
      seen.push(...await message as number[])
      await exited
    }
    t.same(seen, Array.from({ length: 12 }, (_, index) => index))
    t.equal((await topic.next({ cursor: 'worker' }))!.offset, 12)
    t.equal((await topic.next({ cursor: 'mine' }))!.offset, 0)
  })
}

test('what a thread may do only alone, and what the error says', async (t) => {
  const dataDir = makeFolder(t)
  // Two users of the store are the same as two threads of it.
  const one = await Log.open({ dataDir, shared: true })
  await using two = await Log.open({ dataDir, shared: true })
  await t.rejects(Log.open({ dataDir }), { code: 'locked' }, 'who does not share')
  await t.rejects(Log.open({ dataDir: makeFolder(t), backend: 'node:fs', shared: true }), { code: 'denied', message: /only the native engine/ })

  const first = await one.topic('a')
  await t.rejects(Log.open({ dataDir, shared: true, tailBytesMax: 1_000_000 }), { code: 'locked', message: /other limits/ })
  await t.rejects(two.topic('a', { segmentBytesMax: 5_000 }), { code: 'locked', message: /other settings/ })
  const second = await two.topic('a')
  await first.append('0').committed
  t.throws(() => second.append('1'), { code: 'locked', message: /another thread appends to the topic 'a': one thread at a time does, until it closes the topic or ends/ })
  t.throws(() => second.appendBatch(['1']), { code: 'locked' })
  t.same([second.endOffset, second.committedEndOffset, second.startOffset], [1, 1, 0])
  await second.sync()
  await first.close()
  const { offset, committed } = second.append('1')
  t.equal(offset, 1)
  await committed
  const again = await one.topic('a')
  t.throws(() => again.append('2'), { code: 'locked' })

  t.equal(String((await again.next({ cursor: 'c' }))!.value), '0')
  await t.rejects(second.next({ cursor: 'c' }), { code: 'locked', message: /another thread has the cursor 'c' of the topic 'a'/ })
  await t.rejects(second.removeCursor('c'), { code: 'locked' })
  t.throws(() => second.cursor('c'), { code: 'locked' })
  t.throws(() => again.cursor('d', { consistency: { atLeastOnce: { persistEvery: 0 } } }), { code: 'malformed' })
  t.equal((await second.next({ cursor: 'd' }))!.offset, 0, 'what was refused claims nothing')
  const loose = again.cursor('loose', { consistency: ReadConsistency.AtLeastOnce({ persistEvery: 100 }) })
  await loose.next()
  await again.close()
  t.equal((await second.next({ cursor: 'c' }))!.offset, 1)
  t.equal((await second.next({ cursor: 'loose' }))!.offset, 1, 'closing the topic stores where it stands')
  await second.truncateFront(1)
  const last = await one.topic('a')
  t.equal(last.startOffset, 1)

  // Removed for all, with its cursors.
  const held = last.cursor('held', { consistency: ReadConsistency.AtLeastOnce({ persistEvery: 100 }) })
  await held.next()
  await two.removeTopic('a')
  await t.rejects(last.read(1), { code: 'closed' })
  await last.close().catch(() => {})
  await one.close()
  const fresh = await two.topic('a')
  t.equal(fresh.endOffset, 0)
  t.same(fresh.cursorNames(), [])
})

test('a thread closes while its reads are under way, and others have the store open', async (t) => {
  const dataDir = makeFolder(t)
  await using log = await Log.open({ dataDir, shared: true, flushPolicy: { kind: 'none' } })
  const topic = await log.topic('a')
  for (let batch = 0; batch < 80; batch++) await topic.appendBatch(Array.from({ length: 1_000 }, () => Buffer.alloc(1_000))).committed
  await log.sync()
  for (let round = 0; round < 5; round++) {
    const other = await Log.open({ dataDir, shared: true, flushPolicy: { kind: 'none' } })
    const same = await other.topic('a')
    // From the second read in order on, the reader has one under way that nobody waits for.
    for (let offset = 0; offset < 6_000 + round * 1_000;) offset = (await same.read(offset)).nextOffset
    await other.close()
  }
})

test('threads make the log of cursors short, and it says the same', async (t) => {
  const dataDir = makeFolder(t)
  const stores = await Promise.all([1, 2, 3].map(async () => await openStore({ dataDir, shared: true })))
  const users = await Promise.all(stores.map(async (store) => await CursorPositions.open(store, Date.now, 3_000)))
  for (let round = 0; round < 40; round++) {
    await Promise.all(users.map(async (positions, user) => {
      for (const cursor of ['x', 'y']) await positions.set('topic', `${user}${cursor}`, round)
      if (round % 5 === 0) await positions.set('topic', `${user}gone`, round)
      if (round % 5 === 1) await positions.remove('topic', `${user}gone`)
    }))
  }
  const expected = [0, 1, 2].flatMap((user) => ['x', 'y'].map((cursor) => `${user}${cursor} 39`))
  const told = (positions: CursorPositions): string[] => positions.of('topic').map(({ cursor, offset }) => `${cursor} ${offset}`).sort()
  for (const positions of users) {
    await positions.refresh()
    t.same(told(positions), expected)
    await positions.close()
  }
  t.ok(readdirSync(`${dataDir}/.cursors`).every((name) => name === 'start-offset' || Number.parseInt(name) > 0), 'its first segment is gone')
  for (const store of stores) await store.close()
  const store = await openStore({ dataDir })
  const positions = await CursorPositions.open(store, Date.now)
  t.same(told(positions), expected)
  await positions.close()
  await store.close()
})

test('readers of another thread go on at the start when the writer moves it past them', async (t) => {
  const dataDir = makeFolder(t)
  await using one = await Log.open({ dataDir, shared: true })
  await using two = await Log.open({ dataDir, shared: true })
  const options = { segmentBytesMax: 20_000 }
  const writer = await one.topic('a', options)
  const reader = await two.topic('a', options)
  let truncating = Promise.resolve()
  const seen: number[] = []
  const reading = (async () => {
    for await (const { offset } of reader.replay({ follow: true, to: 4_000 })) {
      seen.push(offset)
      if (seen.length % 20 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
  })()
  for (let batch = 0; batch < 200; batch++) {
    await writer.appendBatch(Array.from({ length: 20 }, () => Buffer.alloc(500))).committed
    if (batch % 10 === 9) truncating = writer.truncateFront(writer.endOffset - 100)
  }
  await truncating
  await reading
  t.ok(seen.every((offset, index) => index === 0 || offset > seen[index - 1]!))
  t.equal(seen.at(-1), 3_999)
})
