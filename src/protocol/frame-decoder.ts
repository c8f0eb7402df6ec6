/**
 * Splits a TCP byte stream into frames: an int32 length, then so many bytes. Pure: bytes in, frames out.
 *
 * A frame that arrived whole is a view into the chunk it came in; one that arrives in several is gathered in a buffer of its own, which
 * a reader of the stream may also fill itself (`room`, `arrived`), so that nothing is copied. The buffer grows with what arrived,
 * never with what a length promises. Whoever gives memory to be used again (`FrameMemory`) says with `recycle` when the frames returned
 * so far are no longer looked at. A length that is not positive or over the limit throws `ProtocolError`, and says so when the first
 * bytes look like another protocol (KAFKA-4090: TLS on a plaintext port reads as a length of 352,518,912).
 */
import { ProtocolError } from './protocol-error.js'

const LENGTH_BYTES = 4
/** How many times larger than what has arrived the buffer of a frame may be. Memory that nothing was written to yet costs nothing. */
const GROWTH = 4
const GATHERED_BYTES_MIN = 1024

/** Where buffers for incomplete frames come from and go to. */
export interface FrameMemory {
  /** At least `bytes` long; its content may be anything. */
  take (bytes: number): Buffer
  /** Nothing looks at the buffer any more. */
  give (buffer: Buffer): void
}

/** Every frame is for keeps. */
const OWN_MEMORY: FrameMemory = { take: (bytes) => Buffer.allocUnsafeSlow(bytes), give: () => {} }

export class FrameDecoder {
  /** The incomplete frame's length prefix, as far as it is here. */
  private prefix = 0
  private prefixBytes = 0
  /** Length of the incomplete frame, 0 while its prefix is not complete. */
  private length = 0
  private gathered: Buffer | undefined
  private gatheredBytes = 0
  /** The buffer of a frame that was returned. */
  private lent: Buffer | undefined

  /**
   * @param frameBytesMax Largest frame accepted, without its length prefix (`socket.request.max.bytes`).
   * @param sawFrame Whether there were frames before, so that the first bytes are not another protocol's.
   */
  constructor (private readonly frameBytesMax: number, private readonly memory: FrameMemory = OWN_MEMORY, private sawFrame = false) {}

  /** Bytes received that belong to a frame which is not complete. */
  get bytesPending (): number { return this.prefixBytes + this.gatheredBytes }

  /**
   * Takes the next bytes of the stream and returns the frames that they complete, without their length prefixes. What came before
   * a malformed length is in `frames` when that throws.
   */
  push (chunk: Buffer, frames: Buffer[] = []): Buffer[] {
    let at = 0
    while (at < chunk.length) {
      if (this.length === 0) {
        at += this.takePrefix(chunk, at)
        if (this.prefixBytes < LENGTH_BYTES) break
        this.length = this.checked()
      }
      const missing = this.length - this.gatheredBytes
      if (this.gathered === undefined && chunk.length - at >= missing) {
        frames.push(chunk.subarray(at, at += missing))
        this.begin()
      } else if (at < chunk.length) {
        at += this.gather(chunk, at, Math.min(missing, chunk.length - at), frames)
      }
    }
    return frames
  }

  /** Where the next bytes of the stream may be put to spare a copy; undefined when there is no incomplete frame. */
  room (): Buffer | undefined {
    return this.gathered?.subarray(this.gatheredBytes, Math.min(this.length, this.gathered.length))
  }

  /** So many bytes of the stream were put into `room`. */
  arrived (bytes: number, frames: Buffer[] = []): Buffer[] {
    this.gatheredBytes += bytes
    if (this.gatheredBytes === this.length) this.finish(frames)
    else this.reserve(this.gatheredBytes + 1)
    return frames
  }

  /** The frames returned so far are no longer looked at. */
  recycle (): void {
    if (this.lent === undefined) return
    this.memory.give(this.lent)
    this.lent = undefined
  }

  private takePrefix (chunk: Buffer, at: number): number {
    const bytes = Math.min(LENGTH_BYTES - this.prefixBytes, chunk.length - at)
    for (let i = 0; i < bytes; i++) this.prefix = this.prefix << 8 | chunk[at + i]!
    this.prefixBytes += bytes
    return bytes
  }

  private gather (chunk: Buffer, at: number, bytes: number, frames: Buffer[]): number {
    this.reserve(this.gatheredBytes + bytes)
    chunk.copy(this.gathered!, this.gatheredBytes, at, at + bytes)
    this.arrived(bytes, frames)
    return bytes
  }

  private reserve (bytes: number): void {
    if (this.gathered !== undefined && this.gathered.length >= bytes) return
    const larger = this.memory.take(Math.min(this.length, Math.max(bytes * GROWTH, GATHERED_BYTES_MIN)))
    if (this.gathered !== undefined) {
      this.gathered.copy(larger, 0, 0, this.gatheredBytes)
      this.memory.give(this.gathered)
    }
    this.gathered = larger
  }

  private finish (frames: Buffer[]): void {
    frames.push(this.gathered!.subarray(0, this.length))
    this.lent = this.gathered
    this.begin()
  }

  private begin (): void {
    this.sawFrame = true
    this.prefix = 0
    this.prefixBytes = 0
    this.length = 0
    this.gathered = undefined
    this.gatheredBytes = 0
  }

  private checked (): number {
    const length = this.prefix
    const other = this.sawFrame ? undefined : otherProtocol(this.prefix)
    if (other !== undefined) throw new ProtocolError(`this looks like ${other}, but the Kafka protocol is spoken here`)
    if (length > 0 && length <= this.frameBytesMax) return length
    throw new ProtocolError(length <= 0
      ? `a frame of ${length} bytes announced; a request has at least 8`
      : `a frame of ${length} bytes announced; socket.request.max.bytes allows ${this.frameBytesMax}`)
  }
}

/** The first four bytes of HTTP requests. As a length, each is over 1 GB: no first frame of a Kafka client is. */
const HTTP = new Set(['GET ', 'HEAD', 'POST', 'PUT ', 'DELE', 'OPTI', 'PATC', 'CONN', 'TRAC', 'PRI '])

function otherProtocol (prefix: number): string | undefined {
  const start = Buffer.allocUnsafe(LENGTH_BYTES)
  start.writeInt32BE(prefix)
  const text = start.toString('latin1', 0, LENGTH_BYTES)
  if (HTTP.has(text)) return 'HTTP'
  if (start[0] === 0x16 && start[1] === 0x03) return 'a TLS handshake (set security.protocol=PLAINTEXT in the client)'
  if (text === 'SSH-') return 'SSH'
  return undefined
}
