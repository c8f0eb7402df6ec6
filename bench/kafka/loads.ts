/** THE table: Haulout beside Apache Kafka, the same client with the same settings, and what is asked of each row. */
import type { Row, Target } from '../store/measurement.js'
import { HAULOUT, KAFKA, KAFKA_DURABLE, SINK, type BrokerKind } from './brokers.js'
import type { Load } from './load.js'
import * as work from './work.js'

const BOTH: readonly BrokerKind[] = [HAULOUT, KAFKA]
const RDKAFKA_LARGE = 'librdkafka: records of 1,000 bytes, batch.size 1,000,000, linger.ms 5, acks=all, no codec, 6 partitions in turn'
const RDKAFKA_CONSUMER = 'librdkafka: 6 partitions, fetch.message.max.bytes 1 MiB, queued.min.messages 1,000,000; the clock starts with the first records'

export function loads (): Load[] {
  return [
    produce(), smallRecords(), java(), durableBatches(), consumeTail(), consume(), latency(), partitions(), connections(), start(), wire(), wireFetch(),
    javaScript('kafkajs', 'kafkajs'), javaScript('platformatic', '@platformatic/kafka')
  ]
}

/** A multiple of what another side does. */
function times (factor: number, side: BrokerKind, figure: string): Target {
  return {
    text: `${factor}x`,
    value: (median) => {
      const value = median(side.name, figure)
      return value === undefined ? undefined : value * factor
    }
  }
}

/** Floor and aim as multiples of Kafka's median of the same figure. */
interface Asked {
  readonly floor?: number
  readonly aim?: number
  readonly peer?: BrokerKind
}

function row (title: string, unit: string, figure: string, { floor, aim, peer = KAFKA }: Asked = {}, more: Partial<Row> = {}): Row {
  return {
    title, unit, figure, better: 'higher', side: HAULOUT.name, others: [peer.name],
    ...(floor !== undefined && { floor: times(floor, peer, figure) }),
    ...(aim !== undefined && { aim: times(aim, peer, figure) }),
    ...more
  }
}

const lower: Partial<Row> = { better: 'lower' }

function produce (): Load {
  return {
    id: 'produce',
    method: 'Acknowledged records after a second of warm-up.',
    settings: RDKAFKA_LARGE,
    brokers: [HAULOUT, KAFKA, SINK],
    run: async (turn) => await work.produceTo(turn),
    rows: [
      row('produce, librdkafka, 1,000 B records, 1 MB batches, 6 partitions', 'MB/s', 'megabytesPerSecond', { floor: 2, aim: 3 }),
      row('the same, beside a server that drops the records', 'MB/s', 'megabytesPerSecond', { aim: 0.7, peer: SINK }),
      row('broker CPU per GB produced', 's', 'brokerCpuSecondsPerGigabyte', { floor: 0.5, aim: 0.3 }, lower),
      row('bytes written per byte produced', 'bytes', 'bytesWrittenPerByte', {}, lower)
    ]
  }
}

function smallRecords (): Load {
  return {
    id: 'small-records',
    method: 'Acknowledged records after a second of warm-up.',
    settings: 'librdkafka: records of 100 bytes, batch.size 1,000,000, linger.ms 5, acks=all, no codec, 6 partitions in turn',
    brokers: BOTH,
    run: async (turn) => await work.produceTo(turn, { recordBytes: 100 }),
    rows: [row('produce, librdkafka, 100 B records', 'records/s', 'recordsPerSecond', { floor: 1.3, aim: 2 })]
  }
}

function java (): Load {
  return {
    id: 'java',
    method: 'What ProducerPerformance says of the records after its first 150,000 (about a second), and then ConsumerPerformance of all of them.',
    settings: 'Kafka\'s own tools: records of 1,000 bytes, the client\'s defaults (acks=all, idempotent) but linger.ms 5 and batch.size 131072, 6 partitions',
    brokers: [HAULOUT, KAFKA, SINK],
    run: work.javaTools,
    rows: [
      row('produce, Java ProducerPerformance, linger 5 ms, 128 KB batches', 'MB/s', 'megabytesPerSecond', { floor: 1.2 }),
      row('the same, beside a server that drops the records: the client\'s own limit', 'MB/s', 'megabytesPerSecond', { aim: 0.95, peer: SINK }),
      row('broker CPU per GB from Java\'s producer', 's', 'brokerCpuSecondsPerGigabyte', {}, lower),
      row('consume, Java ConsumerPerformance', 'MB/s', 'consumedMegabytesPerSecond')
    ]
  }
}

