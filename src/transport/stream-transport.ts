/** A transport on a duplex stream: a socket of Node's, where the addon is not there, or two ends in memory. */
import net from 'node:net'
import type { Duplex } from 'node:stream'
import type { Transport, TransportOwner } from './transport.js'

export class StreamTransport implements Transport {
  private corked = false

  /** A stream that was made with `readsInto` puts what it reads there; any other emits 'data'. */
  constructor (private readonly stream: Duplex, owner: TransportOwner) {
    stream.on('data', (chunk: Buffer) => owner.received(chunk))
    stream.on('drain', () => owner.drained())
    stream.on('end', () => owner.receivedEnd())
    stream.on('error', (error) => owner.failed(error))
    stream.on('close', () => owner.transportClosed())
  }

  get isDestroyed (): boolean { return this.stream.destroyed }
  get isWritable (): boolean { return this.stream.writable }
  get isPaused (): boolean { return this.stream.isPaused() }
  get bytesUnsent (): number { return this.stream.writableLength }

  /** How much is left of the write in progress is known of a socket only: net.Socket's own timeout looks at it, too. */
  get unsentMark (): number {
    if (this.stream.writableLength === 0) return 0
    const { _handle: handle } = this.stream as { _handle?: { readonly writeQueueSize?: number } | null }
    return this.stream.writableLength + (handle?.writeQueueSize ?? 0)
  }

  /** Everything that is sent in one turn of the event loop leaves in one writev. */
  send (parts: readonly Buffer[], onSent: (() => void) | undefined): void {
    if (!this.corked) {
      this.corked = true
      this.stream.cork()
      process.nextTick(() => {
        this.corked = false
        this.stream.uncork()
      })
    }
    const last = parts.length - 1
    for (let i = 0; i < last; i++) this.stream.write(parts[i])
    // A stream calls back for what it never sends, too.
    this.stream.write(parts[last], onSent)
  }

  pause (): void { this.stream.pause() }
  resume (): void { this.stream.resume() }
  end (ended?: () => void): void { if (!this.stream.writableEnded) this.stream.end(ended) }
  destroy (): void { this.stream.destroy() }
  /** The stream holds more than this. */
  rest (): boolean { return false }
  ref (): void { (this.stream as { ref?: () => void }).ref?.() }
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
export function readInto (accepted: net.Socket, owner: TransportOwner, shared: Buffer): net.Socket | undefined {
  const given = accepted as unknown as Accepted
  const handle = given._handle
  if (typeof handle?.useUserBuffer !== 'function') return undefined
  given._handle = null
  const onread = {
    buffer: () => owner.room() ?? shared,
    callback: (bytes: number, buffer: Buffer) => {
      if (buffer === shared) owner.received(buffer.subarray(0, bytes))
      else owner.arrived(bytes)
      return true
    }
  }
  const socket = new net.Socket({ handle, allowHalfOpen: true, onread } as unknown as net.SocketConstructorOpts)
  if (given._server instanceof net.Server) {
    Object.assign(socket, { _server: given._server, server: given.server })
    given._server = null
  } else {
    // It tells its server of its end in a way of its own.
    socket.on('close', () => accepted.destroy())
  }
  return socket
}
