/**
 * THE table: what is measured, beside whom, and what is asked of it. Load, unless said otherwise: 10 writers, 10 topics, random entries of
 * 500 to 1,024 bytes. Megabytes count what the user wrote, without headers.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import path from 'node:path'
import type { FlushPolicy } from '../../src/log/log.js'
import type { Figures, Measurement, Row, Side, Target } from './measurement.js'
import { checkMayDropCaches, dropCaches } from './page-cache.js'
import { DURABLE_ALONE, DURABLE_TEN, fio, SEQUENTIAL_READ, SEQUENTIAL_WRITE } from './sides/fio.js'
import { haulout } from './sides/haulout.js'
import { rocksdb } from './sides/rocksdb.js'
import { walrus } from './sides/walrus.js'

export interface LoadOptions {
  /** Where the folders of all sides are made. */
  readonly dataDir: string
  /** Of one repetition of one side. */
  readonly seconds: number
  /** To fill before reading or recovering. */
  readonly mebibytes: number
}

const TEN = { api: 'topics', logs: 10, bytesMin: 500, bytesMax: 1024 } as const
const TEN_BELOW = { ...TEN, api: 'store' } as const
const WALRUS_TEN = { topics: 10, 'bytes-min': 500, 'bytes-max': 1024 }
const BATCH = 256
const EACH: FlushPolicy = { kind: 'each' }
const NONE: FlushPolicy = { kind: 'none' }
const READ_BYTES = 2 ** 20
const RETAIN = { segments: 2, segmentBytes: 64 * 2 ** 20 }
/** Without fsync an append that has returned is accepted; waiting for every so-manieth lets the disk keep up. */
const AWAIT_EVERY = 32
/** No recovery point: everything is scanned. */
const ALL_UNCOVERED = 2 ** 50

export function measurements (load: LoadOptions): Measurement[] {
  return [
    writes(load), durableWrites(load), batches(load), coldRead(load), memoryRead(load), recovery(load), appendAlone(load),
    manyLogs(load, 'logs', NONE), manyLogs(load, 'logs-durable', EACH), idleLogs(load)
  ]
}

/** Those that a file system's journal can slow down. */
export const DURABLE_MEASUREMENTS: readonly string[] = ['writes-durable', 'batch', 'append-alone', 'logs-durable']

/** A multiple of another side's median. */
function times (factor: number, side: string, figure: string, text = `${factor}x ${side}`): Target {
  return { text, value: (median) => scaled(median(side, figure), factor) }
}

function scaled (value: number | undefined, factor: number): number | undefined {
  return value === undefined ? undefined : value * factor
}

function fixed (value: number, text: string): Target {
  return { text, value: () => value }
}

/** A side that works in a folder of its own, gone afterwards. */
function side (name: string, { dataDir }: LoadOptions, work: (folder: string) => Promise<Figures>): Side {
  return {
    name,
    async run () {
      const folder = mkdtempSync(path.join(dataDir, 'bench-'))
      try {
        return rates(await work(path.join(folder, 'data')))
      } finally {
        rmSync(folder, { recursive: true, force: true })
      }
    }
  }
}

/** Adds what follows from entries, bytes and seconds. */
function rates (figures: Figures): Figures {
  const { entries, bytes, seconds } = figures
  if (seconds === undefined || seconds === 0) return figures
  return {
    ...figures,
    ...(entries !== undefined && { perSecond: entries / seconds }),
    ...(bytes !== undefined && { megabytesPerSecond: bytes / seconds / 1e6, gibibytesPerSecond: bytes / seconds / 2 ** 30 })
  }
}

function hauloutWrites (name: string, load: LoadOptions, task: { flushPolicy: FlushPolicy, api?: 'topics' | 'store', batch?: number, logs?: number, awaitEvery?: number, retain?: typeof RETAIN }): Side {
  return side(name, load, async (dataDir) =>
    await haulout({ kind: 'write', ...TEN, writers: 10, seconds: load.seconds, batch: 1, awaitEvery: AWAIT_EVERY, ...task, dataDir }))
}

function walrusWrites (name: string, load: LoadOptions, options: Readonly<Record<string, string | number>>): Side {
  return side(name, load, async (dataDir) => await walrus('write', dataDir, { ...WALRUS_TEN, writers: 10, seconds: load.seconds, ...options }))
}

