/**
 * A load is one kind of work that is given to each broker in turn, again and again, and the rows of the table that are read off its figures.
 * Brokers stay up between the repetitions of a load, so that a JVM is warm; the first repetition is dropped. Where the start or the first
 * load is what is measured, `fresh` starts them anew each time and nothing is dropped.
 */
import { execFileSync } from 'node:child_process'
import type { Figures, Row, Sample } from '../store/measurement.js'
import { startBroker, type BrokerKind, type RunningBroker } from './brokers.js'
import { processFigures, type ProcessFigures } from './process-figures.js'
import { deleteTopics } from './topics.js'

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
  /** Parts of the work that could not be done, and why; the broker is there still. */
  readonly leftOut?: ReadonlyMap<string, string>
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
}

export interface RunOptions {
  readonly dataDir: string
  readonly seconds: number
  readonly repetitions: number
  readonly onStep: (text: string) => void
}

/** Every second round in reverse order, so that no broker always comes first. */
export async function runLoad (load: Load, options: RunOptions): Promise<LoadOutcome> {
  const up = new Map<BrokerKind, RunningBroker>()
  const samples: Sample[] = []
  const series = new Map<string, Series>()
  const latencies = new Map<string, LatencyBuckets>()
  const leftOut = new Map<string, string>()
  const turn = async (kind: BrokerKind, repetition: number): Promise<void> => {
    options.onStep(`${load.id}: ${kind.name}, ${repetition === 0 ? 'warm-up' : `${repetition} of ${options.repetitions}`}`)
    const broker = up.get(kind) ?? await startBroker(kind, options.dataDir)
    up.set(kind, broker)
    // What one broker left in the page cache is not written during the turn of the next.
    execFileSync('sync')
    const { figures, series: slots, latencyUs, leftOut: parts } = await load.run({ broker, repetition, topic: `${load.id}-${repetition}`, seconds: options.seconds })
    if (repetition > 0) for (const [figure, value] of Object.entries(figures)) samples.push({ measurement: load.id, side: kind.name, repetition, figure, value })
    if (slots !== undefined) series.set(kind.name, { side: kind.name, slotMs: slots.slotMs, slotBytes: slots.slotBytes })
    if (latencyUs !== undefined) latencies.set(kind.name, latencyUs)
    for (const [part, why] of parts ?? []) leave(`${kind.name}, ${part}`, why)
    if (load.fresh === true) await end(kind)
    else if (load.keepsTopics !== true && kind.drops !== true) await deleteTopics(broker.port, `${load.id}-${repetition}`)
  }
  const leave = (side: string, why: string): void => {
    options.onStep(`${load.id}: ${side}: ${why}`)
    leftOut.set(side, why.split('\n')[0]!)
  }
  const end = async (kind: BrokerKind): Promise<void> => {
    await up.get(kind)?.close()
    up.delete(kind)
  }
  try {
    for (let repetition = load.fresh === true ? 1 : 0; repetition <= options.repetitions; repetition++) {
      for (const kind of inTurn(load.brokers, repetition).filter(({ name }) => !leftOut.has(name))) {
        try {
          await turn(kind, repetition)
        } catch (error) {
          leave(kind.name, up.get(kind)?.ended() ?? (error as Error).message)
          await end(kind)
        }
      }
    }
  } finally {
    for (const kind of [...up.keys()]) await end(kind)
  }
  // In the order of the brokers, whoever came first: so have all pictures.
  const inOrder = <T>(found: ReadonlyMap<string, T>): [string, T][] => load.brokers.flatMap(({ name }) => found.has(name) ? [[name, found.get(name)!]] : [])
  return { load, samples, series: inOrder(series).map(([, slots]) => slots), latencies: new Map(inOrder(latencies)), leftOut }
}

export function inTurn<T> (items: readonly T[], repetition: number): T[] {
  return repetition % 2 === 1 ? [...items] : items.toReversed()
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