function durableBatches (): Load {
  return {
    id: 'durable-batches',
    method: 'Acknowledged records after a second of warm-up; both brokers answer when the records are on stable storage.',
    settings: 'librdkafka: records of 1,000 bytes, batch.size 16384, linger.ms 5, acks=all, no codec, 1 partition; Kafka with flush.messages=1',
    brokers: [HAULOUT, KAFKA_DURABLE],
    run: async (turn) => await work.produceTo(turn, { batchBytes: 16384, partitions: 1 }),
    rows: [row('produce, 16 KB batches, 1 partition, both on disk before the answer', 'MB/s', 'megabytesPerSecond', { floor: 10, aim: 25, peer: KAFKA_DURABLE })]
  }
}

function consumeTail (): Load {
  return {
    id: 'consume-tail',
    method: 'The newest 36 MB, from their beginning again whenever the end of a partition is reached.',
    settings: RDKAFKA_CONSUMER,
    brokers: BOTH,
    run: work.consumeTail,
    rows: [
      row('consume, librdkafka, from the tail\'s memory', 'MB/s', 'megabytesPerSecond', { floor: 1.2, aim: 1.6 }),
      row('broker CPU per GB consumed, tail', 's', 'brokerCpuSecondsPerGigabyte', { floor: 0.6, aim: 0.3 }, lower)
    ]
  }
}

function consume (): Load {
  return {
    id: 'consume',
    method: '400 MB per second of --seconds, written once for each broker, then consumed as they are (Kafka has them in the page cache, Haulout has not) and ' +
      'with the page cache dropped.',
    settings: RDKAFKA_CONSUMER,
    brokers: BOTH,
    keepsTopics: true,
    run: work.consumeFilled(),
    rows: [
      row('consume, librdkafka, cold', 'MB/s', 'cold.megabytesPerSecond', { floor: 1, aim: 1.5 }),
      row('consume, librdkafka, just written', 'MB/s', 'warm.megabytesPerSecond'),
      row('broker CPU per GB consumed, cold', 's', 'cold.brokerCpuSecondsPerGigabyte', { floor: 0.6, aim: 0.3 }, lower),
      row('broker CPU per GB consumed, just written', 's', 'warm.brokerCpuSecondsPerGigabyte', { floor: 0.6, aim: 0.3 }, lower)
    ]
  }
}

function latency (): Load {
  return {
    id: 'latency',
    method: 'One record at a time, from the send to its arrival at the consumer. Beside Haulout, which is durable: Kafka as it is by default, and with flush.messages=1.',
    settings: 'Kafka\'s own EndToEndLatency: records of 1,000 bytes, acks=all, 1 partition',
    brokers: [HAULOUT, KAFKA, KAFKA_DURABLE],
    run: work.endToEnd,
    rows: [
      row('EndToEndLatency, acks=all, mean: ours durable', 'ms', 'latencyMsMean', { floor: 1, aim: 0.5 }, { ...lower, others: [KAFKA.name, KAFKA_DURABLE.name] }),
      row('EndToEndLatency, acks=all, p99: ours durable', 'ms', 'latencyMsP99', { floor: 1, aim: 0.5 }, { ...lower, others: [KAFKA.name, KAFKA_DURABLE.name] })
    ]
  }
}

