/**
 * How throughput and cost grow: the same work with more partitions, more connections, other records, other settings, and with consumers that are far
 * behind. A load has several points; the figures of a point have its name in front: `1000.megabytesPerSecond`.
 */
import type { Figures, Row } from '../store/measurement.js'
import { HAULOUT, KAFKA } from './brokers.js'
import type { Load, Turn, Work } from './load.js'
import { produceTo, produceWhileOthersLag, wireProduce } from './work.js'

export interface Growth extends Load {
  /** What grows, as the name of an axis. */
  readonly across: string
  readonly points: readonly string[]
}

const CODECS = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
const ACKS = ['0', '1', '-1']

export function growths (): Growth[] {
  return [
    growth('growth-partitions', 'partitions', [1, 10, 100, 1000, 10_000], 'wire load: requests of one batch of 16 records of 1,000 bytes, 6 connections, 8 requests on the way each, acks=all',
      async (turn, partitions) => await wireProduce(turn, { recordBytes: 1000, recordCount: 16, partitions: Number(partitions), connections: 6, depth: 8 })),
    growth('growth-connections', 'connections', [1, 10, 100, 1000, 5000], 'wire load: requests of one batch of 4 records of 1,000 bytes, 6 partitions, 1 request on the way each, acks=all',
      async (turn, connections) => await wireProduce(turn, { recordBytes: 1000, recordCount: 4, partitions: 6, connections: Number(connections), depth: 1 })),
    growth('growth-record-bytes', 'bytes of a record', [100, 1000, 10_000, 100_000, 1_000_000], 'librdkafka: batch.size 1,000,000, linger.ms 5, acks=all, 6 partitions',
      async (turn, recordBytes) => await produceTo(turn, { recordBytes: Number(recordBytes) })),
    growth('growth-acks', 'acks', ACKS, 'librdkafka: records of 1,000 bytes, batch.size 1,000,000, linger.ms 5, 6 partitions',
      async (turn, acks) => await produceTo(turn, { acks: Number(acks) })),
    growth('growth-codecs', 'codec', CODECS, 'librdkafka: records of 1,000 bytes of letters and digits, batch.size 1,000,000, linger.ms 5, acks=all, 6 partitions; megabytes before compression',
      async (turn, codec) => await produceTo(turn, { codec })),
    growth('growth-lagging', 'consumers far behind', [0, 1, 2, 4], 'librdkafka: the producer of `produce` at 16 KB batches, while consumers read 600 MB of another topic from its beginning, again and again; CPU per GB of both',
      async (turn, consumers) => await produceWhileOthersLag(turn, Number(consumers)), [['consumed by all', 'MB/s', 'consumedMegabytesPerSecond']])
  ]
}

function growth (id: string, across: string, points: readonly (string | number)[], settings: string, work: (turn: Turn, point: string) => Promise<Work>,
  more: readonly (readonly [title: string, unit: string, figure: string])[] = []): Growth {
  const names = points.map(String)
  return {
    id,
    across,
    points: names,
    settings,
    method: `Each number of ${across} in turn.`,
    brokers: [HAULOUT, KAFKA],
    run: async (turn) => ({ figures: await pointByPoint(turn, names, work) }),
    rows: names.flatMap((point) => [growthRow(`${across} ${point}: throughput`, 'MB/s', `${point}.megabytesPerSecond`, 'higher'),
      growthRow(`${across} ${point}: broker CPU per GB`, 's', `${point}.brokerCpuSecondsPerGigabyte`, 'lower'),
      ...more.map(([title, unit, figure]) => growthRow(`${across} ${point}: ${title}`, unit, `${point}.${figure}`, 'higher'))])
  }
}

function growthRow (title: string, unit: string, figure: string, better: 'higher' | 'lower'): Row {
  return { title, unit, figure, better, side: HAULOUT.name, others: [KAFKA.name] }
}

/** The warm-up is one point: that of the middle. */
async function pointByPoint (turn: Turn, points: readonly string[], work: (turn: Turn, point: string) => Promise<Work>): Promise<Figures> {
  const wanted = turn.repetition === 0 ? [points[points.length >> 1]!] : points
  const all: Record<string, number> = {}
  for (const point of wanted) {
    const { figures } = await work({ ...turn, topic: `${turn.topic}-${point}` }, point)
    for (const [name, value] of Object.entries(figures)) all[`${point}.${name}`] = value
  }
  return all
}
