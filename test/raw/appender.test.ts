/** Gathering the records of a turn: how much memory it takes, and that they arrive as they were. */
import { test } from 'tap'
import { crc32c } from '../../src/crc32c.js'
import { MemoryLogStore } from '../../src/log/memory-log.js'
import { Appender } from '../../src/raw/appender.js'
import { ENTRY_HEADER_BYTES, RAW_ENTRY_LAYOUT } from '../../src/raw/entry.js'
import { Log, type Topic } from '../../src/raw/index.js'
import { prepareRecord } from '../../src/raw/record.js'
import { SegmentLimits } from '../../src/raw/segment-limits.js'
import { makeFolder } from '../log/native-support.js'
import { all, BACKENDS } from './support.js'

/** Where an entry needs the next larger buffer, and where it ends. */
const BOUNDARIES = [4 * 1024, 16 * 1024, 64 * 1024, 256 * 1024]
const ENTRY_BYTES = 256 * 1024

let made = 0
/** No two of them are alike, nor are two parts of one. */
function makeValue (bytes: number): Buffer {
  const value = Buffer.alloc(bytes)
  let state = ++made
  for (let at = 0; at < bytes; at++) {
    state = Math.imul(state, 1_664_525) + 1_013_904_223 | 0
    value[at] = state >>> 24
  }
  return value
}

/** A value whose record has so many bytes. */
const makeRecord = (recordBytes: number): Buffer => makeValue(recordBytes - prepareRecord('').bytes)

type Given = Buffer | { readonly key: string | Buffer | null, readonly value: Buffer }

/** What is to be seen of a record, in a form whose differences can be read. */
function contentOf (given: Given): readonly [key: string | null, valueBytes: number, checksum: number] {
  const { key = null, value } = given instanceof Uint8Array ? { value: given } : given
  return [key === null ? null : String(key), value!.length, crc32c(value!)]
}

async function readBack (topic: Topic, from = 0): Promise<ReadonlyArray<ReturnType<typeof contentOf>>> {
  return (await all(topic.replay({ from }))).map(({ key, value }) => contentOf({ key, value: value! }))
}

test('a thousand topics that gather in one turn take memory in proportion to what was appended', async (t) => {
  await using log = await Log.inMemory()
  for (const bytes of [1_000, 10_000, 50_000]) {
    const topics = await Promise.all(Array.from({ length: 1_000 }, async (_, index) => await log.topic(`${bytes} bytes, ${index}`)))
    const value = makeValue(bytes)
    const before = process.memoryUsage().arrayBuffers
    const appended = topics.map((topic) => topic.append(value))
    const taken = process.memoryUsage().arrayBuffers - before
    t.ok(taken <= topics.length * Math.max(4_096, 4 * bytes), `${bytes} bytes each: ${Math.ceil(taken / topics.length)} taken for each`)
    await Promise.all(appended.map(({ committed }) => committed))
    await Promise.all(topics.map(async (topic) => { await topic.close() }))
  }
})

test('an entry behind a large one does not take as much', async (t) => {
  await using log = await Log.inMemory()
  const topic = await log.topic('large')
  topic.append(Buffer.alloc(10 * ENTRY_BYTES))
  await topic.sync()
  const before = process.memoryUsage().arrayBuffers
  topic.append('small')
  t.ok(process.memoryUsage().arrayBuffers - before <= ENTRY_BYTES)
})

