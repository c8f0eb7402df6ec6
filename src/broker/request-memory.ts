/**
 * The memory that requests of all connections may hold together. While there is too much, only the connection whose incomplete
 * request is the oldest is read, so that the broker gets on with the work it has; the frame deadline ends one that does not.
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

  constructor (private readonly bytesMax: number) {}

  get bytesHeld (): number { return this.bytes }

  update (holder: RequestHolder): void {
    const before = this.holders.get(holder) ?? 0
    const now = holder.requestBytes
    if (now === 0) this.holders.delete(holder)
    else if (now !== before) this.holders.set(holder, now)
    this.bytes += now - before
    this.regulate()
  }

  remove (holder: RequestHolder): void {
    this.bytes -= this.holders.get(holder) ?? 0
    this.holders.delete(holder)
    this.regulate()
  }

  private regulate (): void {
    const short = this.bytes > this.bytesMax
    if (!short && !this.short) return
    this.short = short
    let first = true
    for (const holder of this.holders.keys()) {
      const admitted = !short || (first && holder.hasIncompleteFrame)
      if (holder.hasIncompleteFrame) first = false
      holder.setMemoryPaused(!admitted)
    }
  }
}
