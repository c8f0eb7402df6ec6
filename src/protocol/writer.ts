/**
 * Writes Kafka's primitive types into a list of parts. Small values are gathered in chunks of the writer's own; record batches are
 * appended by reference, so a Fetch response leaves as one `writev` without a copy. A value that does not fit its type is a RangeError:
 * it would otherwise arrive as another value.
 */
const TWO_POW_32 = 2 ** 32
const CHUNK_BYTES_MIN = 512
const CHUNK_BYTES_MAX = 64 * 1024
/** Shorter bytes are copied: a part of its own costs more than the copy. */
const REFERENCE_BYTES_MIN = 512
const STRING_BYTES_MAX = 32767

export class Writer {
  private readonly parts: Buffer[] = []
  private chunk = Buffer.allocUnsafe(CHUNK_BYTES_MIN)
  /** Where the bytes begin that are not in `parts` yet. */
  private start = 0
  private position = 0
  private flushedBytes = 0

  /** Bytes written so far. */
  get bytes (): number { return this.flushedBytes + this.position - this.start }

  /** What was written, in order. The writer must not be used afterwards. */
  finish (): Buffer[] {
    this.flush()
    return this.parts
  }

  /** What was written after its length as an int32, for which `reserveLength` was the first call. */
  finishFrame (): Buffer[] {
    this.flush()
    this.parts[0]!.writeInt32BE(this.flushedBytes - 4)
    return this.parts
  }

  reserveLength (): void { this.reserve(4) }

  /** For a tagged field, whose size must be known before it. */
  nested (): Writer { return new Writer() }

  bool (value: boolean): void { this.int8(value ? 1 : 0) }

  int8 (value: number): void {
    if (value << 24 >> 24 !== value) throw unfit(value, 'int8')
    this.byte(value)
  }

  int16 (value: number): void {
    if (value << 16 >> 16 !== value) throw unfit(value, 'int16')
    this.twoBytes(value)
  }

  uint16 (value: number): void {
    if ((value & 0xffff) !== value) throw unfit(value, 'uint16')
    this.twoBytes(value)
  }

  int32 (value: number): void {
    if ((value | 0) !== value) throw unfit(value, 'int32')
    this.fourBytes(value)
  }

  uint32 (value: number): void {
    if (value >>> 0 !== value) throw unfit(value, 'uint32')
    this.fourBytes(value)
  }

  float64 (value: number): void { const at = this.reserve(8); this.chunk.writeDoubleBE(value, at) }

  int64 (value: number): void {
    if (!Number.isSafeInteger(value)) throw unfit(value, 'int64 (as a safe integer)')
    const upper = Math.floor(value / TWO_POW_32)
    this.fourBytes(upper)
    this.fourBytes(value - upper * TWO_POW_32)
  }

  uuid (value: string): void {
    const at = this.reserve(16)
    if (value.length !== 22 || this.chunk.write(value, at, 16, 'base64url') !== 16) {
      throw new RangeError(`'${value}' is not a uuid: 22 characters of base64url expected`)
    }
  }

  uvarint (value: number): void {
    while (value > 0x7f) {
      this.byte((value & 0x7f) | 0x80)
      value >>>= 7
    }
    this.byte(value)
  }

  string (value: string): void {
    const bytes = Buffer.byteLength(value)
    if (bytes > STRING_BYTES_MAX) throw new RangeError(`a string of ${bytes} bytes does not fit: at most ${STRING_BYTES_MAX}`)
    this.twoBytes(bytes)
    this.text(value, bytes)
  }

  compactString (value: string): void {
    const bytes = Buffer.byteLength(value)
    if (bytes > STRING_BYTES_MAX) throw new RangeError(`a string of ${bytes} bytes does not fit: at most ${STRING_BYTES_MAX}`)
    this.uvarint(bytes + 1)
    this.text(value, bytes)
  }

  nullableString (value: string | null): void { if (value === null) this.int16(-1); else this.string(value) }
  compactNullableString (value: string | null): void { if (value === null) this.uvarint(0); else this.compactString(value) }

  bytesField (value: Uint8Array): void { this.int32(value.length); this.append(value) }
  compactBytes (value: Uint8Array): void { this.uvarint(value.length + 1); this.append(value) }
  nullableBytes (value: Uint8Array | null): void { if (value === null) this.int32(-1); else this.bytesField(value) }
  compactNullableBytes (value: Uint8Array | null): void { if (value === null) this.uvarint(0); else this.compactBytes(value) }

  records (parts: readonly Buffer[]): void { this.int32(sumOfLengths(parts)); this.appendAll(parts) }
  compactRecords (parts: readonly Buffer[]): void { this.uvarint(sumOfLengths(parts) + 1); this.appendAll(parts) }
  nullableRecords (parts: readonly Buffer[] | null): void { if (parts === null) this.int32(-1); else this.records(parts) }
  compactNullableRecords (parts: readonly Buffer[] | null): void { if (parts === null) this.uvarint(0); else this.compactRecords(parts) }

  count (count: number): void { this.int32(count) }
  compactCount (count: number): void { this.uvarint(count + 1) }

  /** Appends bytes: copied when there are few, by reference when there are many. */
  append (value: Uint8Array): void {
    if (value.length < REFERENCE_BYTES_MIN) {
      const at = this.reserve(value.length)
      this.chunk.set(value, at)
      return
    }
    this.flush()
    this.parts.push(Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength))
    this.flushedBytes += value.length
  }

  appendAll (parts: readonly Uint8Array[]): void {
    for (let index = 0; index < parts.length; index++) this.append(parts[index]!)
  }

  private byte (value: number): void {
    const at = this.reserve(1) // first: it may replace the chunk
    this.chunk[at] = value
  }

  private twoBytes (value: number): void {
    const at = this.reserve(2)
    this.chunk[at] = value >> 8
    this.chunk[at + 1] = value
  }

  private fourBytes (value: number): void {
    const at = this.reserve(4)
    const { chunk } = this
    chunk[at] = value >> 24
    chunk[at + 1] = value >> 16
    chunk[at + 2] = value >> 8
    chunk[at + 3] = value
  }

  private text (value: string, bytes: number): void {
    const at = this.reserve(bytes)
    this.chunk.write(value, at, bytes, 'utf8')
  }

  private reserve (bytes: number): number {
    if (bytes > this.chunk.length - this.position) this.grow(bytes)
    const at = this.position
    this.position = at + bytes
    return at
  }

  private grow (bytes: number): void {
    this.flush()
    this.chunk = Buffer.allocUnsafe(Math.max(bytes, Math.min(this.chunk.length * 4, CHUNK_BYTES_MAX)))
    this.start = 0
    this.position = 0
  }

  private flush (): void {
    if (this.position === this.start) return
    this.parts.push(this.chunk.subarray(this.start, this.position))
    this.flushedBytes += this.position - this.start
    this.start = this.position
  }
}

function unfit (value: unknown, type: string): RangeError {
  return new RangeError(`${String(value)} does not fit an ${type}`)
}

function sumOfLengths (parts: readonly Uint8Array[]): number {
  let sum = 0
  for (let index = 0; index < parts.length; index++) sum += parts[index]!.length
  return sum
}
