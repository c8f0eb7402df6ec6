/** Positions of cursors: when they are stored, and what is stored of them. */
import { readdirSync } from 'node:fs'
import { test } from 'tap'
import { openStore } from '../../src/log/open-store.js'
import { FsyncPolicy, Log, ReadConsistency } from '../../src/raw/index.js'
import { makeFolder } from '../log/native-support.js'
import { numbers } from './support.js'

test('a position is stored before its record is handed out, and after every n-th record, as the consistency says', async (t) => {
  const dataDir = makeFolder(t)
  // What a cursor says counts against what its log does.
  const log = await Log.open({ dataDir, consistency: ReadConsistency.AtLeastOnce({ persistEvery: 10 }) })
  const topic = await log.topic('a', { flushPolicy: FsyncPolicy.Os })
  topic.appendBatch(numbers(100))
  await topic.sync()
  const strict = topic.cursor('strict', { consistency: ReadConsistency.StrictlyAtOnce })
  const loose = topic.cursor('loose')
  for (let count = 0; count < 25; count++) await Promise.all([strict.next(), loose.next()])
  // What a copy of the folder says now is what a crash now would leave.
  const copy = makeFolder(t)
  const { cpSync } = await import('node:fs')
  cpSync(dataDir, copy, { recursive: true, filter: (name) => !name.endsWith('.lock') })
  await using crashed = await Log.open({ dataDir: copy })
  const after = await crashed.topic('a')
  t.equal(after.cursor('strict').position, 25)
  t.equal(after.cursor('loose').position, 20)
  await log.close()
})

test('a cursor behind the end of a topic that lost its last records stands at the end', async (t) => {
  const dataDir = makeFolder(t)
  let log = await Log.open({ dataDir })
  let topic = await log.topic('a')
  await topic.appendBatch(numbers(10)).committed
  while (await topic.next() !== null);
  await log.close()
  const { rmSync } = await import('node:fs')
  rmSync(`${dataDir}/a`, { recursive: true })
  log = await Log.open({ dataDir })
  topic = await log.topic('a')
  await topic.appendBatch(numbers(20)).committed
  t.equal((await topic.next())!.offset, 0)
  await log.close()
})

test('the log of cursors stays short, and says the same', async (t) => {
  const { CursorPositions } = await import('../../src/raw/cursor-positions.js')
  const dataDir = makeFolder(t)
  let store = await openStore({ dataDir })
  let positions = await CursorPositions.open(store, Date.now, 2_000)
  for (let round = 0; round < 60; round++) {
    await Promise.all(numbers(10).map(async (cursor) => { await positions.set('topic', cursor, round * 10 + Number(cursor)) }))
    if (round % 10 === 0) await positions.remove('topic', '9')
  }
  const segments = readdirSync(`${dataDir}/.cursors`).filter((name) => name.endsWith('.log'))
  await positions.close()
  await store.close()
  t.ok(segments.every((name) => Number.parseInt(name) > 0), `compacted: ${segments.join(' ')}`)
  store = await openStore({ dataDir })
  positions = await CursorPositions.open(store, Date.now)
  t.same(positions.of('topic').map(({ cursor, offset }) => offset - Number(cursor)), Array(10).fill(590))
  await store.close()
})
