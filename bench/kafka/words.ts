/**
 * The classic encoding of Kafka's protocol, as much as the bench needs for its sink and its pre-encoded requests: kept apart from the
 * broker's own, so that a mistake there is not made here too. Pure.
 */

export class Words {
  private readonly parts: Buffer[] = []

  int8 (value: number): this { return this.number(1, (part) => part.writeInt8(value)) }
  int16 (value: number): this { return this.number(2, (part) => part.writeInt16BE(value)) }
  int32 (value: number): this { return this.number(4, (part) => part.writeInt32BE(value)) }
  int64 (value: bigint): this { return this.number(8, (part) => part.writeBigInt64BE(value)) }

  string (value: string | null): this {
    if (value === null) return this.int16(-1)
    const bytes = Buffer.from(value)
    return this.int16(bytes.length).raw(bytes)
  }

  array<T> (items: readonly T[], write: (item: T) => unknown): this {
    this.int32(items.length)
    for (const item of items) write(item)
    return this
  }

  raw (bytes: Buffer): this {
    this.parts.push(bytes)
    return this
  }

  bytes (): Buffer { return Buffer.concat(this.parts) }

  /** With the length in front. */
  frame (): Buffer {
    const bytes = this.bytes()
    return new Words().int32(bytes.length).raw(bytes).bytes()
  }

  private number (length: number, write: (part: Buffer) => unknown): this {
    const part = Buffer.alloc(length)
    write(part)
    return this.raw(part)
  }
}

export class Bytes {
  private at = 0

  constructor (private readonly buffer: Buffer) {}

  int16 (): number { return this.buffer.readInt16BE(this.skip(2)) }
  int32 (): number { return this.buffer.readInt32BE(this.skip(4)) }

  string (): string | null {
    const length = this.int16()
    if (length < 0) return null
    const from = this.skip(length)
    return this.buffer.toString('utf8', from, from + length)
  }

  array<T> (read: () => T): T[] {
    const length = this.int32()
    return Array.from({ length: Math.max(0, length) }, read)
  }

  /** Where the skipped bytes begin. */
  skip (count: number): number {
    if (this.at + count > this.buffer.length) throw new Error('the message ends too early')
    this.at += count
    return this.at - count
  }
}
