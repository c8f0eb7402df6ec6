/**
 * `bench-vs`: the same load on everybody: the store, walrus-rust, RocksDB's log, the device by fio; and, over the network, the broker and Apache Kafka
 * with the same client. A thread is there a process of librdkafka's with a partition of its own, which waits for each answer where each write is
 * to be on disk, and batches as clients do where it need not be.
 */
import type { FlushPolicy } from '../../src/log/log.js'
import { hauloutBroker, kafkaBroker, startBroker, type BrokerKind } from '../kafka/brokers.js'
import { produce, type ProduceSettings } from '../kafka/clients/rdkafka.js'
import { createTopic } from '../kafka/topics.js'
import { LeftOut, orLeftOut, type Figures } from '../store/measurement.js'
import { fio } from '../store/sides/fio.js'
import { rocksdb } from '../store/sides/rocksdb.js'
import { walrus } from '../store/sides/walrus.js'
import { fsyncMode } from './settings.js'
import { inFolder, inWords, outcomeOf, written, type Step, type StepSettings } from './steps.js'

/** For the JVM, above all; the same for both brokers. */
const BROKER_WARMUP_SECONDS = 2
const BROKER_START_SECONDS = 4
/** Brokers refuse batches above 1 MiB unless they are told otherwise. */
const RECORD_BYTES_MAX = 1_000_000
/** Direct writes are whole blocks. */
const BLOCK_BYTES = 4096
/** Of all files together: durable writes end at the device, the others must not stay in a processor's cache. */
const FIO_BYTES = { each: 64 * 2 ** 20, none: 2 ** 30 }

export const BROKERS_IN_WORDS = 'librdkafka, a process with a partition of its own for each thread; with sync-each it waits for each answer, otherwise linger.ms 5 and batch.size 1,000,000; ' +
  `entries of the mean size; ${BROKER_WARMUP_SECONDS} s of warm-up dropped`

export function everybody (settings: StepSettings): Step[] {
  const mode = fsyncMode(settings.flushPolicy)
  return settings.threads.flatMap((threads) => {
    const step = (system: string, run: () => Promise<Figures>, more = 0): Step => ({
      title: `${system}, ${inWords(threads)}`, seconds: settings.seconds + more, run: async () => outcomeOf([system, threads, mode], await run())
    })
    const broker = (system: string, kind: BrokerKind): Step =>
      step(system, async () => await produced(kind, settings, threads), BROKER_START_SECONDS + BROKER_WARMUP_SECONDS)
    return [
      step('haulout', async () => await written(settings, { threads, batch: settings.batch })),
      step('walrus', async () => await inFolder(settings, async (dataDir) => await byWalrus(settings, threads, dataDir))),
      step('rocksdb', async () => await inFolder(settings, async (dataDir) => await byRocksdb(settings, threads, dataDir))),
      step('fio', async () => await inFolder(settings, async (dataDir) => await byFio(settings, threads, dataDir))),
      broker('haulout-broker', hauloutBroker(mode, flushOption(settings.flushPolicy))),
      broker('kafka', kafkaBroker('Kafka', mode, kafkaProperties(settings.flushPolicy)))
    ]
  })
}

async function byWalrus ({ flushPolicy, seconds, batch, walrusBackend, bytesMin, bytesMax }: StepSettings, threads: number, dataDir: string): Promise<Figures> {
  const fsync = { each: 'each', none: 'none', interval: 'intervalMs' in flushPolicy ? flushPolicy.intervalMs : 0, bytes: 'none' }[flushPolicy.kind]
  return await walrus('write', dataDir, { writers: threads, topics: threads, seconds, fsync, batch, backend: walrusBackend, 'bytes-min': bytesMin, 'bytes-max': bytesMax })
}

async function byRocksdb ({ flushPolicy, seconds, batch, bytesMin, bytesMax }: StepSettings, threads: number, dataDir: string): Promise<Figures> {
  if (flushPolicy.kind === 'interval') throw new LeftOut('RocksDB has no fsync by interval; FSYNC=sync-each or no-fsync compares all')
  return await rocksdb({ dataDir, sync: flushPolicy.kind === 'each', threads, seconds, batch, bytesMin, bytesMax })
}

