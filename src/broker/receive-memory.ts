/**
 * The memory that sockets are read into, used again and again: memory outside V8's heap that is made for every read, as Node does by
 * default, makes its garbage collector work for half of a busy broker's time.
 *
 * One buffer takes the next bytes of whichever socket is read; requests that did not fit are gathered in buffers of their own, which
 * come back here. So a request is only valid until its handler's first await: see `Handler.copiesRequest`.
 */
import type { FrameMemory } from '../protocol/frame-decoder.js'

const READ_BYTES = 256 * 1024
const KEPT_BYTES_MAX = 16 * 1024 * 1024
const POOLED_BYTES_MIN = 64 * 1024
const POOLED_BYTES_MAX = 4 * 1024 * 1024

export class ReceiveMemory implements FrameMemory {
  /** What a socket is read into, between the read and the return of its callback. */
  readonly shared = Buffer.allocUnsafeSlow(READ_BYTES)
  /** Buffers to be used again, by their length, a power of two. */
  private readonly kept = new Map<number, Buffer[]>()
  private keptBytes = 0

  take (bytes: number): Buffer {
    if (bytes < POOLED_BYTES_MIN || bytes > POOLED_BYTES_MAX) return Buffer.allocUnsafeSlow(bytes)
    const length = 2 ** Math.ceil(Math.log2(bytes))
    const kept = this.kept.get(length)?.pop()
    if (kept === undefined) return Buffer.allocUnsafeSlow(length)
    this.keptBytes -= length
    return kept
  }

  give (buffer: Buffer): void {
    const { length } = buffer
    if (length < POOLED_BYTES_MIN || length > POOLED_BYTES_MAX || this.keptBytes + length > KEPT_BYTES_MAX) return
    const kept = this.kept.get(length)
    if (kept === undefined) this.kept.set(length, [buffer])
    else kept.push(buffer)
    this.keptBytes += length
  }
}
