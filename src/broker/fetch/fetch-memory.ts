/**
 * Bounds the bytes of records that are on their way to consumers: being read, read, or not yet taken by the client's socket.
 *
 * All connections share one budget. When it is used up, a fetch still gets the one batch that lets its consumer move on, so
 * nobody starves. A connection that piles up responses without reading them waits for itself and for nobody else.
 */
export interface FetchMemoryLimits {
  /** All connections together. */
  readonly bytesMax: number
  /** A connection with so much on its way has to take some of it before more is read for it. More than one response can be. */
  readonly connectionBytesMax: number
  /** What each connection may have on its way even when others have used up everything. Default 64 KiB. */
  readonly connectionBytesFree?: number
}

export const FETCH_MEMORY_LIMITS: FetchMemoryLimits = {
  bytesMax: 256 * 1024 * 1024,
  connectionBytesMax: 64 * 1024 * 1024
}

const CONNECTION_BYTES_FREE = 64 * 1024

interface ConnectionUse {
  bytes: number
  /** Fetches of the connection that wait for it to read. */
  readonly waiting: (() => void)[]
}

export class FetchMemory {
  readonly #limits: FetchMemoryLimits
  readonly #uses = new Map<number, ConnectionUse>()
  #bytes = 0

  constructor (limits: FetchMemoryLimits = FETCH_MEMORY_LIMITS) {
    this.#limits = limits
  }

  get bytes (): number { return this.#bytes }
  /** How much may be read now beyond the one batch that a fetch always may. */
  get bytesLeft (): number { return Math.max(0, this.#limits.bytesMax - this.#bytes) }

  /** The share of one fetch. */
  share (connectionId: number): FetchMemoryShare {
    return new FetchMemoryShare(this, connectionId)
  }

  /** How much may be read now for a connection. */
  bytesLeftFor (connectionId: number): number {
    const own = (this.#limits.connectionBytesFree ?? CONNECTION_BYTES_FREE) - (this.#uses.get(connectionId)?.bytes ?? 0)
    return Math.max(own, this.bytesLeft)
  }

  mustWait (connectionId: number): boolean {
    return (this.#uses.get(connectionId)?.bytes ?? 0) >= this.#limits.connectionBytesMax
  }

  async nextRelease (connectionId: number): Promise<void> {
    await new Promise<void>((resolve) => { this.#uses.get(connectionId)!.waiting.push(resolve) })
  }

  /** `bytes` less than 0 gives back. */
  change (connectionId: number, bytes: number): void {
    let use = this.#uses.get(connectionId)
    if (use === undefined) this.#uses.set(connectionId, use = { bytes: 0, waiting: [] })
    use.bytes += bytes
    this.#bytes += bytes
    if (use.bytes <= 0) this.#uses.delete(connectionId)
    if (bytes < 0 && use.bytes < this.#limits.connectionBytesMax) for (const resolve of use.waiting.splice(0)) resolve()
  }
}

export class FetchMemoryShare {
  readonly #memory: FetchMemory
  readonly #connectionId: number
  #bytes = 0
  #reads: { release? (): void }[] = []

  constructor (memory: FetchMemory, connectionId: number) {
    this.#memory = memory
    this.#connectionId = connectionId
  }

  get bytesLeft (): number { return this.#memory.bytesLeftFor(this.#connectionId) }
  get mustWait (): boolean { return this.#memory.mustWait(this.#connectionId) }

  /** Resolves when the connection has room. One that is gone gives everything back, so this always resolves. */
  async room (): Promise<void> {
    while (this.mustWait) await this.#memory.nextRelease(this.#connectionId)
  }

  /** Sets aside what a read may bring; less than 0 gives back what it did not. */
  take (bytes: number): void {
    this.#bytes += bytes
    this.#memory.change(this.#connectionId, bytes)
  }

  /** What was read is looked at until the response has left. */
  releaseLater (read: { release? (): void }): void {
    this.#reads.push(read)
  }

  /** The response has left: everything is given back. */
  readonly giveAll = (): void => {
    this.take(-this.#bytes)
    const reads = this.#reads
    this.#reads = []
    for (const read of reads) read.release?.()
  }
}
