/** What a load can ask of a broker: one kind of work each, with its figures. Megabytes count the values of records. */
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Figures } from '../store/measurement.js'
import { CACHES_OF_ROOT, dropCaches, mayDropCaches } from '../store/page-cache.js'
import type { RunningBroker } from './brokers.js'
import { consumerPerformance, endToEndLatency, producerPerformance } from './clients/java.js'
import { javaScript, type JavaScriptClient } from './clients/javascript.js'
import { consume, produce, type LoadFigures, type ProduceSettings } from './clients/rdkafka.js'
import { latencyMs, replay, withIdleConnections, type WireFigures } from './clients/wire.js'
import { apiVersionsFrame, fetchErrorAt, fetchFrame, produceErrorAt, produceFrame, recordBatch, type BatchShape } from './frames.js'
import { withCost, type Turn, type Work } from './load.js'
import { processFigures } from './process-figures.js'
import { createTopic } from './topics.js'

const WARMUP_SECONDS = 1
const FETCH_BYTES = 2 ** 20
/** Well below the 64 MiB of recent records that Haulout keeps in memory. */
const TAIL_BYTES = 36e6
const JAVA_MEGABYTES_PER_SECOND = 150
/** What is written per second of a repetition before it is consumed. */
const FILL_BYTES_PER_SECOND = 400e6
const SETTLE_MS = 3_000
const REST_LOOK_MS = 200
const REST_MS_MAX = 10_000
const LATENCY_RECORDS_PER_SECOND = 400
const IDLE_CONNECTIONS = 5_000
/** Far more than any broker keeps in its own memory. */
const OLD_BYTES = 600e6

type Produced = Pick<Turn, 'broker' | 'topic' | 'seconds'>

export const LARGE = { partitions: 6, recordBytes: 1000, batchBytes: 1_000_000, lingerMs: 5, acks: -1, codec: 'none', warmupSeconds: WARMUP_SECONDS }

/** A new topic, on a broker that has done what its partitions cost it. */
export async function topicOf (broker: RunningBroker, topic: string, partitions: number): Promise<void> {
  if (broker.kind.drops === true) return
  await createTopic(broker.port, topic, partitions)
  await untilAtRest(broker)
}

/** Until the broker uses less than a tenth of a processor, but no longer than `REST_MS_MAX`. */
async function untilAtRest ({ pid }: RunningBroker): Promise<void> {
  const deadlineMs = performance.now() + REST_MS_MAX
  for (let used = Infinity; used >= REST_LOOK_MS / 10_000 && performance.now() < deadlineMs;) {
    const before = processFigures(pid).cpuSeconds
    await sleep(REST_LOOK_MS)
    used = processFigures(pid).cpuSeconds - before
  }
}

/** librdkafka produces for the turn's seconds. */
export async function produceTo ({ broker, topic, seconds }: Produced, settings: Partial<ProduceSettings> = {}): Promise<Work> {
  const all = { ...LARGE, ...settings }
  await topicOf(broker, topic, all.partitions)
  const { result, cost } = await withCost(broker, async () => await produce({ port: broker.port, topic, seconds, ...all }), wholeBytes)
  return { figures: { ...rates(result), ...cost }, series: result }
}

/** Warm-up included: the broker worked for it too. */
function wholeBytes ({ slotBytes }: LoadFigures): number {
  return slotBytes.reduce((sum, bytes) => sum + bytes, 0)
}

export function rates ({ records, bytes, seconds, clientCpuSeconds }: LoadFigures): Figures {
  return {
    megabytesPerSecond: bytes / seconds / 1e6,
    recordsPerSecond: records / seconds,
    clientCpuSecondsPerGigabyte: clientCpuSeconds / (bytes / 1e9)
  }
}

async function fill (broker: RunningBroker, topic: string, bytes: number): Promise<number> {
  const records = Math.round(bytes / LARGE.recordBytes)
  await createTopic(broker.port, topic, LARGE.partitions)
  await produce({ port: broker.port, topic, seconds: 0, ...LARGE, warmupSeconds: 0, records })
  return records
}

/** The last megabytes again and again, while they are in the broker's memory. */
export async function consumeTail ({ broker, topic, seconds }: Turn): Promise<Work> {
  const records = await fill(broker, topic, TAIL_BYTES)
  const settings = { port: broker.port, topic, partitions: LARGE.partitions, records, fetchBytes: FETCH_BYTES, rewindSeconds: seconds }
  const { result, cost } = await withCost(broker, async () => await consume(settings), ({ bytes }) => bytes)
  return { figures: { ...rates(result), ...cost }, series: result }
}

