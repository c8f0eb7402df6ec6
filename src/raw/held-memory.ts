/**
 * What the readers of a log hold between two reads, so that they can go on: bounded for all of them together. So a thousand cursors at rest take no
 * more memory than a few that are busy. Who read longest ago lets go first, and reads again when somebody comes back to it.
 */
export interface Holder {
  /** Nothing it holds counts any more. */
  letGo (): void
}

/** A dozen readers have all that they can use of it. */
const HELD_BYTES_MAX = 96 * 1024 * 1024

export class HeldMemory {
  /** Bytes that each has, in the order in which they read last. */
  private readonly holders = new Map<Holder, number>()
  private bytes = 0

  constructor (private readonly bytesMax = HELD_BYTES_MAX) {}

  /** What each may have so that none of them has to let go. */
  get share (): number {
    return this.bytesMax / Math.max(1, this.holders.size)
  }

  /** All that the holder has now. What one alone has may be more than the bound. */
  hold (holder: Holder, bytes: number): void {
    this.release(holder)
    this.holders.set(holder, bytes)
    this.bytes += bytes
    for (const oldest of this.holders.keys()) {
      if (this.bytes <= this.bytesMax || oldest === holder) return
      this.release(oldest)
      oldest.letGo()
    }
  }

  release (holder: Holder): void {
    this.bytes -= this.holders.get(holder) ?? 0
    this.holders.delete(holder)
  }
}
