/**
 * A load is one kind of work that is given to each broker in turn, again and again, and the rows of the table that are read off its figures.
 * Brokers stay up between the repetitions of a load, so that a JVM is warm; the first repetition is dropped. Where the start or the first
 * load is what is measured, `fresh` starts them anew each time and nothing is dropped.
 */
import { execFileSync } from 'node:child_process'
import { statfsSync } from 'node:fs'
import { inTurn, LeftOut, type Figures, type Row, type Sample } from '../store/measurement.js'
import { startBroker, type BrokerKind, type RunningBroker } from './brokers.js'
import { processFigures, type ProcessFigures } from './process-figures.js'
import { deleteTopics } from './topics.js'

/** Less is no room for a segment of every partition. */
const SPACE_MEBIBYTES_MIN = 64

/** Bytes in every slot of `slotMs` since the start of a repetition. */
export interface Series {
  readonly side: string
  readonly slotMs: number
  readonly slotBytes: readonly number[]
}

export type LatencyBuckets = readonly (readonly [us: number, count: number])[]

export interface Turn {
  readonly broker: RunningBroker
  readonly repetition: number
  /** Not used before on this broker. */
  readonly topic: string
  readonly seconds: number
}

export interface Work {
  readonly figures: Figures
  readonly series?: Omit<Series, 'side'>
  /** From so many microseconds on: count. */
  readonly latencyUs?: LatencyBuckets
  /** Parts of the work that cannot be done on this machine, and why. */
  readonly leftOut?: ReadonlyMap<string, string>
  /** Parts that could not be done, and why; the broker is there still. */
  readonly failed?: ReadonlyMap<string, string>
}

export interface Load {
  /** What --only takes. */
  readonly id: string
  readonly method: string
  /** Without words about the broker: the settings of the client. */
  readonly settings: string
  readonly brokers: readonly BrokerKind[]
  readonly fresh?: boolean
  /** Later repetitions use the topics of earlier ones; otherwise they are deleted, so that a disk holds all repetitions. */
  readonly keepsTopics?: boolean
  run (turn: Turn): Promise<Work>
  readonly rows: readonly Row[]
}

export interface LoadOutcome {
  readonly load: Load
  readonly samples: readonly Sample[]
  /** Of the last repetition of each side. */
  readonly series: readonly Series[]
  readonly latencies: ReadonlyMap<string, LatencyBuckets>
  /** By side, or by `side, part` where it is a part of its work. */
  readonly leftOut: ReadonlyMap<string, string>
  /** Of those that are left out, the sides that were there and did not do their work. */
  readonly failed: ReadonlySet<string>
}

export interface RunOptions {
  readonly dataDir: string
  readonly seconds: number
  readonly repetitions: number
  readonly onStep: (text: string) => void
}

/** A load under way: every broker in turn, every second round in reverse order, so that none always comes first. */
export class LoadRun {
  private readonly up = new Map<BrokerKind, RunningBroker>()
  private readonly samples: Sample[] = []
  private readonly series = new Map<string, Series>()
  private readonly latencies = new Map<string, LatencyBuckets>()
  private readonly leftOut = new Map<string, string>()
  private readonly failed = new Set<string>()

  constructor (private readonly load: Load, private readonly options: RunOptions) {}

  async run (): Promise<void> {
    try {
      for (let repetition = this.load.fresh === true ? 1 : 0; repetition <= this.options.repetitions; repetition++) {
        for (const kind of inTurn(this.load.brokers, repetition).filter(({ name }) => !this.leftOut.has(name))) {
          try {
            await this.turn(kind, repetition)
          } catch (error) {
            if (error instanceof LeftOut) this.leave(kind.name, error.message)
            else this.fail(kind.name, kind.name, `${fullDisk(this.options.dataDir) ?? ''}${this.up.get(kind)?.ended() ?? (error as Error).message}`)
            await this.end(kind)
          }
        }
      }
    } finally {
      for (const kind of [...this.up.keys()]) await this.end(kind)
    }
  }

