/**
 * What a measurement is: sides that do the same work in turn, again and again, and the rows of the table that are read off their figures.
 * `MeasurementRun` does the turns; everything that depends on figures alone is pure.
 */
import { summarize, type Summary } from './statistics.js'

/** Named numbers of one repetition of one side. */
export type Figures = Readonly<Record<string, number>>

export interface Side {
  /** 'Haulout', 'walrus', or a variant of ours such as '1,000 logs'. */
  readonly name: string
  /** Rejects with `LeftOut` when this side cannot be had here. */
  run (): Promise<Figures>
}

/** A side that cannot take part; the message says why, in one line. */
export class LeftOut extends Error {
  constructor (why: string) {
    super(why.split('\n')[0])
  }
}

/** Calls `work`; whatever it fails with leaves the side out. `what` says what could not be done: 'walrus-rust cannot be built here'. */
export async function orLeftOut<T> (what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof LeftOut) throw error
    throw new LeftOut(`${what}: ${(error as { readonly complaint?: string }).complaint ?? (error as Error).message}`)
  }
}

/** The median of a side's figure; undefined when the side was left out. */
export type Median = (side: string, figure: string) => number | undefined

export interface Target {
  readonly text: string
  /** Undefined when what it is made of is not there. */
  value (median: Median): number | undefined
}

export interface Row {
  readonly title: string
  readonly unit: string
  readonly better: 'higher' | 'lower'
  readonly figure: string
  /** The side that is judged. */
  readonly side: string
  /** Shown beside it; the figure by the same name. */
  readonly others: readonly string[]
  readonly floor?: Target
  readonly aim?: Target
}

export interface Measurement {
  /** What --only takes. */
  readonly id: string
  /** How it is done, one sentence. */
  readonly method: string
  readonly sides: readonly Side[]
  readonly rows: readonly Row[]
}

export interface Sample {
  readonly measurement: string
  readonly side: string
  readonly repetition: number
  readonly figure: string
  readonly value: number
}

export interface Outcome {
  readonly measurement: Measurement
  readonly samples: readonly Sample[]
  /** Why sides are missing, by their name. */
  readonly leftOut: ReadonlyMap<string, string>
}

/** Runs every side once per repetition, in turn; every second round in reverse order, so that no side always comes first. */
export class MeasurementRun implements Outcome {
  /** Also while it runs: of what is finished. */
  readonly samples: Sample[] = []
  readonly leftOut = new Map<string, string>()

  constructor (readonly measurement: Measurement) {}

  async run (repetitions: number, onStep: (text: string) => void): Promise<void> {
    const { id, sides } = this.measurement
    for (let repetition = 1; repetition <= repetitions; repetition++) {
      for (const side of inTurn(sides, repetition).filter(({ name }) => !this.leftOut.has(name))) {
        onStep(`${id}: ${side.name}, ${repetition} of ${repetitions}`)
        try {
          const figures = await side.run()
          for (const [figure, value] of Object.entries(figures)) this.samples.push({ measurement: id, side: side.name, repetition, figure, value })
        } catch (error) {
          if (!(error instanceof LeftOut)) throw error
          this.leftOut.set(side.name, error.message)
        }
      }
    }
  }
}

/** Forwards in the first round, backwards in the second, and so on. */
export function inTurn<T> (items: readonly T[], repetition: number): T[] {
  return repetition % 2 === 1 ? [...items] : items.toReversed()
}

export function summaryOf (samples: readonly Sample[], side: string, figure: string): Summary | undefined {
  return summarize(samples.filter((sample) => sample.side === side && sample.figure === figure).map(({ value }) => value))
}

export type Verdict = 'aim held' | 'floor held' | 'aim held, not the floor' | 'not held' | 'no target' | 'unknown'

export interface JudgedRow {
  readonly row: Row
  readonly own: Summary | undefined
  readonly others: readonly { readonly name: string, readonly summary: Summary | undefined }[]
  readonly floor: number | undefined
  readonly aim: number | undefined
  /** How far above the floor: 1 is on it, also where lower is better. */
  readonly toFloor: number | undefined
  readonly verdict: Verdict
}

export function judge (row: Row, samples: readonly Sample[]): JudgedRow {
  const median: Median = (side, figure) => summaryOf(samples, side, figure)?.median
  const own = summaryOf(samples, row.side, row.figure)
  const floor = row.floor?.value(median)
  const aim = row.aim?.value(median)
  const ratio = (target: number | undefined): number | undefined => {
    if (own === undefined || target === undefined) return undefined
    return row.better === 'higher' ? own.median / target : target / own.median
  }
  return {
    row,
    own,
    others: row.others.map((name) => ({ name, summary: summaryOf(samples, name, row.figure) })),
    floor,
    aim,
    toFloor: ratio(floor),
    verdict: verdictOf(row, ratio(floor), ratio(aim))
  }
}

/** A floor above the aim (three times a peer that is as fast as the device) can be missed by one who holds the aim. */
function verdictOf (row: Row, toFloor: number | undefined, toAim: number | undefined): Verdict {
  if (row.floor === undefined && row.aim === undefined) return 'no target'
  if (toAim !== undefined && toAim >= 1) return toFloor !== undefined && toFloor < 1 ? 'aim held, not the floor' : 'aim held'
  if (toFloor !== undefined) return toFloor >= 1 ? 'floor held' : 'not held'
  return row.floor === undefined && toAim !== undefined ? 'not held' : 'unknown'
}
