/**
 * Decides when what partitions know of their producers is stored, so that a start reads little of the logs again whatever their
 * size and number: all partitions together have at most `bytesMax` of records that no snapshot covers. When there are more, the
 * partitions with the most take a snapshot, until half is left.
 *
 * A partition without producers takes part: its snapshot is a few bytes and spares the next start a walk over its log. A lost
 * snapshot costs that walk and nothing else. Snapshots are kept by topic id, which is never used again; one that outlives its topic
 * is dropped when a start finds that no partition asked for it.
 */
import type { Logger } from 'pino'

/** Where snapshots stay: the newest value of each key. */
export interface SnapshotStore {
  readonly entries: ReadonlyMap<string, Buffer>
  /** Resolves when the values are stored; null deletes. */
  put (values: ReadonlyMap<string, Buffer | null>): Promise<void>
}

/** What one partition sees of it. */
export interface PartitionSnapshots {
  /** The newest snapshot; undefined when there is none. */
  load (): Buffer | undefined
  /**
   * From now on `take` is called for snapshots. It captures the state before its first await, and resolves when everything that the
   * state covers is on stable storage: a snapshot must never be ahead of its log.
   */
  track (bytesUncovered: number, take: () => Promise<Buffer>): SnapshotTracker
}

export interface SnapshotTracker {
  /** The partition has so many bytes of records more that no snapshot covers. */
  grew (bytes: number): void
  close (): void
}

export const UNCOVERED_BYTES_MAX = 64 * 1024 * 1024

interface Tracked {
  readonly key: string
  readonly take: () => Promise<Buffer>
  bytesUncovered: number
}

export class ProducerSnapshots {
  readonly #store: SnapshotStore
  readonly #logger: Logger
  readonly #bytesMax: number
  readonly #tracked = new Set<Tracked>()
  /** Keys that were there at the start and that no partition has asked for yet. */
  readonly #unclaimed: Set<string>
  #bytesUncovered = 0
  #running: Promise<void> | undefined

  constructor (store: SnapshotStore, logger: Logger, bytesMax = UNCOVERED_BYTES_MAX) {
    this.#store = store
    this.#logger = logger
    this.#bytesMax = bytesMax
    this.#unclaimed = new Set(store.entries.keys())
  }

  get bytesUncovered (): number { return this.#bytesUncovered }

  of (topicId: string, index: number): PartitionSnapshots {
    const key = `${topicId}-${index}`
    return {
      load: () => {
        this.#unclaimed.delete(key)
        return this.#store.entries.get(key)
      },
      track: (bytesUncovered, take) => this.#track({ key, take, bytesUncovered })
    }
  }

  /** Drops the snapshots of a deleted topic. */
  async forget (topicId: string, partitionCount: number): Promise<void> {
    const values = new Map<string, null>()
    for (let index = 0; index < partitionCount; index++) {
      const key = `${topicId}-${index}`
      if (this.#store.entries.has(key)) values.set(key, null)
    }
    if (values.size > 0) await this.#put(values)
  }

  /** Drops what belongs to no partition. To be called once all partitions are open. */
  async dropUnclaimed (): Promise<void> {
    if (this.#unclaimed.size === 0) return
    const values = new Map([...this.#unclaimed].map((key) => [key, null] as const))
    this.#unclaimed.clear()
    await this.#put(values)
  }

  /** Covers everything, for a clean end: the next start reads nothing again. */
  async close (): Promise<void> {
    await this.#running
    await this.#cover(0)
  }

  #track (tracked: Tracked): SnapshotTracker {
    this.#tracked.add(tracked)
    this.#bytesUncovered += tracked.bytesUncovered
    return {
      grew: (bytes) => {
        tracked.bytesUncovered += bytes
        this.#bytesUncovered += bytes
        if (this.#bytesUncovered > this.#bytesMax && this.#running === undefined) this.#start()
      },
      close: () => {
        if (this.#tracked.delete(tracked)) this.#bytesUncovered -= tracked.bytesUncovered
      }
    }
  }

  #start (): void {
    this.#running = this.#cover(this.#bytesMax / 2).finally(() => { this.#running = undefined })
  }

  /** Takes snapshots, of the partitions with the most uncovered bytes first, until at most `bytesLeft` are uncovered. */
  async #cover (bytesLeft: number): Promise<void> {
    const byBytes = [...this.#tracked].filter((tracked) => tracked.bytesUncovered > 0).sort((a, b) => b.bytesUncovered - a.bytesUncovered)
    const taking: Promise<void>[] = []
    const values = new Map<string, Buffer>()
    for (const tracked of byBytes) {
      if (this.#bytesUncovered <= bytesLeft) break
      this.#bytesUncovered -= tracked.bytesUncovered
      tracked.bytesUncovered = 0
      taking.push(tracked.take().then(
        (value) => { values.set(tracked.key, value) },
        // Its log has failed. The partition says so itself; the next start walks over that log.
        (error: unknown) => { this.#logger.debug({ err: error, key: tracked.key }, 'no snapshot of the producers') }
      ))
    }
    await Promise.all(taking)
    if (values.size > 0) await this.#put(values)
  }

  async #put (values: ReadonlyMap<string, Buffer | null>): Promise<void> {
    try {
      await this.#store.put(values)
    } catch (error) {
      this.#logger.warn({ err: error }, 'snapshots of producers were not stored; the next start reads more of the logs')
    }
  }
}
