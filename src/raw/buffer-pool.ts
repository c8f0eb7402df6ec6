/**
 * Memory that is used again: new memory makes the garbage collector look at what is young and large, or, where there is much of it, at everything.
 * In a few sizes, so that what is taken is not much more than what was asked for. So many bytes of each size are kept; the rest goes.
 */
export class BufferPool {
  private readonly kept: ReadonlyArray<{ readonly bytes: number, readonly countMax: number, readonly buffers: Buffer[] }>

  /** Sizes in ascending order. */
  constructor (sizes: readonly number[], keptBytesMax: number) {
    this.kept = sizes.map((bytes) => ({ bytes, countMax: Math.floor(keptBytesMax / bytes), buffers: [] }))
  }

  /** So many bytes or more, up to the next size; exactly so many where that is more than the largest one. */
  take (bytes: number): Buffer {
    for (const size of this.kept) if (bytes <= size.bytes) return size.buffers.pop() ?? Buffer.allocUnsafeSlow(size.bytes)
    return Buffer.allocUnsafeSlow(bytes)
  }

  /** Nobody looks at it any more: the next one who takes memory writes to it. */
  give (buffer: Buffer): void {
    for (const { bytes, countMax, buffers } of this.kept) if (bytes === buffer.length && buffers.length < countMax) buffers.push(buffer)
  }
}
