/**
 * Splits a TCP byte stream into frames: an int32 length, then so many bytes. Pure: bytes in, frames out.
 *
 * A frame that arrived whole is a view into the chunk it came in. Memory grows with what arrived, never with what a length promises.
 * A length that is not positive or over the limit throws `ProtocolError`, and says so when the first bytes look like another
 * protocol (KAFKA-4090: TLS on a plaintext port reads as a length of 352,518,912).
 */
import { ProtocolError } from './protocol-error.js'

const LENGTH_BYTES = 4

export class FrameDecoder {
  private readonly chunks: Buffer[] = []
  private pendingBytes = 0
  private sawFrame = false

  /** @param frameBytesMax Largest frame accepted, without its length prefix (`socket.request.max.bytes`). */
  constructor (private readonly frameBytesMax: number) {}

  /** Bytes received that belong to a frame which is not complete. */
  get bytesPending (): number { return this.pendingBytes }

  /** Takes the next bytes of the stream and returns the frames that they complete, without their length prefixes. */
  push (chunk: Buffer): Buffer[] {
    const frames: Buffer[] = []
    this.chunks.push(chunk)
    this.pendingBytes += chunk.length
    for (;;) {
      if (this.pendingBytes < LENGTH_BYTES) break
      const length = this.checked(this.peekLength())
      if (this.pendingBytes < LENGTH_BYTES + length) break
      this.take(LENGTH_BYTES)
      frames.push(this.take(length))
      this.sawFrame = true
    }
    return frames
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
    if (length > 0 && length <= this.frameBytesMax) return length
    const other = this.sawFrame ? undefined : otherProtocol(this.chunks[0]!)
    if (other !== undefined) throw new ProtocolError(`this looks like ${other}, but the Kafka protocol is spoken here`)
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

function otherProtocol (start: Buffer): string | undefined {
  if (/^(GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|CONNECT|TRACE|PRI) ?/.test(start.toString('latin1', 0, 8))) return 'HTTP'
  if (start[0] === 0x16 && start[1] === 0x03) return 'a TLS handshake (set security.protocol=PLAINTEXT in the client)'
  if (start.toString('latin1', 0, 4) === 'SSH-') return 'SSH'
  return undefined
}