function partitions (): Load {
  const part = (value: number, text: string): Target => ({ text, value: () => value })
  return {
    id: 'partitions',
    method: 'The load of `produce` to 6 and then to 1,000 partitions.',
    settings: `${RDKAFKA_LARGE}, then 1,000`,
    brokers: [HAULOUT, KAFKA, SINK],
    run: work.thousandPartitions,
    rows: [
      row('1,000 partitions instead of 6: throughput kept', 'of 1', 'kept', {}, { floor: part(0.6, '0.6'), aim: part(0.95, 'no loss') }),
      row('the same, beside a server that drops the records', 'of 1', 'kept', { peer: SINK }),
      row('produce to 1,000 partitions', 'MB/s', 'megabytesPerSecond', { aim: 9 }),
      row('produce to 1,000 partitions, beside a server that drops the records', 'MB/s', 'megabytesPerSecond', { peer: SINK }),
      row('broker CPU per GB produced to 1,000 partitions', 's', 'brokerCpuSecondsPerGigabyte', {}, lower)
    ]
  }
}

function connections (): Load {
  return {
    id: 'connections',
    method: 'Resident memory with 5,000 connections that had one answer each and are idle, less that before, divided by 5,000.',
    settings: 'the wire load',
    brokers: BOTH,
    fresh: true,
    run: work.idleConnections,
    rows: [row('5,000 connections idle: memory each', 'kB', 'kilobytesEach', { floor: 0.5 }, { ...lower, aim: { text: '20', value: () => 20 } })]
  }
}

function start (): Load {
  return {
    id: 'start',
    method: 'A new process on a new folder (Kafka formats it first) until it answers Metadata; resident memory 3 s later, and at its highest after the load of `produce`.',
    settings: RDKAFKA_LARGE,
    brokers: BOTH,
    fresh: true,
    run: work.startAndFirstLoad,
    rows: [
      row('start to first answer', 'ms', 'startMs', { floor: 0.15 }, { ...lower, aim: { text: '150', value: () => 150 } }),
      row('memory idle', 'MiB', 'idleMebibytes', { floor: 0.35 }, { ...lower, aim: { text: '70 MB', value: () => 70e6 / 2 ** 20 } }),
      row('memory under the first load', 'MiB', 'residentMebibytesMax', { floor: 0.35 }, { ...lower, aim: { text: '200 MB', value: () => 200e6 / 2 ** 20 } })
    ]
  }
}

function wire (): Load {
  return {
    id: 'wire',
    method: 'Encoded requests replayed: the client takes next to no processor time, so the broker has both cores.',
    settings: 'wire load: requests of one batch of 1,000 records of 1,000 bytes, 6 partitions, 6 connections, 4 requests on the way each, acks=all',
    brokers: [HAULOUT, KAFKA, SINK],
    run: async (turn) => await work.wireProduce(turn, { recordBytes: 1000, recordCount: 1000, partitions: 6, connections: 6, depth: 4 }),
    rows: [
      row('produce, wire load, 1 MB requests', 'MB/s', 'megabytesPerSecond', {}, { others: [KAFKA.name, SINK.name] }),
      row('wire load: latency of a 1 MB request, p99', 'ms', 'latencyMsP99', {}, lower),
      row('wire load: processors that the client takes', 'of 1', 'clientCpuShare', {}, { ...lower, others: [KAFKA.name, SINK.name] })
    ]
  }
}

function wireFetch (): Load {
  return {
    id: 'wire-fetch',
    method: 'Encoded Fetch requests of 1 MiB for the newest 36 MB, replayed; answers are thrown away in the kernel.',
    settings: 'wire load: 6 connections, 1 request on the way each',
    brokers: BOTH,
    run: work.wireFetch,
    rows: [row('consume, wire load, from the tail\'s memory', 'MB/s', 'megabytesPerSecond')]
  }
}

function javaScript (client: 'kafkajs' | 'platformatic', title: string): Load {
  return {
    id: client,
    method: 'Acknowledged records after a second of warm-up; then the same records from the beginning.',
    settings: `${title}: records of 1,000 bytes, 6 sends of 500 records on the way, acks=all, no codec, 6 partitions`,
    brokers: BOTH,
    run: async (turn) => await work.javaScriptClient(client, turn),
    rows: [
      row(`produce, ${title}`, 'MB/s', 'megabytesPerSecond'),
      row(`consume, ${title}`, 'MB/s', 'consumedMegabytesPerSecond')
    ]
  }
}
