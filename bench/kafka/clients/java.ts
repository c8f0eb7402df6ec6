/** Kafka's own performance tools: ProducerPerformance, ConsumerPerformance, EndToEndLatency. Their words are read here; pure but for the runs. */
import { orLeftOut } from '../../store/measurement.js'
import { output } from '../programs.js'
import { fetchKafka } from '../tools.js'

const MEBIBYTE = 2 ** 20
const TOOLS = 'org.apache.kafka.tools'

export interface ProducerWords {
  readonly megabytesPerSecond: number
  readonly recordsPerSecond: number
  readonly latencyMsMean: number
  readonly latencyMsP99: number
}

export interface LatencyWords {
  readonly latencyMsMean: number
  readonly latencyMsP50: number
  readonly latencyMsP99: number
  readonly latencyMsP999: number
}

export interface ProducerSettings {
  readonly records: number
  /** The first of them, which the figures leave out. */
  readonly warmupRecords: number
  readonly recordBytes: number
  readonly properties: Readonly<Record<string, string | number>>
}

export async function producerPerformance (port: number, topic: string, { records, warmupRecords, recordBytes, properties }: ProducerSettings): Promise<ProducerWords> {
  const settings = Object.entries(properties).map(([name, value]) => `${name}=${value}`)
  return producerWords(await tool('ProducerPerformance', ['--bootstrap-server', `127.0.0.1:${port}`, '--topic', topic, '--num-records', `${records}`,
    '--warmup-records', `${warmupRecords}`, '--record-size', `${recordBytes}`, '--throughput', '-1', '--command-property', ...settings]))
}

/** The last line tells of what followed the warm-up: 'N steady state records sent, R records/sec (M MB/sec), A ms avg latency, ... P ms 99th, ...'. */
export function producerWords (printed: string): ProducerWords {
  const line = printed.trim().split('\n').filter((text) => text.includes('99th')).at(-1)
  const found = /([\d.]+) records\/sec \(([\d.]+) MB\/sec\), ([\d.]+) ms avg latency.* ([\d.]+) ms 99th/.exec(line ?? '')
  if (found === null) throw new Error(`ProducerPerformance's words are not understood: ${printed.slice(-500)}`)
  return {
    recordsPerSecond: Number(found[1]), megabytesPerSecond: Number(found[2]) * MEBIBYTE / 1e6, latencyMsMean: Number(found[3]), latencyMsP99: Number(found[4])
  }
}

/** Megabytes per second. */
export async function consumerPerformance (port: number, topic: string, records: number): Promise<number> {
  const printed = await tool('ConsumerPerformance', ['--topic', topic, '--num-records', `${records}`, '--bootstrap-server', `127.0.0.1:${port}`, '--hide-header', '--timeout', '60000'])
  const megabytesPerSecond = Number(printed.trim().split('\n').at(-1)?.split(', ')[3]) * MEBIBYTE / 1e6
  if (!Number.isFinite(megabytesPerSecond)) throw new Error(`ConsumerPerformance's words are not understood: ${printed.slice(-500)}`)
  return megabytesPerSecond
}

export async function endToEndLatency (port: number, topic: string, records: number, recordBytes: number): Promise<LatencyWords> {
  return latencyWords(await tool('EndToEndLatency', ['--bootstrap-server', `127.0.0.1:${port}`, '--topic', topic, '--num-records', `${records}`, '--producer-acks', 'all', '--record-size', `${recordBytes}`]))
}

export function latencyWords (printed: string): LatencyWords {
  const mean = /Avg latency: ([\d.]+) ms/.exec(printed)
  const found = /50th = ([\d.]+), 99th = ([\d.]+), 99.9th = ([\d.]+)/.exec(printed)
  if (mean === null || found === null) throw new Error(`EndToEndLatency's words are not understood: ${printed.slice(-500)}`)
  return { latencyMsMean: Number(mean[1]), latencyMsP50: Number(found[1]), latencyMsP99: Number(found[2]), latencyMsP999: Number(found[3]) }
}

async function tool (name: string, args: readonly string[]): Promise<string> {
  const classpath = await orLeftOut('Kafka\'s tools cannot be had here', fetchKafka)
  return await output('java', ['-Xmx512m', '-cp', classpath, `${TOOLS}.${name}`, ...args])
}