function rocksdbWrites (name: string, load: LoadOptions, { sync, batch = 1 }: { sync: boolean, batch?: number }): Side {
  return side(name, load, async (dataDir) =>
    await rocksdb({ dataDir, sync, threads: 10, seconds: load.seconds, batch, bytesMin: TEN.bytesMin, bytesMax: TEN.bytesMax }))
}

function fioLimit (name: string, load: LoadOptions, options: readonly string[]): Side {
  return side(name, load, async (dataDir) => await fio({ dataDir, seconds: load.seconds, options }))
}

function row (fields: Omit<Row, 'better' | 'side' | 'others'> & Partial<Pick<Row, 'better' | 'side' | 'others'>>): Row {
  return { better: 'higher', side: 'Haulout', others: [], ...fields }
}

function writes (load: LoadOptions): Measurement {
  return {
    id: 'writes',
    method: `Ours: raw topics; a writer waits for every ${AWAIT_EVERY}th append, and the clock stops when all is flushed; beside it waiting for each, and the store below the topics. ` +
      'The others return when the page cache has it.',
    sides: [
      hauloutWrites('Haulout', load, { flushPolicy: NONE }),
      hauloutWrites('each awaited', load, { flushPolicy: NONE, awaitEvery: 1 }),
      hauloutWrites('store', load, { flushPolicy: NONE, api: 'store' }),
      walrusWrites('walrus', load, { fsync: 'none' }),
      rocksdbWrites('RocksDB', load, { sync: false })
    ],
    rows: [row({
      title: 'writes, no fsync', unit: 'writes/s', figure: 'perSecond', others: ['each awaited', 'store', 'walrus', 'RocksDB'],
      floor: times(2, 'walrus', 'perSecond'), aim: times(3, 'walrus', 'perSecond')
    })]
  }
}

function durableWrites (load: LoadOptions): Measurement {
  return {
    id: 'writes-durable',
    method: 'Each writer waits until its entry is on stable storage. fio: ten at once, 4 KiB, direct, dsync, into written blocks of ten files.',
    sides: [
      hauloutWrites('Haulout', load, { flushPolicy: EACH, awaitEvery: 1 }),
      walrusWrites('walrus', load, { fsync: 'each' }),
      rocksdbWrites('RocksDB', load, { sync: true }),
      fioLimit('fio', load, DURABLE_TEN)
    ],
    rows: [row({
      title: 'writes, each on disk', unit: 'writes/s', figure: 'perSecond', others: ['walrus', 'RocksDB', 'fio'],
      floor: {
        text: '3x walrus, 3x RocksDB',
        value: (median) => {
          const peers = [median('walrus', 'perSecond'), median('RocksDB', 'perSecond')].filter((value) => value !== undefined)
          return peers.length === 0 ? undefined : 3 * Math.max(...peers)
        }
      },
      aim: times(1, 'fio', 'perSecond', 'fio, ten at once')
    })]
  }
}

function batches (load: LoadOptions): Measurement {
  const figure = 'megabytesPerSecond'
  return {
    id: 'batch',
    method: `Atomic batches of ${BATCH} entries. walrus syncs its files after every batch, whatever its schedule. fio: 1 MiB, direct, 8 in flight. ` +
      `Removing old segments: of each topic ${RETAIN.segments} of ${RETAIN.segmentBytes / 2 ** 20} MiB stay, and the clock starts when each has removed some.`,
    sides: [
      hauloutWrites('Haulout', load, { flushPolicy: NONE, batch: BATCH, awaitEvery: 1 }),
      hauloutWrites('Haulout, each', load, { flushPolicy: EACH, batch: BATCH, awaitEvery: 1 }),
      hauloutWrites('retaining', load, { flushPolicy: NONE, batch: BATCH, awaitEvery: 1, retain: RETAIN }),
      hauloutWrites('retaining, each', load, { flushPolicy: EACH, batch: BATCH, awaitEvery: 1, retain: RETAIN }),
      walrusWrites('walrus', load, { fsync: 'none', batch: BATCH }),
      walrusWrites('walrus, each', load, { fsync: 'each', batch: BATCH }),
      rocksdbWrites('RocksDB', load, { sync: false, batch: BATCH }),
      fioLimit('fio', load, SEQUENTIAL_WRITE)
    ],
    rows: [
      row({
        title: `batch append, ${BATCH} entries, no fsync`, unit: 'MB/s', figure, others: ['walrus', 'RocksDB', 'fio'],
        floor: times(3, 'walrus', figure), aim: times(0.8, 'fio', figure, '80 % of fio')
      }),
      row({
        title: 'the same, each batch on disk', unit: 'MB/s', figure, side: 'Haulout, each', others: ['walrus, each'],
        floor: times(0.8, 'Haulout', figure, '80 % of no fsync'), aim: times(0.95, 'Haulout', figure, '95 % of no fsync')
      }),
      row({
        title: 'each batch on disk, old segments removed meanwhile', unit: 'MB/s', figure, side: 'retaining, each', others: ['retaining'],
        floor: times(0.8, 'retaining', figure, '80 % of no fsync'), aim: times(0.95, 'retaining', figure, '95 % of no fsync')
      })
    ]
  }
}

