/** THE table: Haulout beside Apache Kafka, the same client with the same settings. Megabytes count the records' values. */
import type { Figures, Row, Target } from '../store/measurement.js'
import { HAULOUT, KAFKA, SINK, type RunningBroker } from './brokers.js'
import { consume, produce, type LoadFigures, type ProduceSettings } from './clients/rdkafka.js'
import { withCost, type Load, type Turn, type Work } from './load.js'
import { createTopic } from './topics.js'

const WARMUP_SECONDS = 1

export function loads (): Load[] {
  return [produceLarge()]
}

/** A multiple of what another side does. */
export function times (factor: number, side: string, figure: string, text = `${factor}x`): Target {
  return {
    text,
    value: (median) => {
      const value = median(side, figure)
      return value === undefined ? undefined : value * factor
    }
  }
}

export function row (fields: Omit<Row, 'better' | 'side' | 'others'> & Partial<Pick<Row, 'better' | 'side' | 'others'>>): Row {
  return { better: 'higher', side: HAULOUT.name, others: [KAFKA.name], ...fields }
}

async function topicOf (broker: RunningBroker, topic: string, partitions: number): Promise<void> {
  if (broker.kind.drops !== true) await createTopic(broker.port, topic, partitions)
}

export async function produceTo ({ broker, topic, seconds }: Pick<Turn, 'broker' | 'topic' | 'seconds'>, settings: Partial<ProduceSettings>): Promise<Work> {
  const all = { partitions: 6, recordBytes: 1000, batchBytes: 1_000_000, lingerMs: 5, acks: -1, codec: 'none', warmupSeconds: WARMUP_SECONDS, ...settings }
  await topicOf(broker, topic, all.partitions)
  const { result, cost } = await withCost(broker, async () => await produce({ port: broker.port, topic, seconds, ...all }), wholeBytes)
  return { figures: { ...rates(result), ...cost }, series: { slotMs: result.slotMs, slotBytes: result.slotBytes } }
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

function produceLarge (): Load {
  return {
    id: 'produce',
    method: 'Acknowledged records per second after a second of warm-up.',
    settings: 'librdkafka: records of 1,000 bytes, batch.size 1,000,000, linger.ms 5, acks=all, no codec, 6 partitions in turn',
    brokers: [HAULOUT, KAFKA, SINK],
    run: async (turn) => await produceTo(turn, {}),
    rows: [
      row({
        title: 'produce, librdkafka, 1,000 B records, 1 MB batches, 6 partitions', unit: 'MB/s', figure: 'megabytesPerSecond', others: [KAFKA.name, SINK.name],
        floor: times(2, KAFKA.name, 'megabytesPerSecond'), aim: times(3, KAFKA.name, 'megabytesPerSecond')
      }),
      row({
        title: 'the same, beside a server that drops the records', unit: 'MB/s', figure: 'megabytesPerSecond', others: [SINK.name],
        aim: times(0.7, SINK.name, 'megabytesPerSecond')
      }),
      row({
        title: 'broker CPU per GB produced', unit: 's', better: 'lower', figure: 'brokerCpuSecondsPerGigabyte', others: [KAFKA.name, SINK.name],
        floor: times(0.5, KAFKA.name, 'brokerCpuSecondsPerGigabyte'), aim: times(0.3, KAFKA.name, 'brokerCpuSecondsPerGigabyte')
      })
    ]
  }
}

export { consume }