  /** Also while it runs: of what is finished. In the order of the brokers, whoever came first: so have all pictures. */
  outcome (): LoadOutcome {
    const { load, samples, series, latencies, leftOut, failed } = this
    const inOrder = <T>(found: ReadonlyMap<string, T>): [string, T][] => load.brokers.flatMap(({ name }) => found.has(name) ? [[name, found.get(name)!]] : [])
    return { load, samples, series: inOrder(series).map(([, slots]) => slots), latencies: new Map(inOrder(latencies)), leftOut, failed }
  }

  private async turn (kind: BrokerKind, repetition: number): Promise<void> {
    const { load, options } = this
    options.onStep(`${load.id}: ${kind.name}, ${repetition === 0 ? 'warm-up' : `${repetition} of ${options.repetitions}`}`)
    const broker = this.up.get(kind) ?? await startBroker(kind, options.dataDir)
    this.up.set(kind, broker)
    // What one broker left in the page cache is not written during the turn of the next.
    execFileSync('sync')
    const { figures, series, latencyUs, leftOut, failed } = await load.run({ broker, repetition, topic: `${load.id}-${repetition}`, seconds: options.seconds })
    // A producer tries again, so a disk that filled up shows as a slow one.
    if (fullDisk(options.dataDir) !== undefined) throw new Error('what was measured is of no use')
    if (repetition > 0) for (const [figure, value] of Object.entries(figures)) this.samples.push({ measurement: load.id, side: kind.name, repetition, figure, value })
    if (series !== undefined) this.series.set(kind.name, { side: kind.name, slotMs: series.slotMs, slotBytes: series.slotBytes })
    if (latencyUs !== undefined) this.latencies.set(kind.name, latencyUs)
    for (const [part, why] of leftOut ?? []) this.leave(`${kind.name}, ${part}`, why)
    for (const [part, why] of failed ?? []) this.fail(kind.name, `${kind.name}, ${part}`, why)
    if (load.fresh === true) await this.end(kind)
    else if (load.keepsTopics !== true && kind.drops !== true) await deleteTopics(broker.port, `${load.id}-${repetition}`)
  }

  /** All of what it said is shown: it is a broker's last words, or those of a client that met a mistake of ours. */
  private fail (side: string, part: string, why: string): void {
    this.failed.add(side)
    this.leave(part, why)
  }

  private leave (part: string, why: string): void {
    this.options.onStep(`${this.load.id}: ${part}: ${why}`)
    this.leftOut.set(part, why.split('\n')[0]!)
  }

  private async end (kind: BrokerKind): Promise<void> {
    await this.up.get(kind)?.close()
    this.up.delete(kind)
  }
}

/** The beginning of a sentence where there is no space left; undefined where there is. */
export function fullDisk (folder: string, { bavail, bsize }: { readonly bavail: number, readonly bsize: number } = statfsSync(folder)): string | undefined {
  const mebibytes = Math.floor(bavail * bsize / 2 ** 20)
  return mebibytes >= SPACE_MEBIBYTES_MIN ? undefined : `the disk is full, ${mebibytes} MiB are left for ${folder} (take another --data-dir, or fewer --seconds): `
}

/** What the broker's process used while `work` ran, per gigabyte of what `work` says that it moved. */
export async function withCost<T> (broker: RunningBroker, work: () => Promise<T>, bytesOf: (result: T) => number): Promise<{ result: T, cost: Figures }> {
  const before = processFigures(broker.pid)
  const result = await work()
  return { result, cost: costOf(before, processFigures(broker.pid), bytesOf(result)) }
}

export function costOf (before: ProcessFigures, after: ProcessFigures, bytes: number): Figures {
  return {
    brokerCpuSecondsPerGigabyte: (after.cpuSeconds - before.cpuSeconds) / (bytes / 1e9),
    bytesWrittenPerByte: (after.writtenBytes - before.writtenBytes) / bytes,
    bytesReadPerByte: (after.readBytes - before.readBytes) / bytes,
    residentMebibytesMax: after.residentBytesMax / 2 ** 20
  }
}
