/**
 * The memory that requests of all connections may hold together. While there is too much, a connection that holds more than a little
 * is not read, except the one whose incomplete request is the oldest: so the broker gets on with the work it has, and clients with
 * ordinary requests notice nothing. When that one does not get on either, requests that only promise are given up, the oldest first.
 */
import type { Clock } from './clock.js'
import type { Limits } from './limits.js'

export interface RequestHolder {
  readonly requestBytes: number
  readonly hasIncompleteFrame: boolean
  setMemoryPaused (paused: boolean): void
  /** Closes the connection; `remove` follows. */
  giveUpForMemory (): void
}

export type RequestMemoryLimits = Pick<Limits, 'requestMemoryBytesMax' | 'requestBytesFree' | 'stalledDeadlineMs'>

/** Giving up goes on until so much of the memory is free, so that it need not be done again at once. */
const SHARE_FREED = 1 / 4

export class RequestMemory {
  /** Bytes held, in the order in which connections began to hold some. */
  private readonly holders = new Map<RequestHolder, number>()
  private bytes = 0
  private short = false
  /** The one large holder that is read while memory is short. */
  private admitted: RequestHolder | undefined
  private progress = { atMs: 0, bytes: 0 }

  constructor (private readonly limits: RequestMemoryLimits, private readonly clock: Clock) {}

  get bytesHeld (): number { return this.bytes }
  /** Whether there is too much now. */
  get isShort (): boolean { return this.short }

  update (holder: RequestHolder): void {
    const before = this.holders.get(holder) ?? 0
    const now = holder.requestBytes
    this.bytes += now - before
    if (this.short) this.noteProgress(holder, before, now)
    if (now === 0) this.forget(holder)
    else if (now !== before) this.holders.set(holder, now)
    this.regulate()
  }

  remove (holder: RequestHolder): void {
    this.bytes -= this.holders.get(holder) ?? 0
    this.holders.delete(holder)
    this.regulate()
  }

  /** Ends a shortage in which nothing gets on. Called about once a second. */
  relieve (nowMs: number): void {
    const { requestMemoryBytesMax, requestBytesFree, stalledDeadlineMs } = this.limits
    if (!this.short || nowMs - this.progress.atMs <= stalledDeadlineMs) return
    let excessBytes = this.bytes - requestMemoryBytesMax * (1 - SHARE_FREED)
    for (const [holder, bytes] of [...this.holders]) {
      if (excessBytes <= 0) break
      if (bytes <= requestBytesFree || !holder.hasIncompleteFrame) continue
      excessBytes -= bytes
      holder.giveUpForMemory()
    }
  }

  /** A large request that grows because it is read, or that is done with, is progress; a trickle is none. */
  private noteProgress (holder: RequestHolder, before: number, now: number): void {
    const { requestBytesFree } = this.limits
    if (now > before ? holder !== this.admitted : before <= requestBytesFree) return
    this.progress.bytes += Math.abs(now - before)
    if (this.progress.bytes >= requestBytesFree) this.progress = { atMs: this.clock.monotonic(), bytes: 0 }
  }

  /** One that holds nothing is not paused, and nobody would come back to it. */
  private forget (holder: RequestHolder): void {
    if (this.holders.delete(holder) && this.short) holder.setMemoryPaused(false)
  }

  private regulate (): void {
    const short = this.bytes > this.limits.requestMemoryBytesMax
    if (!short && !this.short) return
    if (short && !this.short) this.progress = { atMs: this.clock.monotonic(), bytes: 0 }
    this.short = short
    this.admitted = undefined
    for (const [holder, bytes] of this.holders) {
      const small = bytes <= this.limits.requestBytesFree
      if (!small && holder.hasIncompleteFrame) this.admitted ??= holder
      holder.setMemoryPaused(short && !small && holder !== this.admitted)
    }
  }
}
