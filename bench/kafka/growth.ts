/**
 * How throughput and cost grow: the same work with more partitions, more connections, other records, other settings, and with consumers that are far
 * behind. A load has several points; the figures of a point have its name in front: `1000.megabytesPerSecond`.
 */
import { LeftOut, type Row } from '../store/measurement.js'
import { HAULOUT, KAFKA } from './brokers.js'
import type { Load, Turn, Work } from './load.js'
import { produceTo, produceWhileOthersLag, wireProduce } from './work.js'

export interface Growth extends Load {
  /** What grows, as the name of an axis. */
  readonly across: string
  readonly points: readonly string[]
  /** What is read off every point. */
  readonly figures: readonly PointFigure[]
}

interface PointFigure {
  readonly title: string
  readonly unit: string
  readonly figure: string
  readonly better: 'higher' | 'lower'
}

const FIGURES: readonly PointFigure[] = [
  { title: 'throughput', unit: 'MB/s', figure: 'megabytesPerSecond', better: 'higher' },
  { title: 'broker CPU per GB', unit: 's', figure: 'brokerCpuSecondsPerGigabyte', better: 'lower' }
]
/** Of consumers that are far behind. */
const CONSUMED: PointFigure = { title: 'consumed by all', unit: 'MB/s', figure: 'consumedMegabytesPerSecond', better: 'higher' }

const CODECS = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
const ACKS = ['0', '1', 'all']

export function growths (): Growth[] {
  return [
    growth('growth-partitions', 'partitions', [1, 10, 100, 1000, 10_000], 'wire load: requests of one batch of 16 records of 1,000 bytes, 6 connections, 8 requests on the way each, acks=all',
      async (turn, partitions) => await wireProduce(turn, { recordBytes: 1000, recordCount: 16, partitions: Number(partitions), connections: 6, depth: 8 })),
    growth('growth-connections', 'connections', [1, 10, 100, 1000, 5000], 'wire load: requests of one batch of 4 records of 1,000 bytes, 6 partitions, 1 request on the way each, acks=all',
      async (turn, connections) => await wireProduce(turn, { recordBytes: 1000, recordCount: 4, partitions: 6, connections: Number(connections), depth: 1 })),
    growth('growth-record-bytes', 'bytes of a record', [100, 1000, 10_000, 100_000, 1_000_000], 'librdkafka: batch.size 1,000,000, linger.ms 5, acks=all, 6 partitions',
      async (turn, recordBytes) => await produceTo(turn, { recordBytes: Number(recordBytes) })),
    growth('growth-acks', 'acks', ACKS, 'librdkafka: records of 1,000 bytes, batch.size 1,000,000, linger.ms 5, 6 partitions',
      async (turn, acks) => await produceTo(turn, { acks: acks === 'all' ? -1 : Number(acks) })),
    growth('growth-codecs', 'codec', CODECS, 'librdkafka: records of 1,000 bytes of letters and digits, batch.size 1,000,000, linger.ms 5, acks=all, 6 partitions; megabytes before compression',
      async (turn, codec) => await produceTo(turn, { codec })),
    growth('growth-lagging', 'consumers far behind', [0, 1, 2, 4], 'librdkafka: the producer of `produce` at 16 KB batches, while consumers read 600 MB of another topic from its beginning, again and again; CPU per GB of both',
      async (turn, consumers) => await produceWhileOthersLag(turn, Number(consumers)), [...FIGURES, CONSUMED])
  ]
}

function growth (id: string, across: string, points: readonly (string | number)[], settings: string, work: (turn: Turn, point: string) => Promise<Work>,
  figures = FIGURES): Growth {
  const names = points.map(String)
  return {
    id,
    across,
    points: names,
    figures,
    settings,
    method: `${across[0]!.toUpperCase()}${across.slice(1)}: ${names.join(', ')}, one after the other.`,
    brokers: [HAULOUT, KAFKA],
    run: async (turn) => await pointByPoint(turn, across, names, work),
    rows: names.flatMap((point) => figures.map(({ title, unit, figure, better }): Row =>
      ({ title: `${across} ${point}: ${title}`, unit, figure: `${point}.${figure}`, better, side: HAULOUT.name, others: [KAFKA.name] })))
  }
}

/** The warm-up is one point: that of the middle. A point that fails costs no other one, while the broker is there. */
export async function pointByPoint (turn: Turn, across: string, points: readonly string[], work: (turn: Turn, point: string) => Promise<Work>): Promise<Work> {
  const wanted = turn.repetition === 0 ? [points[points.length >> 1]!] : points
  const all: Record<string, number> = {}
  const failed = new Map<string, string>()
  for (const point of wanted) {
    try {
      const { figures } = await work({ ...turn, topic: `${turn.topic}-${point}` }, point)
      for (const [name, value] of Object.entries(figures)) all[`${point}.${name}`] = value
    } catch (error) {
      if (error instanceof LeftOut || turn.broker.ended() !== undefined) throw error
      failed.set(`${across} ${point}`, (error as Error).message)
    }
  }
  return { figures: all, failed }
}
