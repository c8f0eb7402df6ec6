/**
 * Any sequence of calls does what a plain array would: appends, batches of one and of many entries, reads, cursors, truncation, time,
 * clean restarts. `HAULOUT_SEED` replays one.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { test } from 'tap'
import { FsyncSchedule, Log, type BackendChoice, type LogRecord, type RecordBatch, type RecordInput, type Topic } from '../../src/raw/index.js'
import { makeFolder } from '../log/native-support.js'

interface ModelRecord {
  readonly key: string | null
  readonly value: string | null
  readonly expiresAtMs: number
}

interface Model {
  readonly records: ModelRecord[]
  start: number
  readonly cursors: Map<string, number>
  nowMs: number
}

interface Real {
  readonly dataDir: string
  readonly backend: BackendChoice
  log: Log
  topic: Topic
  readonly clock: { now: () => number }
}

type Command = fc.AsyncCommand<Model, Real>

const SEGMENT_BYTES_MAX = 8_000

async function open (dataDir: string, backend: BackendChoice, clock: { now: () => number }): Promise<Pick<Real, 'log' | 'topic'>> {
  const log = await Log.open({ dataDir, backend, clock, segmentBytesMax: SEGMENT_BYTES_MAX, segmentEntriesMax: 40, flushPolicy: FsyncSchedule.NoFsync })
  return { log, topic: await log.topic('model') }
}

const input = fc.record({
  key: fc.option(fc.string({ maxLength: 5 }), { nil: null }),
  value: fc.oneof({ weight: 5, arbitrary: fc.string({ maxLength: 40 }) }, { weight: 1, arbitrary: fc.constant('long '.repeat(300)) }),
  ttlMs: fc.option(fc.nat(50), { nil: undefined }),
  compression: fc.constantFrom('none', 'lz4', 'zstd')
}).map((record) => record as { key: string | null, value: string, ttlMs: number | undefined, compression: 'none' | 'lz4' | 'zstd' })

type Input = typeof input extends fc.Arbitrary<infer T> ? T : never

const toRecord = ({ ttlMs, ...record }: Input): RecordInput => ttlMs === undefined ? record : { ...record, ttlMs }
const toModel = ({ key, value, ttlMs }: Input, nowMs: number): ModelRecord => ({ key, value, expiresAtMs: ttlMs === undefined ? Infinity : nowMs + ttlMs })

const command = (name: string, run: (model: Model, real: Real) => Promise<void>): Command => ({ check: () => true, run, toString: () => name })

const shown = (records: Iterable<LogRecord>): string => JSON.stringify(Array.from(records, ({ offset, key, value }) => [offset, key?.toString() ?? null, value?.toString() ?? null]))

/** What a read from `from` on must give, and where it goes on. */
function expected (model: Model, from: number, recordsMax: number, to = model.records.length): { readonly text: string, readonly nextOffset: number } {
  const found: unknown[] = []
  let offset = Math.max(from, model.start)
  for (; offset < to && found.length < recordsMax; offset++) {
    const { key, value, expiresAtMs } = model.records[offset]!
    if (expiresAtMs > model.nowMs) found.push([offset, key, value])
  }
  return { text: JSON.stringify(found), nextOffset: offset }
}

function eachShown (records: RecordBatch): string {
  const found: unknown[] = []
  records.eachValue((bytes, from, to, offset) => found.push([offset, from < 0 ? null : bytes.toString('utf8', from, to)]))
  return JSON.stringify(found)
}

function same (actual: string, wanted: string): void {
  if (actual !== wanted) throw new Error(`found ${actual}, expected ${wanted}`)
}

const appends = fc.array(input, { minLength: 1, maxLength: 12 }).map((inputs) => command(`append ${JSON.stringify(inputs)}`, async (model, real) => {
  const appended = inputs.map((one) => real.topic.append(toRecord(one)))
  same(JSON.stringify(appended.map(({ offset }) => offset)), JSON.stringify(inputs.map((_, index) => model.records.length + index)))
  model.records.push(...inputs.map((one) => toModel(one, model.nowMs)))
  await Promise.all(appended.map(({ committed }) => committed))
}))

const batch = fc.array(input, { minLength: 1, maxLength: 60 }).map((inputs) => command(`batch ${JSON.stringify(inputs)}`, async (model, real) => {
  const first = real.topic.appendBatch(inputs.map(toRecord))
  const behind = real.topic.append('behind')
  same(`${first.baseOffset} ${behind.offset}`, `${model.records.length} ${model.records.length + inputs.length}`)
  model.records.push(...inputs.map((one) => toModel(one, model.nowMs)), { key: null, value: 'behind', expiresAtMs: Infinity })
  await Promise.all([first.committed, behind.committed])
}))