function coldRead (load: LoadOptions): Measurement {
  const figure = 'megabytesPerSecond'
  const fill = { kind: 'fill', ...TEN, flushPolicy: NONE, mebibytes: load.mebibytes, thenKill: false } as const
  return {
    id: 'read-cold',
    method: 'From a fresh process, all topics at once in batch reads of 1 MiB, looking at the length and a byte of each record, after sync and drop_caches (root). fio: 1 MiB, direct, 8 in flight.',
    sides: [
      side('Haulout', load, async (dataDir) => {
        checkMayDropCaches()
        await haulout({ ...fill, dataDir })
        return await haulout({ kind: 'read', ...TEN, readers: 10, flushPolicy: NONE, dataDir, batchBytes: READ_BYTES, dropCaches: true })
      }),
      side('walrus', load, async (dataDir) => {
        await walrus('fill', dataDir, { ...WALRUS_TEN, mebibytes: load.mebibytes })
        return await walrus('read', dataDir, { topics: 10, 'batch-bytes': READ_BYTES, 'drop-caches': 1 })
      }),
      fioLimit('fio', load, SEQUENTIAL_READ)
    ],
    rows: [row({
      title: 'batch read, cold', unit: 'MB/s', figure, others: ['walrus', 'fio'], floor: times(3, 'walrus', figure), aim: times(0.8, 'fio', figure, '80 % of fio')
    })]
  }
}

function memoryRead (load: LoadOptions): Measurement {
  const figure = 'megabytesPerSecond'
  const tail = { kind: 'read-tail', flushPolicy: EACH, batchBytes: READ_BYTES, mebibytes: 40, seconds: load.seconds } as const
  return {
    id: 'read-memory',
    method: 'Ours: what was just written (40 MiB), again and again, from the memory of the tails, looking at the length and a byte of each record; beside it the entries of the store below, unopened. ' +
      'walrus: all of it, from the page cache.',
    sides: [
      side('Haulout', load, async (dataDir) => await haulout({ ...tail, ...TEN, dataDir })),
      side('store', load, async (dataDir) => await haulout({ ...tail, ...TEN_BELOW, dataDir })),
      side('walrus', load, async (dataDir) => {
        await walrus('fill', dataDir, { ...WALRUS_TEN, mebibytes: load.mebibytes })
        return await walrus('read', dataDir, { topics: 10, 'batch-bytes': READ_BYTES })
      })
    ],
    rows: [row({
      title: 'batch read, from memory', unit: 'MB/s', figure, others: ['store', 'walrus'], floor: times(3, 'walrus', figure), aim: fixed(3000, '3 GB/s')
    })]
  }
}