/** Gigabytes that were just written, and the same once more with the page cache dropped. Filled once for each broker. */
export function consumeFilled (): (turn: Turn) => Promise<Work> {
  const filled = new Map<number, { readonly topic: string, readonly records: number }>()
  return async ({ broker, topic: unused, seconds }) => {
    const from = filled.get(broker.pid) ?? { topic: unused, records: await fill(broker, unused, FILL_BYTES_PER_SECOND * seconds) }
    filled.set(broker.pid, from)
    const read = async (): Promise<{ result: LoadFigures, cost: Figures }> => await withCost(broker,
      async () => await consume({ port: broker.port, ...from, partitions: LARGE.partitions, fetchBytes: FETCH_BYTES }), ({ bytes }) => bytes)
    const named = (prefix: string, { result, cost }: { result: LoadFigures, cost: Figures }): Figures =>
      Object.fromEntries(Object.entries({ ...rates(result), ...cost }).map(([name, value]) => [`${prefix}.${name}`, value]))
    const warm = await read()
    if (!mayDropCaches()) return { figures: named('warm', warm), series: warm.result, leftOut: new Map([['cold', CACHES_OF_ROOT]]) }
    dropCaches()
    const cold = await read()
    return { figures: { ...named('warm', warm), ...named('cold', cold) }, series: cold.result }
  }
}

/** Throughput with a thousand partitions as a part of that with six. */
export async function thousandPartitions (turn: Turn): Promise<Work> {
  const few = await produceTo({ ...turn, topic: `${turn.topic}.6-partitions` })
  const many = await produceTo({ ...turn, topic: `${turn.topic}.1000-partitions` }, { partitions: 1000 })
  return { figures: { ...many.figures, kept: many.figures['megabytesPerSecond']! / few.figures['megabytesPerSecond']! }, ...(many.series && { series: many.series }) }
}

/** The producer's first second is left out of its figures, but not of what it cost the broker. */
export async function javaTools ({ broker, topic, seconds }: Turn): Promise<Work> {
  const recordBytes = 1000
  const count = (ofSeconds: number): number => Math.round(JAVA_MEGABYTES_PER_SECOND * 1e6 * ofSeconds / recordBytes)
  const settings = { recordBytes, records: count(WARMUP_SECONDS + seconds), warmupRecords: count(WARMUP_SECONDS), properties: { 'linger.ms': 5, 'batch.size': 131072 } }
  await topicOf(broker, topic, LARGE.partitions)
  const { result, cost } = await withCost(broker, async () => await producerPerformance(broker.port, topic, settings), () => settings.records * recordBytes)
  if (broker.kind.drops === true) return { figures: { ...result, ...cost } }
  return { figures: { ...result, ...cost, consumedMegabytesPerSecond: await consumerPerformance(broker.port, topic, settings.records) } }
}

export async function endToEnd ({ broker, topic, seconds }: Turn): Promise<Work> {
  await createTopic(broker.port, topic, 1)
  return { figures: { ...await endToEndLatency(broker.port, topic, Math.round(LATENCY_RECORDS_PER_SECOND * seconds), 1000) } }
}

export async function javaScriptClient (client: JavaScriptClient, { broker, topic, seconds }: Turn): Promise<Work> {
  const common = { port: broker.port, topic, partitions: LARGE.partitions, recordBytes: 1000 }
  await createTopic(broker.port, topic, LARGE.partitions)
  const { result, cost } = await withCost(broker,
    async () => await javaScript(client, 'produce', { ...common, batchCount: 500, inFlight: 6, seconds, warmupSeconds: WARMUP_SECONDS }), ({ wholeBytes: bytes }) => bytes)
  const records = Math.round(result.wholeBytes / 1000)
  const consumed = await javaScript(client, 'consume', { ...common, records, group: topic })
  return { figures: { ...cost, megabytesPerSecond: result.bytes / result.seconds / 1e6, consumedMegabytesPerSecond: consumed.bytes / consumed.seconds / 1e6 } }
}

export interface WireShape extends BatchShape {
  readonly partitions: number
  readonly connections: number
  readonly depth: number
  readonly acks?: number
}

/** Encoded requests, replayed: the client takes next to nothing. */
export async function wireProduce ({ broker, topic, seconds }: Produced, shape: WireShape): Promise<Work> {
  await topicOf(broker, topic, shape.partitions)
  const batch = recordBatch(shape)
  const frames = Array.from({ length: shape.partitions }, (_, partition) => produceFrame(topic, partition, shape.acks ?? -1, batch))
  const settings = { port: broker.port, connections: shape.connections, depth: shape.depth, seconds, warmupSeconds: WARMUP_SECONDS, errorAt: produceErrorAt(topic) }
  const valueBytes = shape.recordBytes * shape.recordCount
  const { result, cost } = await withCost(broker, async () => await replay(path.dirname(broker.dataDir), frames, settings), ({ slotRequests }) => sum(slotRequests) * valueBytes)
  return wireWork(result, valueBytes, cost)
}