/** What the device, or the page cache, gives of such writes: a file for each thread, one write at a time. */
async function byFio (settings: StepSettings, threads: number, dataDir: string): Promise<Figures> {
  const { flushPolicy, seconds, batch } = settings
  if (flushPolicy.kind === 'interval') throw new LeftOut('fio has no fsync by interval; FSYNC=sync-each or no-fsync compares all')
  const bytes = meanBytes(settings) * batch
  const blocks = Math.ceil(bytes / BLOCK_BYTES)
  const how = flushPolicy.kind === 'each' ? [`--bs=${blocks * BLOCK_BYTES}`, '--sync=dsync', '--overwrite=1'] : [`--bs=${bytes}`, '--direct=0']
  const fileBytes = Math.max(Math.ceil(FIO_BYTES[flushPolicy.kind === 'each' ? 'each' : 'none'] / threads), 4 * blocks * BLOCK_BYTES)
  const { perSecond: writesPerSecond } = await fio({
    dataDir, seconds, options: ['--rw=write', '--ioengine=psync', `--size=${fileBytes}`, `--numjobs=${threads}`, '--group_reporting=1', '--thread=1', ...how]
  })
  return figuresOf(writesPerSecond! * batch, settings, threads)
}

/** The client's processes together, on a broker of their own. A peer that fails costs only itself. */
async function produced (kind: BrokerKind, settings: StepSettings, threads: number): Promise<Figures> {
  if (settings.bytesMax > RECORD_BYTES_MAX) throw new LeftOut(`brokers take no records above ${RECORD_BYTES_MAX.toLocaleString('en-US')} bytes by default`)
  const work = async (): Promise<Figures> => {
    const broker = await startBroker(kind, settings.dataDir)
    try {
      const topics = Array.from({ length: threads }, (_, at) => `topic-${at}`)
      for (const topic of topics) await createTopic(broker.port, topic, 1)
      const loads = await Promise.all(topics.map(async (topic) => await produce({ ...clientSettings(settings), port: broker.port, topic })))
      return figuresOf(loads.reduce((sum, { records, seconds }) => sum + records / seconds, 0), settings, threads)
    } finally {
      await broker.close()
    }
  }
  return kind.peer === true ? await orLeftOut(`${kind.name} failed`, work) : await work()
}

export function clientSettings (settings: Pick<StepSettings, 'flushPolicy' | 'batch' | 'seconds' | 'bytesMin' | 'bytesMax'>): Omit<ProduceSettings, 'port' | 'topic'> {
  const { flushPolicy, batch, seconds } = settings
  return {
    partitions: 1, recordBytes: meanBytes(settings), batchBytes: 1_000_000, lingerMs: 5, acks: -1, codec: 'none', seconds, warmupSeconds: BROKER_WARMUP_SECONDS,
    ...(flushPolicy.kind === 'each' ? { batchRecords: batch, inFlight: 1 } : batch > 1 && { batchRecords: batch })
  }
}

/** `haulout start --flush`. */
export function flushOption (policy: FlushPolicy): string {
  switch (policy.kind) {
    case 'interval': return `${policy.intervalMs}ms`
    case 'bytes': return `${policy.bytes}bytes`
    default: return policy.kind
  }
}

/** Kafka looks whether logs are to be flushed as often as its scheduler says. */
export function kafkaProperties (policy: FlushPolicy): Record<string, string> {
  switch (policy.kind) {
    case 'each': return { 'log.flush.interval.messages': '1' }
    case 'interval': return { 'log.flush.interval.ms': `${policy.intervalMs}`, 'log.flush.scheduler.interval.ms': `${policy.intervalMs}` }
    default: return {}
  }
}

function meanBytes ({ bytesMin, bytesMax }: Pick<StepSettings, 'bytesMin' | 'bytesMax'>): number {
  return Math.round((bytesMin + bytesMax) / 2)
}

function figuresOf (perSecond: number, settings: StepSettings, threads: number): Figures {
  return { perSecond, megabytesPerSecond: perSecond * meanBytes(settings) / 1e6, latencyUsMean: threads * settings.batch * 1e6 / perSecond }
}
