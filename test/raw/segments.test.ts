/** Segments of raw topics: when they end, what they become, when they go, also under readers. */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'tap'
import { openStore } from '../../src/log/open-store.js'
import { FsyncSchedule, Log, type Topic } from '../../src/raw/index.js'
import { lackOf } from '../contract/compression-contract.js'
import { makeFolder } from '../log/native-support.js'
import { all, BACKENDS, numbers } from './support.js'

for (const backend of BACKENDS) {
  test(`${backend}: segments are compressed in the background, and each is verified from its file`, async (t) => {
    const lack = await lackOf('zstd', await openStore({ dataDir: makeFolder(t), backend }))
    if (lack !== false) return void t.comment(lack)
    const dataDir = makeFolder(t)
    await using log = await Log.open({ dataDir, backend, segmentEntriesMax: 100, segmentCompression: 'zstd' })
    const topics = [await log.topic('a'), await log.topic('b', { segmentCompression: 'none' })]
    for (const topic of topics) {
      for (let segment = 0; segment < 4; segment++) await topic.appendBatch(numbers(100).map((text) => text.repeat(100))).committed
    }
    const [compressed, plain] = topics as [Topic, Topic]
    const isCompressed = (topic: Topic, id: number): boolean => topic.listSegments().find((segment) => segment.id === id)!.compression === 'zstd'
    while (!isCompressed(compressed, 200)) await new Promise((resolve) => setTimeout(resolve, 5))
    t.notOk(isCompressed(plain, 200), 'a topic may say something else')
    for (const topic of topics) {
      t.match(await topic.verifySegment(200), { baseOffset: 200, endOffset: 300, checksum: 'right', damage: null })
      t.equal((await all(topic.readSegment(200)))[99]!.offset, 299)
      t.match(await topic.verifySegment(300), { endOffset: 400, damage: null }, 'the last one, too')
      await t.rejects(topic.verifySegment(250), { code: 'out-of-range', message: `the topic '${topic.name}' has no segment 250` })
    }
    for (const [topic, end] of [[compressed, '.log.zst'], [plain, '.log']] as const) {
      const file = path.join(dataDir, topic.name, `${'200'.padStart(20, '0')}${end}`)
      const bytes = readFileSync(file)
      bytes[bytes.length >> 1]! ^= 1
      writeFileSync(file, bytes)
      t.match(await topic.verifySegment(200), { damage: { file, what: String } })
      t.match(await topic.verifySegment(100), { damage: null }, 'the others are not concerned')
    }
  })
}

for (const backend of BACKENDS) {
  test(`${backend}: readers go on at the start when it moves past them`, async (t) => {
    await using log = await Log.open({ dataDir: makeFolder(t), backend, segmentBytesMax: 50_000, flushPolicy: FsyncSchedule.NoFsync })
    const topic = await log.topic('a')
    for (let batch = 0; batch < 100; batch++) topic.appendBatch(numbers(20).map(() => Buffer.alloc(500)))
    await topic.sync()
    const seen: number[] = []
    let truncated: Promise<void> | undefined
    for await (const { offset } of topic.replay()) {
      seen.push(offset)
      if (seen.length === 150) truncated = topic.truncateFront(1_500)
      if (seen.length % 50 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await truncated
    t.ok(seen.every((offset, index) => index === 0 || offset > seen[index - 1]!))
    t.same(seen.slice(-500), Array.from({ length: 500 }, (_, index) => 1_500 + index))
    t.equal((await topic.next())!.offset, 1_500)
  })
}

for (const backend of BACKENDS) {
  test(`${backend}: a segment ends by age, which goes on when the log is opened again`, async (t) => {
    const options = { dataDir: makeFolder(t), backend }
    let beganMs = 0
    for (const [index, segmentAgeMsMax] of [60_000, 60_000, 40].entries()) {
      await using log = await Log.open({ ...options, segmentAgeMsMax })
      const topic = await log.topic('a')
      if (index === 2) while (Date.now() - beganMs < 50) await new Promise((resolve) => setTimeout(resolve, 5))
      await topic.appendBatch(['x', 'y']).committed
      if (index === 0) beganMs = Date.now()
      t.same(topic.listSegments().map(({ id, endOffset }) => [id, endOffset]).slice(0, 2), [[[0, 2]], [[0, 4]], [[0, 4], [4, 6]]][index])
    }
  })
}

test('a segment ends by records also when they come one by one', async (t) => {
  await using log = await Log.open({ dataDir: makeFolder(t) })
  const counted = await log.topic('counted', { segmentEntriesMax: 7 })
  for (const text of numbers(20)) counted.append(text)
  await counted.sync()
  t.same(counted.listSegments().map(({ endOffset }) => endOffset), [7, 14, 20])
})

test('a topic keeps so many bytes, or what is young enough, by whole segments', async (t) => {
  let nowMs = 1_000
  await using log = await Log.open({ dataDir: makeFolder(t), clock: { now: () => nowMs } })
  const topic = await log.topic('a', { segmentEntriesMax: 10 })
  for (let segment = 0; segment < 5; segment++) {
    await topic.appendBatch(numbers(10).map(() => Buffer.alloc(1_000))).committed
    nowMs += 100
  }
  t.equal(await topic.retain(), 0)
  t.equal(await topic.retain({ bytesMax: 45_000 }), 10)
  t.equal(await topic.retain({ ageMsMax: 300 }), 20)
  t.equal(await topic.retain({ bytesMax: 0, ageMsMax: 0 }), 40, 'the last segment stays')
  t.same(topic.listSegments().map(({ id }) => id), [40])
  await t.rejects(topic.retain({ bytesMax: -1 }), { code: 'malformed', message: /bytesMax/ })
})
