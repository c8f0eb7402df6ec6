/** librdkafka's producer and consumer, through the C program beside this file. */
import { compiled, output, settingsArguments } from '../programs.js'

export interface ProduceSettings {
  readonly port: number
  readonly topic: string
  readonly partitions: number
  readonly recordBytes: number
  readonly batchBytes: number
  readonly lingerMs: number
  readonly acks: number
  readonly codec: string
  readonly seconds: number
  readonly warmupSeconds: number
  /** In a batch, at most. */
  readonly batchRecords?: number
  /** Requests that wait for their answer, at most. */
  readonly inFlight?: number
  /** Ends after so many instead of by the clock. */
  readonly records?: number
}

export interface ConsumeSettings {
  readonly port: number
  readonly topic: string
  readonly partitions: number
  readonly records: number
  readonly fetchBytes: number
  /** Above 0: from the beginning again at the end, until so much time is over; `records` is not looked at. */
  readonly rewindSeconds?: number
}

export interface LoadFigures {
  readonly records: number
  readonly bytes: number
  readonly seconds: number
  readonly clientCpuSeconds: number
  readonly slotMs: number
  /** Bytes of every slot since the start, warm-up included. */
  readonly slotBytes: readonly number[]
}

/** librdkafka's own default, and more records than fit into any batch. */
const UNLIMITED = 1_000_000

export async function produce ({ port, records = 0, batchRecords = UNLIMITED, inFlight = UNLIMITED, ...settings }: ProduceSettings): Promise<LoadFigures> {
  return await run('produce', { brokers: `127.0.0.1:${port}`, records, batchRecords, inFlight, ...settings })
}

export async function consume ({ port, rewindSeconds = 0, ...settings }: ConsumeSettings): Promise<LoadFigures> {
  return await run('consume', { brokers: `127.0.0.1:${port}`, rewindSeconds, ...settings })
}

async function run (verb: string, settings: Readonly<Record<string, string | number>>): Promise<LoadFigures> {
  return JSON.parse(await output(await compiled('rdkafka', ['rdkafka']), [verb, ...settingsArguments(settings)])) as LoadFigures
}
