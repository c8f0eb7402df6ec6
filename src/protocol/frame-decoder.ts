/**
 * Splits a TCP byte stream into frames: an int32 length, then so many bytes. Pure: bytes in, frames out.
 *
 * A frame that arrived whole is a view into the chunk it came in; one that arrived in several is copied once. Memory grows with what
 * arrived, never with what a length promises, and a frame that trickles in byte by byte is gathered in blocks: a chunk's bookkeeping
 * costs a hundred bytes. A length that is not positive or over the limit throws `ProtocolError`, and says so when the first bytes look like another
 * protocol (KAFKA-4090: TLS on a plaintext port reads as a length of 352,518,912).
 */
import { ProtocolError } from './protocol-error.js'

const LENGTH_BYTES = 4
/** Chunks up to this size are copied together while a frame is incomplete. */
const GATHERED_BYTES_MAX = 1024
const BLOCK_BYTES = 16 * 1024
const EMPTY = Buffer.alloc(0)

export class FrameDecoder {
  private readonly chunks: Buffer[] = []
  private pendingBytes = 0
  private sawFrame = false
  /** Where trickling bytes are gathered, up to `blockEnd`; never written twice, because frames may be views into it. */
  private block = EMPTY
  private blockEnd = 0

  /** @param frameBytesMax Largest frame accepted, without its length prefix (`socket.request.max.bytes`). */
  constructor (private readonly frameBytesMax: number) {}

  /** Bytes received that belong to a frame which is not complete. */
  get bytesPending (): number { return this.pendingBytes }

  /**
   * Takes the next bytes of the stream and returns the frames that they complete, without their length prefixes. What came before
   * a malformed length is in `frames` when that throws.
   */
  push (chunk: Buffer, frames: Buffer[] = []): Buffer[] {
    if (chunk.length === 0) return frames
    this.add(chunk)
    for (;;) {
      if (this.pendingBytes < LENGTH_BYTES) break
      const length = this.checked(this.peekLength())
      if (this.pendingBytes < LENGTH_BYTES + length) break
      this.take(LENGTH_BYTES)
      frames.push(this.take(length))
      this.sawFrame = true
    }
    if (this.pendingBytes === 0) this.block = EMPTY
    return frames
  }

  private add (chunk: Buffer): void {
    this.pendingBytes += chunk.length
    const last = this.chunks.at(-1)
    if (last === undefined || chunk.length > GATHERED_BYTES_MAX) this.chunks.push(chunk)
    else if (this.endsInBlock(last) || last.length <= GATHERED_BYTES_MAX) this.gather(chunk, last)
    else this.chunks.push(chunk)
  }

  private gather (chunk: Buffer, last: Buffer): void {
    if (this.block.length - this.blockEnd < chunk.length) {
      this.block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
      this.blockEnd = 0
    }
    const continues = this.endsInBlock(last)
    const start = continues ? last.byteOffset : this.blockEnd
    chunk.copy(this.block, this.blockEnd)
    this.blockEnd += chunk.length
    if (continues) this.chunks.pop()
    this.chunks.push(this.block.subarray(start, this.blockEnd))
  }

  /** Whether a chunk ends where the next gathered bytes will go. */
  private endsInBlock (chunk: Buffer): boolean {
    return chunk.buffer === this.block.buffer && chunk.byteOffset + chunk.length === this.blockEnd
  }

  private peekLength (): number {
    const first = this.chunks[0]!
    if (first.length >= LENGTH_BYTES) return first.readInt32BE(0)
    const bytes = this.take(LENGTH_BYTES)
    this.chunks.unshift(bytes)
    this.pendingBytes += LENGTH_BYTES
    return bytes.readInt32BE(0)
  }

  private checked (length: number): number {
    const other = this.sawFrame ? undefined : otherProtocol(this.chunks[0]!)
    if (other !== undefined) throw new ProtocolError(`this looks like ${other}, but the Kafka protocol is spoken here`)
    if (length > 0 && length <= this.frameBytesMax) return length
    throw new ProtocolError(length <= 0
      ? `a frame of ${length} bytes announced; a request has at least 8`
      : `a frame of ${length} bytes announced; socket.request.max.bytes allows ${this.frameBytesMax}`)
  }

  /** Removes the next `bytes` bytes from the pending chunks; joins them only where they lie in several. */
  private take (bytes: number): Buffer {
    this.pendingBytes -= bytes
    const first = this.chunks[0]!
    if (first.length > bytes) {
      this.chunks[0] = first.subarray(bytes)
      return first.subarray(0, bytes)
    }
    if (first.length === bytes) {
      this.chunks.shift()
      return first
    }
    return this.join(bytes)
  }

  private join (bytes: number): Buffer {
    const joined = Buffer.allocUnsafe(bytes)
    let filled = 0
    let used = 0
    while (filled < bytes) {
      const chunk = this.chunks[used]!
      const part = Math.min(chunk.length, bytes - filled)
      chunk.copy(joined, filled, 0, part)
      filled += part
      if (part < chunk.length) this.chunks[used] = chunk.subarray(part)
      else used++
    }
    this.chunks.splice(0, used)
    return joined
  }
}

/** The first four bytes of HTTP requests. As a length, each is over 1 GB: no first frame of a Kafka client is. */
const HTTP = new Set(['GET ', 'HEAD', 'POST', 'PUT ', 'DELE', 'OPTI', 'PATC', 'CONN', 'TRAC', 'PRI '])

function otherProtocol (start: Buffer): string | undefined {
  const text = start.toString('latin1', 0, LENGTH_BYTES)
  if (HTTP.has(text)) return 'HTTP'
  if (start[0] === 0x16 && start[1] === 0x03) return 'a TLS handshake (set security.protocol=PLAINTEXT in the client)'
  if (text === 'SSH-') return 'SSH'
  return undefined
}
