/**
 * Reads Kafka's primitive types from a frame. Every length and count is checked against the bytes that are left before anything
 * is allocated; what does not fit is a `ProtocolError` that names the position.
 * Source: https://kafka.apache.org/protocol, "Protocol Primitive Types"; KIP-482 for the compact forms.
 */
import { ProtocolError } from './protocol-error.js'

const TWO_POW_32 = 2 ** 32
/** The upper halves of ±2^53: an int64 whose upper half lies outside is no safe integer. */
const SAFE_UPPER_HALF_MAX = 2 ** 21 - 1
const SAFE_UPPER_HALF_MIN = -(2 ** 21)
const EMPTY = Buffer.alloc(0)
/** As Kafka's own codecs limit every string, compact or not. */
const STRING_BYTES_MAX = 32767
/**
 * Array elements in one message, over all its arrays. An element of a byte or three on the wire becomes an object of a hundred, so a
 * frame of `socket.request.max.bytes` could otherwise exhaust the heap. No client comes near: a commit of 100,000 partitions has 100,000.
 */
export const ELEMENTS_MAX = 1_000_000

export class Reader {
  /** Array elements announced so far. */
  elements = 0

  constructor (readonly buffer: Buffer, public position = 0, public end = buffer.length) {}

  /** Steps over `bytes` bytes and returns where they begin. */
  advance (bytes: number): number {
    const start = this.position
    if (bytes > this.end - start) {
      throw new ProtocolError(`${bytes} bytes expected at position ${start}, but only ${this.end - start} are left`)
    }
    this.position = start + bytes
    return start
  }

  bool (): boolean { return this.buffer[this.advance(1)] !== 0 }
  int8 (): number { return this.buffer.readInt8(this.advance(1)) }
  int16 (): number { return this.buffer.readInt16BE(this.advance(2)) }
  uint16 (): number { return this.buffer.readUInt16BE(this.advance(2)) }
  int32 (): number { return this.buffer.readInt32BE(this.advance(4)) }
  uint32 (): number { return this.buffer.readUInt32BE(this.advance(4)) }
  float64 (): number { return this.buffer.readDoubleBE(this.advance(8)) }

  int64 (): number {
    const at = this.advance(8)
    const upper = this.buffer.readInt32BE(at)
    if (upper > SAFE_UPPER_HALF_MAX || upper < SAFE_UPPER_HALF_MIN) {
      throw new ProtocolError(`the int64 at position ${at} (${this.buffer.readBigInt64BE(at)}) is outside the safe range ±2^53`)
    }
    return upper * TWO_POW_32 + this.buffer.readUInt32BE(at + 4)
  }

  /** An int64 whose extremes are legal: outside the safe range it reads as the largest or smallest safe integer. */
  int64Clamped (): number {
    const at = this.advance(8)
    const upper = this.buffer.readInt32BE(at)
    if (upper > SAFE_UPPER_HALF_MAX) return Number.MAX_SAFE_INTEGER
    if (upper < SAFE_UPPER_HALF_MIN) return Number.MIN_SAFE_INTEGER
    return upper * TWO_POW_32 + this.buffer.readUInt32BE(at + 4)
  }

  uuid (): string {
    const at = this.advance(16)
    return this.buffer.toString('base64url', at, at + 16)
  }

  /** An unsigned 32-bit integer in 1 to 5 bytes, 7 bits each, least significant first. */
  uvarint (): number {
    let value = 0
    let shift = 0
    for (;;) {
      const byte = this.buffer[this.advance(1)]!
      if (shift === 28 && byte > 0x0f) throw new ProtocolError(`the varint before position ${this.position} is longer than 32 bits`)
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value >>> 0
      shift += 7
    }
  }

  string (): string { return this.text(this.notNull(this.int16())) }
  nullableString (): string | null { return this.textOrNull(this.int16()) }
  compactString (): string { return this.text(this.notNull(this.uvarint() - 1)) }
  compactNullableString (): string | null { return this.textOrNull(this.uvarint() - 1) }

  bytes (): Buffer { return this.view(this.notNull(this.int32())) }
  nullableBytes (): Buffer | null { return this.viewOrNull(this.int32()) }
  compactBytes (): Buffer { return this.view(this.notNull(this.uvarint() - 1)) }
  compactNullableBytes (): Buffer | null { return this.viewOrNull(this.uvarint() - 1) }

  records (): Buffer[] { return [this.bytes()] }
  nullableRecords (): Buffer[] | null { return listOrNull(this.nullableBytes()) }
  compactRecords (): Buffer[] { return [this.compactBytes()] }
  compactNullableRecords (): Buffer[] | null { return listOrNull(this.compactNullableBytes()) }

  /** Number of elements that follow, each at least `elementBytesMin` long. */
  count (elementBytesMin: number): number { return this.fits(this.notNull(this.int32()), elementBytesMin) }
  compactCount (elementBytesMin: number): number { return this.fits(this.notNull(this.uvarint() - 1), elementBytesMin) }
  /** As `count`; -1 for null. */
  nullableCount (elementBytesMin: number): number { return this.fits(this.orNull(this.int32()), elementBytesMin) }
  compactNullableCount (elementBytesMin: number): number { return this.fits(this.uvarint() - 1, elementBytesMin) }

  /** Confines reading to the next `bytes` bytes (a tagged field); returns the former end for `leave`. */
  enter (bytes: number): number {
    const outerEnd = this.end
    const start = this.advance(bytes)
    this.position = start
    this.end = start + bytes
    return outerEnd
  }

  leave (outerEnd: number): void {
    if (this.position !== this.end) throw new ProtocolError(`a tagged field ends at position ${this.position}, but its size says ${this.end}`)
    this.end = outerEnd
  }

  private notNull (length: number): number {
    if (length < 0) {
      throw new ProtocolError(length === -1
        ? `null before position ${this.position}, where the field may not be null`
        : `negative length ${length} before position ${this.position}`)
    }
    return length
  }

  private orNull (length: number): number {
    if (length < -1) throw new ProtocolError(`negative length ${length} before position ${this.position}`)
    return length
  }

  private fits (count: number, elementBytesMin: number): number {
    const left = this.end - this.position
    if (count * elementBytesMin > left) {
      throw new ProtocolError(`${count} elements announced before position ${this.position}, but only ${left} bytes are left`)
    }
    if (count > 0) this.elements += count
    if (this.elements > ELEMENTS_MAX) {
      throw new ProtocolError(`${count} elements announced before position ${this.position}: a message may have ${ELEMENTS_MAX} in all`)
    }
    return count
  }

  private text (bytes: number): string {
    if (bytes > STRING_BYTES_MAX) {
      throw new ProtocolError(`a string of ${bytes} bytes before position ${this.position}: at most ${STRING_BYTES_MAX} are allowed`)
    }
    const at = this.advance(bytes)
    return this.buffer.toString('utf8', at, at + bytes)
  }

  private textOrNull (bytes: number): string | null {
    return this.orNull(bytes) === -1 ? null : this.text(bytes)
  }

  private view (bytes: number): Buffer {
    if (bytes === 0) return EMPTY
    const at = this.advance(bytes)
    return this.buffer.subarray(at, at + bytes)
  }

  private viewOrNull (bytes: number): Buffer | null {
    return this.orNull(bytes) === -1 ? null : this.view(bytes)
  }
}

function listOrNull (view: Buffer | null): Buffer[] | null {
  return view === null ? null : [view]
}
