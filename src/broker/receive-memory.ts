/**
 * The memory that sockets are read into, used again and again: memory outside V8's heap that is made for every read, as Node does by
 * default, makes its garbage collector work for half of a busy broker's time.
 *
 * One buffer takes the next bytes of whichever socket is read; requests that did not fit are gathered in buffers of their own, which
 * come back here. So a request is only valid until its handler's first await: see `Handler.copiesRequest`.
 */
import net from 'node:net'
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

/** What is read into memory of its own. */
export interface ReadInto {
  /** Where the next bytes go. */
  readonly buffer: () => Buffer
  /** They came; false to read no more until `resume()`. */
  readonly callback: (bytes: number, buffer: Buffer) => boolean
}

/** The part of a socket's handle that is needed here; net.Socket itself uses it for its documented option `onread`. */
interface Handle { useUserBuffer? (buffer: Buffer): void }

/** What an accepted socket knows of the server that counts it until it is closed. */
interface Accepted { _handle: Handle | null, _server?: unknown, server?: unknown }

/**
 * The same connection as a socket that reads into given memory. A server makes its sockets without that option, so the one that was
 * accepted (with `pauseOnConnect`) gives its handle and its place in the server up to the new one, and can be forgotten. Undefined where this
 * version of Node does not allow it.
 */
export function readInto (accepted: net.Socket, onread: ReadInto): net.Socket | undefined {
  const owner = accepted as unknown as Accepted
  const handle = owner._handle
  if (typeof handle?.useUserBuffer !== 'function') return undefined
  owner._handle = null
  const socket = new net.Socket({ handle, allowHalfOpen: true, onread } as unknown as net.SocketConstructorOpts)
  if (owner._server instanceof net.Server) {
    Object.assign(socket, { _server: owner._server, server: owner.server })
    owner._server = null
  } else {
    // It tells its server of its end in a way of its own.
    socket.on('close', () => accepted.destroy())
  }
  return socket
}