const read = fc.record({ part: fc.double({ min: 0, max: 1, noNaN: true }), recordsMax: fc.integer({ min: 1, max: 50 }) }).map(({ part, recordsMax }) => command(`read ${part} ${recordsMax}`, async (model, real) => {
  const offset = Math.floor(part * model.records.length)
  const records = await real.topic.read(offset, { recordsMax })
  const wanted = expected(model, offset, recordsMax)
  same(`${shown(records)} ${records.length} ${records.nextOffset}`, `${wanted.text} ${JSON.parse(wanted.text).length} ${wanted.nextOffset}`)
  same(shown(Array.from({ length: records.length }, (_, index) => records.at(index)!)), wanted.text)
  same(eachShown(records), JSON.stringify((JSON.parse(wanted.text) as unknown[][]).map(([offset, , value]) => [offset, value])))
  if (recordsMax % 2 === 0) records.release()
}))

const take = fc.record({ cursor: fc.constantFrom('a', 'b'), recordsMax: fc.integer({ min: 1, max: 20 }), checkpoint: fc.boolean() }).map(({ cursor, recordsMax, checkpoint }) => command(`take ${cursor} ${recordsMax} ${checkpoint}`, async (model, real) => {
  const { text, nextOffset } = expected(model, model.cursors.get(cursor) ?? 0, recordsMax)
  const records = recordsMax === 1 ? [await real.topic.next({ cursor, checkpoint })].filter((record) => record !== null) : await real.topic.readBatch({ cursor, recordsMax, checkpoint })
  same(shown(records), text)
  if (checkpoint) model.cursors.set(cursor, nextOffset)
}))

const seek = fc.record({ cursor: fc.constantFrom('a', 'b'), part: fc.double({ min: 0, max: 1, noNaN: true }) }).map(({ cursor, part }) => command(`seek ${cursor} ${part}`, async (model, real) => {
  const offset = model.start + Math.floor(part * (model.records.length - model.start))
  await real.topic.cursor(cursor).seek(offset)
  model.cursors.set(cursor, offset)
}))

const replay = fc.constant(command('replay', async (model, real) => {
  const records: LogRecord[] = []
  for await (const record of real.topic.replay()) records.push(record)
  same(shown(records), expected(model, 0, Infinity).text)
  const parallel: LogRecord[] = []
  await real.topic.replaySegments((some) => { parallel.push(...some) })
  same(shown(parallel.sort((a, b) => a.offset - b.offset)), shown(records))
  for (const { id, endOffset } of real.topic.listSegments()) {
    const segment: LogRecord[] = []
    for await (const record of real.topic.readSegment(id)) segment.push(record)
    same(shown(segment), expected(model, id, Infinity, endOffset).text)
  }
}))

const truncate = fc.double({ min: 0, max: 1, noNaN: true }).map((part) => command(`truncate ${part}`, async (model, real) => {
  const offset = Math.floor(part * model.records.length)
  await real.topic.truncateFront(offset)
  model.start = Math.max(model.start, offset)
  same(String(real.topic.startOffset), String(model.start))
}))

const wait = fc.integer({ min: 1, max: 60 }).map((ms) => command(`wait ${ms}`, async (model) => { model.nowMs += ms }))
const roll = fc.constant(command('roll', async (_, real) => { await real.topic.roll() }))
const restart = fc.constant(command('restart', async (model, real) => {
  await real.log.close()
  Object.assign(real, await open(real.dataDir, real.backend, real.clock))
  same(`${real.topic.startOffset} ${real.topic.endOffset}`, `${model.start} ${model.records.length}`)
}))

for (const [backend, numRuns] of [['auto', 80], ['node:fs', 30]] as const) {
  test(`${backend}: as an array`, async (t) => {
    const folder = makeFolder(t)
    const seed = Number(process.env.HAULOUT_SEED ?? Date.now() % 1_000_000)
    const commands = fc.commands([appends, appends, batch, read, take, take, seek, replay, truncate, wait, roll, restart], { maxCommands: 25 })
    await fc.assert(fc.asyncProperty(commands, async (commands) => {
      const dataDir = mkdtempSync(path.join(folder, 'run-'))
      const model: Model = { records: [], start: 0, cursors: new Map(), nowMs: 1_000 }
      const clock = { now: () => model.nowMs }
      const real: Real = { dataDir, backend, clock, ...await open(dataDir, backend, clock) }
      try {
        await fc.asyncModelRun(() => ({ model, real }), commands)
      } finally {
        await real.log.close()
        rmSync(dataDir, { recursive: true, force: true })
      }
    }), { seed, numRuns })
    t.pass(`seed ${seed}`)
  })
}
