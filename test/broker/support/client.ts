/** A client that sends one request after the other over a real socket, in whatever version a test wants. */
import { connect, type Socket } from 'node:net'
import { responseDecoder } from '../../../src/protocol/codec.js'
import { FrameDecoder } from '../../../src/protocol/frame-decoder.js'
import { decodeResponseHeader, encodeRequestFrame } from '../../../src/protocol/request-header.js'
import type { Api, RequestInputOf, ResponseOf } from '../../../src/protocol/schema.js'

export class TestClient {
  readonly #socket: Socket
  readonly #decoder = new FrameDecoder(100 * 1024 * 1024)
  readonly #waiting = new Map<number, (frame: Buffer | undefined) => void>()
  #correlationId = 0

  private constructor (socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk) => {
      for (const frame of this.#decoder.push(chunk)) {
        const correlationId = frame.readInt32BE(0)
        this.#waiting.get(correlationId)?.(frame)
        this.#waiting.delete(correlationId)
      }
    })
    socket.on('error', () => {})
    socket.on('close', () => { for (const resolve of this.#waiting.values()) resolve(undefined) })
  }

  static async connect (port: number): Promise<TestClient> {
    const socket = connect(port, '127.0.0.1')
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    return new TestClient(socket)
  }

  /** Rejects when the broker closes the connection instead of answering. */
  async send<A extends Api<any, any>> (api: A, version: number, request: RequestInputOf<A>): Promise<ResponseOf<A>> {
    const correlationId = ++this.#correlationId
    const answered = new Promise<Buffer | undefined>((resolve) => { this.#waiting.set(correlationId, resolve) })
    for (const part of encodeRequestFrame(api, version, correlationId, 'test', request)) this.#socket.write(part)
    const frame = await answered
    if (frame === undefined) throw new Error('the broker closed the connection')
    return responseDecoder(api, version)(frame, decodeResponseHeader(api, version, frame).bodyPosition)
  }

  /** Takes nothing of what it is sent until `resume`. */
  pause (): void { this.#socket.pause() }
  resume (): void { this.#socket.resume() }

  close (): void {
    this.#socket.destroy()
  }
}