function recovery (load: LoadOptions): Measurement {
  const figure = 'gibibytesPerSecond'
  const fill = { kind: 'fill', ...TEN_BELOW, flushPolicy: NONE, mebibytes: load.mebibytes, thenKill: true } as const
  const recovered = (name: string, uncoveredBytesMax: number | undefined, cold: boolean): Side => side(name, load, async (dataDir) => {
    const uncovered = uncoveredBytesMax === undefined ? {} : { uncoveredBytesMax }
    await haulout({ ...fill, ...uncovered, dataDir })
    if (cold) dropCaches()
    return await haulout({ kind: 'recover', ...TEN_BELOW, flushPolicy: NONE, ...uncovered, dataDir })
  })
  return {
    id: 'recovery',
    method: 'All bytes of the folder by the time until every log is open, after a kill -9, in a fresh process, caches dropped. Judged without recovery points, so that all is scanned.',
    sides: [
      recovered('Haulout', ALL_UNCOVERED, true),
      recovered('page cache warm', ALL_UNCOVERED, false),
      recovered('recovery points', undefined, true),
      side('walrus', load, async (dataDir) => {
        const { bytes } = await walrus('fill', dataDir, { ...WALRUS_TEN, mebibytes: load.mebibytes })
        dropCaches()
        return { ...await walrus('recover', dataDir), bytes: bytes! }
      }),
      fioLimit('fio', load, SEQUENTIAL_READ)
    ],
    rows: [row({
      title: 'recovery after kill -9', unit: 'GiB/s', figure, others: ['page cache warm', 'recovery points', 'walrus', 'fio'],
      floor: fixed(2, '2 GiB/s'), aim: times(1, 'fio', figure, 'fio, direct read')
    })]
  }
}

function appendAlone (load: LoadOptions): Measurement {
  const percentile = (title: string, figure: string): Row => row({
    title, unit: 'us', figure, better: 'lower', others: ['walrus', 'fio'], floor: times(1.5, 'fio', figure), aim: times(1.15, 'fio', figure)
  })
  const alone = { api: 'topics', logs: 1, bytesMin: 100, bytesMax: 100 } as const
  return {
    id: 'append-alone',
    method: 'One writer, one log, entries of 100 bytes. fio: one 4 KiB write at a time, direct, dsync, into written blocks.',
    sides: [
      side('Haulout', load, async (dataDir) =>
        await haulout({ kind: 'write', ...alone, flushPolicy: EACH, dataDir, writers: 1, seconds: load.seconds, batch: 1, awaitEvery: 1 })),
      walrusWrites('walrus', load, { topics: 1, writers: 1, 'bytes-min': 100, 'bytes-max': 100, fsync: 'each', 'sample-every': 1 }),
      fioLimit('fio', load, DURABLE_ALONE)
    ],
    rows: [percentile('one durable 100-byte append, p50', 'latencyUsP50'), percentile('one durable 100-byte append, p99', 'latencyUsP99')]
  }
}

const LOG_COUNTS = [1, 100, 1_000, 10_000] as const

function manyLogs (load: LoadOptions, id: string, flushPolicy: FlushPolicy): Measurement {
  const nameOf = (count: number): string => count === 1 ? '1 log' : `${count.toLocaleString('en-US')} logs`
  const policy = flushPolicy.kind === 'each' ? 'each on disk' : 'no fsync'
  const figure = 'perSecond'
  return {
    id,
    method: 'The same ten writers, spread over so many logs. Every log has had one entry before the clock starts.',
    sides: LOG_COUNTS.map((logs) => hauloutWrites(nameOf(logs), load, { flushPolicy, logs, api: 'store', awaitEvery: 1 })),
    rows: [
      row({
        title: `1,000 logs, ${policy}`, unit: 'writes/s', figure, side: nameOf(1_000), others: [1, 100].map(nameOf),
        floor: times(0.5, nameOf(1), figure, 'half of 1 log'), aim: times(1, nameOf(1), figure, 'as 1 log')
      }),
      row({ title: `10,000 logs, ${policy}`, unit: 'writes/s', figure, side: nameOf(10_000), others: [nameOf(1)] })
    ]
  }
}

function idleLogs (load: LoadOptions): Measurement {
  const figure = 'addedMebibytes'
  const idle = (name: string, logs: number, reopened: boolean): Side => side(name, load, async (dataDir) => {
    const task = { kind: 'idle', ...TEN_BELOW, logs, flushPolicy: EACH, dataDir } as const
    if (reopened) await haulout({ ...task, thenWrite: true })
    return await haulout({ ...task, thenWrite: !reopened }, ['--expose-gc'])
  })
  return {
    id: 'idle-logs',
    method: 'Resident memory of the process with 10,000 open logs less that before the store was opened: after an entry in each, and after opening them again.',
    sides: [idle('Haulout', 10_000, false), idle('opened again', 10_000, true)],
    rows: [row({
      title: 'memory of 10,000 idle logs', unit: 'MiB', figure, better: 'lower', others: ['opened again'],
      floor: fixed(200e6 / 2 ** 20, '200 MB'), aim: fixed(60e6 / 2 ** 20, '60 MB')
    })]
  }
}