test('an entry that outgrows its buffer is one entry, with every byte as it was', async (t) => {
  await using log = await Log.inMemory()
  const keyed = (recordBytes: number): Given => ({ key: 'key', value: makeRecord(recordBytes - 4 - 3) })
  for (const boundary of BOUNDARIES) {
    for (const over of [-1, 0, 1]) {
      const left = boundary + over - ENTRY_HEADER_BYTES
      const loads: Readonly<Record<string, Array<Given | Given[]>>> = {
        'one record': [makeRecord(left)],
        'a small one and a large one': [makeRecord(100), makeRecord(left - 100)],
        'a large one and a small one': [makeRecord(left - 5), makeRecord(5)],
        'records with keys': [keyed(1_000), keyed(left - 1_000)],
        'a batch of values behind a record': [makeRecord(100), [makeRecord(1_000), makeRecord(left - 1_100)]],
        'a batch of records behind a batch': [[keyed(500), keyed(500)], [makeRecord(1_000), keyed(left - 2_000)]],
        'very many': [...Array.from({ length: Math.floor(left / 50) - 1 }, () => makeRecord(50)), makeRecord(50 + left % 50)]
      }
      for (const [what, load] of Object.entries(loads)) {
        const topic = await log.topic(`${boundary} ${over} ${what}`)
        const neighbour = await log.topic(`beside ${topic.name}`)
        // The neighbour gathers in what an entry leaves behind when it moves.
        const beside = load.map((given) => {
          if (Array.isArray(given)) topic.appendBatch(given)
          else topic.append(given)
          const value = makeRecord(3_000)
          neighbour.append(value)
          return value
        })
        await Promise.all([topic.sync(), neighbour.sync()])
        const name = `${what}, ${left} bytes of records`
        t.same(await readBack(topic), load.flat().map(contentOf), name)
        t.same(await readBack(neighbour), beside.map(contentOf), `beside ${name}`)
        const entryCount = boundary + over <= ENTRY_BYTES || load.length === 1 ? 1 : 2
        t.equal(topic.bytes, left + entryCount * ENTRY_HEADER_BYTES, `${entryCount} for ${name}`)
      }
    }
  }
})

test('entries of all sizes follow each other', async (t) => {
  await using log = await Log.inMemory()
  const topics = await Promise.all(['a', 'b', 'c'].map(async (name) => ({ topic: await log.topic(name), given: [] as Buffer[] })))
  for (let turn = 0; turn < 60; turn++) {
    for (let round = 0; round < turn % 7 * 4 + 1; round++) {
      for (const [index, { topic, given }] of topics.entries()) {
        const value = makeValue((turn * 7_919 + round * 104_729) * (index + 1) % (turn % 5 === 0 ? 300_000 : 6_000))
        given.push(value)
        topic.append(value)
      }
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
  for (const { topic, given } of topics) t.same(await readBack(topic), given.map(contentOf))
})

test('what outgrew its buffer is handed over when the process exits in the same turn', async (t) => {
  const log = await new MemoryLogStore().open('log', { layout: RAW_ENTRY_LAYOUT })
  const appender = new Appender('topic', log, {
    flushPolicy: { kind: 'none' }, recordBytesMax: 2 ** 20, pendingBytesMax: 2 ** 30, segmentBytesMax: 2 ** 30, limits: new SegmentLimits(log, {}), now: () => 1, onVisible: () => {}
  })
  const values = Array.from({ length: 200 }, (_, index) => makeValue(index * 10))
  for (const value of values) appender.append(value)
  t.equal(log.endOffset, 0)
  appender.handOverAtExit()
  t.equal(log.endOffset, values.length)
  const { parts } = await log.read(0, { bytesMax: Infinity })
  t.ok(Buffer.concat(parts).subarray(ENTRY_HEADER_BYTES).equals(Buffer.concat(values.flatMap((value) => [Buffer.from([0]), lengthOf(value), value]))))
  await appender.close()
})

function lengthOf (value: Buffer): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value.length)
  return bytes
}

for (const backend of BACKENDS) {
  test(`${backend}: what waits behind a batch in parts keeps its memory`, async (t) => {
    await using log = await Log.open({ dataDir: makeFolder(t), backend, flushPolicy: { kind: 'none' } })
    const topic = await log.topic('busy')
    const neighbour = await log.topic('beside')
    // More than may be on its way: the batch waits for the disk, and takes several turns.
    const batch = Array.from({ length: 40 }, () => Buffer.alloc(2_000_000))
    const { committed } = topic.appendBatch(batch)
    const [behind, beside]: [Buffer[], Buffer[]] = [[], []]
    for (const bytes of [10, 3_000, 10_000, 60_000, 200_000, 20]) {
      for (const [to, given] of [[topic, behind], [neighbour, beside]] as const) {
        for (const value of [makeValue(bytes), makeValue(bytes)]) {
          given.push(value)
          to.append(value)
        }
      }
      await Promise.resolve().then(() => {})
      t.equal(topic.committedEndOffset, 0, 'the batch is under way')
    }
    await committed
    await Promise.all([topic.sync(), neighbour.sync()])
    t.same(await readBack(topic, batch.length), behind.map(contentOf))
    t.same(await readBack(neighbour), beside.map(contentOf))
  })
}