/** Fetches of one batch each, from the memory of the tail. */
export async function wireFetch ({ broker, topic, seconds }: Produced): Promise<Work> {
  const perPartition = Math.floor(await fill(broker, topic, TAIL_BYTES) / LARGE.partitions)
  const step = 1000
  const offsets = Array.from({ length: Math.floor(perPartition / step) }, (_, at) => at * step)
  const frames = offsets.flatMap((offset) => Array.from({ length: LARGE.partitions }, (_, partition) => fetchFrame(topic, partition, offset, FETCH_BYTES)))
  const settings = { port: broker.port, connections: LARGE.partitions, depth: 1, seconds, warmupSeconds: WARMUP_SECONDS, errorAt: fetchErrorAt(topic) }
  const { result, cost } = await withCost(broker, async () => await replay(path.dirname(broker.dataDir), frames, settings), ({ wholeBytesIn }) => wholeBytesIn)
  return wireWork(result, result.bytesIn / result.requests, cost)
}

function wireWork (result: WireFigures, valueBytes: number, cost: Figures): Work {
  return {
    figures: {
      ...cost,
      megabytesPerSecond: result.requests * valueBytes / result.seconds / 1e6,
      requestsPerSecond: result.requests / result.seconds,
      clientCpuShare: result.clientCpuSeconds / result.seconds,
      latencyMsP50: latencyMs(result.latencyUs, 0.5),
      latencyMsP99: latencyMs(result.latencyUs, 0.99)
    },
    series: { slotMs: result.slotMs, slotBytes: result.slotRequests.map((count) => count * valueBytes) },
    latencyUs: result.latencyUs
  }
}

function sum (numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0)
}

/** Needs a broker of its own: what it used before its first load. */
export async function startAndFirstLoad (turn: Turn): Promise<Work> {
  await sleep(SETTLE_MS)
  const idle = processFigures(turn.broker.pid)
  const { series } = await produceTo(turn)
  const after = processFigures(turn.broker.pid)
  return {
    figures: { startMs: turn.broker.startMs, idleMebibytes: idle.residentBytes / 2 ** 20, residentMebibytesMax: after.residentBytesMax / 2 ** 20 },
    ...(series && { series })
  }
}

/** Needs a broker of its own; some connections come and go first, so that code and pools are there. */
export async function idleConnections ({ broker }: Turn): Promise<Work> {
  const folder = path.dirname(broker.dataDir)
  const frame = apiVersionsFrame()
  const settled = async (): Promise<number> => {
    await sleep(SETTLE_MS)
    return processFigures(broker.pid).residentBytes
  }
  await withIdleConnections(folder, frame, broker.port, 100, async () => {})
  const before = await settled()
  const during = await withIdleConnections(folder, frame, broker.port, IDLE_CONNECTIONS, settled)
  return { figures: { kilobytesEach: (during - before) / IDLE_CONNECTIONS / 1000 } }
}

/** A producer at the end of its log, and consumers of another, older one: what they take from it, and what they get. */
export async function produceWhileOthersLag (turn: Turn, consumers: number): Promise<Work> {
  const { broker, topic, seconds } = turn
  const old = `${topic}-old`
  const records = consumers === 0 ? 0 : await fill(broker, old, OLD_BYTES)
  const settings = { port: broker.port, topic: old, partitions: LARGE.partitions, records, fetchBytes: FETCH_BYTES, rewindSeconds: seconds + WARMUP_SECONDS }
  const lagging = async (): Promise<LoadFigures[]> => await Promise.all(Array.from({ length: consumers }, async () => await consume(settings)))
  const all = { ...LARGE, batchBytes: 16384 }
  await topicOf(broker, topic, all.partitions)
  const { result: [produced, read], cost } = await withCost(broker,
    async () => await Promise.all([produce({ port: broker.port, topic, seconds, ...all }), lagging()]),
    ([load, loads]) => wholeBytes(load) + sum(loads.map(wholeBytes)))
  const consumed = sum(read.map(({ bytes, seconds: took }) => bytes / took / 1e6))
  return { figures: { ...rates(produced), ...cost, consumedMegabytesPerSecond: consumed }, series: produced }
}
