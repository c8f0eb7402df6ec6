/**
 * The memory that requests of all connections may hold together. While there is too much, a connection that holds more than a little
 * is not read, except the one whose incomplete request is the oldest: so the broker gets on with the work it has, clients with
 * ordinary requests notice nothing, and the deadline of a request that stands still ends one that only promises.
 */
export interface RequestHolder {
  readonly requestBytes: number
  readonly hasIncompleteFrame: boolean
  setMemoryPaused (paused: boolean): void
}

export class RequestMemory {
  /** Bytes held, in the order in which connections began to hold some. */
  private readonly holders = new Map<RequestHolder, number>()
  private bytes = 0
  private short = false

  /**
   * @param bytesMax Bytes that all may hold before connections are not read.
   * @param bytesFree Bytes that each may hold all the same.
   */
  constructor (private readonly bytesMax: number, private readonly bytesFree: number) {}

  get bytesHeld (): number { return this.bytes }
  /** Whether there is too much now. */
  get isShort (): boolean { return this.short }

  update (holder: RequestHolder): void {
    const before = this.holders.get(holder) ?? 0
    const now = holder.requestBytes
    this.bytes += now - before
    if (now === 0) this.forget(holder)
    else if (now !== before) this.holders.set(holder, now)
    this.regulate()
  }

  remove (holder: RequestHolder): void {
    this.bytes -= this.holders.get(holder) ?? 0
    this.holders.delete(holder)
    this.regulate()
  }

  /** One that holds nothing is not paused, and nobody would come back to it. */
  private forget (holder: RequestHolder): void {
    if (this.holders.delete(holder) && this.short) holder.setMemoryPaused(false)
  }

  private regulate (): void {
    const short = this.bytes > this.bytesMax
    if (!short && !this.short) return
    this.short = short
    let oldest: RequestHolder | undefined
    for (const [holder, bytes] of this.holders) {
      const small = bytes <= this.bytesFree
      if (!small && holder.hasIncompleteFrame) oldest ??= holder
      holder.setMemoryPaused(short && !small && holder !== oldest)
    }
  }
}
