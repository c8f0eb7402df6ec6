/**
 * A Kafka client as small as can be, for tests: it sends what it is told, in any version, over a socket or any duplex stream.
 *
 *     const client = await connect(port)
 *     const { brokers } = await client.send(metadata, 12, { topics: null })
 *     client.close()
 *
 * Any number of requests may be in flight. A broker answers one connection in the order of its requests; a response out of order
 * fails the client. When the connection ends, everything in flight is rejected with `ConnectionEnded`.
 */
import { once } from 'node:events'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import { responseDecoder } from '../../src/protocol/codec.js'
import { FrameDecoder } from '../../src/protocol/frame-decoder.js'
import { decodeResponseHeader, encodeRequestFrame } from '../../src/protocol/request-header.js'
import type { Api, RequestInputOf, ResponseOf } from '../../src/protocol/schema.js'

const FRAME_BYTES_MAX = 2 ** 31 - 1

export class ConnectionEnded extends Error {
  override readonly name = 'ConnectionEnded'
}

interface Waiting {
  readonly resolve: (frame: Buffer) => void
  readonly reject: (error: Error) => void
}

/** Connects over TCP. `options` as for `net.connect`, for TLS or a unix socket pass a stream to `new RawClient` instead. */
export async function connect (port: number, options: { readonly host?: string, readonly clientId?: string | null } = {}): Promise<RawClient> {
  const socket = net.connect({ port, host: options.host ?? '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  return new RawClient(socket, options.clientId)
}

export class RawClient {
  private readonly frames = new FrameDecoder(FRAME_BYTES_MAX)
  private readonly inFlight: Waiting[] = []
  private readonly unclaimed: Buffer[] = []
  private correlationId = 0
  private ended: Error | undefined
  /** Resolves when the connection has ended, whoever ended it. */
  readonly closed: Promise<void>

  constructor (readonly stream: Duplex, readonly clientId: string | null = 'raw-client') {
    this.closed = new Promise((resolve) => stream.once('close', resolve))
    stream.on('data', (chunk: Buffer) => this.received(chunk))
    stream.on('error', (error) => this.end(error))
    stream.on('end', () => this.end(new ConnectionEnded('the broker ended the connection')))
    stream.on('close', () => this.end(new ConnectionEnded('the connection is closed')))
  }

  /** Sends a request at once and resolves with its decoded response. */
  async send<A extends Api<any, any>> (api: A, version: number, request: RequestInputOf<A>): Promise<ResponseOf<A>> {
    const correlationId = this.correlationId++
    const frame = await this.exchange(encodeRequestFrame(api, version, correlationId, this.clientId, request))
    const header = decodeResponseHeader(api, version, frame)
    if (header.correlationId !== correlationId) {
      const error = new Error(`response ${header.correlationId} arrived where ${correlationId} was next: a broker answers in order`)
      this.stream.destroy(error)
      throw error
    }
    return responseDecoder(api, version)(frame, header.bodyPosition)
  }

  /** Sends a request that has no response, such as a Produce with acks=0. */
  sendOneWay<A extends Api<any, any>> (api: A, version: number, request: RequestInputOf<A>): void {
    this.write(...encodeRequestFrame(api, version, this.correlationId++, this.clientId, request))
  }

  /** Sends a whole request as bytes, length prefix included; resolves with the frame that answers it, without its prefix. */
  exchange (parts: readonly Uint8Array[]): Promise<Buffer> {
    if (this.ended !== undefined) return Promise.reject(this.ended)
    return new Promise((resolve, reject) => {
      this.inFlight.push({ resolve, reject })
      this.write(...parts)
    })
  }

  /** Sends any bytes: half a request, garbage. What comes back is had by `nextFrame`. */
  write (...parts: readonly Uint8Array[]): void {
    this.stream.write(Buffer.concat(parts))
  }

  /** The next frame that no request in flight was waiting for. */
  nextFrame (): Promise<Buffer> {
    const frame = this.unclaimed.shift()
    if (frame !== undefined) return Promise.resolve(frame)
    if (this.ended !== undefined) return Promise.reject(this.ended)
    return new Promise((resolve, reject) => this.inFlight.push({ resolve, reject }))
  }

  /** Stops reading, as a client that hangs does; `resume` reads on. */
  pause (): void { this.stream.pause() }
  resume (): void { this.stream.resume() }

  close (): void { this.stream.destroy() }

  private received (chunk: Buffer): void {
    for (const frame of this.frames.push(chunk)) {
      const waiting = this.inFlight.shift()
      if (waiting === undefined) this.unclaimed.push(frame)
      else waiting.resolve(frame)
    }
  }

  private end (error: Error): void {
    this.ended ??= error
    for (const { reject } of this.inFlight.splice(0)) reject(this.ended)
  }
}
