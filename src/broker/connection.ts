/**
 * One client's connection: bytes in, requests to the dispatcher, responses out in request order. Works on any duplex stream.
 *
 * Handlers overlap, answers wait for their turn. A connection takes no more requests while it has too many in work or while the
 * client does not read what it was sent; then its socket is not read either, which is how TCP tells the client to wait. What
 * arrives too slowly, lies idle or is malformed closes this connection and no other.
 */
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import { FrameDecoder } from '../protocol/frame-decoder.js'
import { ProtocolError } from '../protocol/protocol-error.js'
import type { Clock } from './clock.js'
import type { ConnectionContext, Dispatcher, DispatchResult } from './dispatcher.js'
import { CLOSE_CONNECTION, NO_RESPONSE } from './handler.js'
import type { Limits } from './limits.js'
import type { RequestMemory } from './request-memory.js'

export interface ConnectionOptions {
  readonly stream: Duplex
  readonly connectionId: number
  readonly listenerName: string
  /** '/127.0.0.1', as Kafka prints it. */
  readonly clientHost: string
  readonly dispatcher: Dispatcher
  readonly limits: Limits
  readonly memory: RequestMemory
  readonly clock: Clock
  readonly logger: Logger
  readonly onClose: (connection: Connection) => void
}

/** One request in work. */
interface Slot {
  readonly requestBytes: number
  result: DispatchResult | undefined
  /** Told when the response has left the process or never will. */
  onSent: (() => void) | undefined
}

export class Connection implements ConnectionContext {
  readonly connectionId: number
  readonly listenerName: string
  readonly clientHost: string
  private readonly stream: Duplex
  private readonly options: ConnectionOptions
  private readonly decoder: FrameDecoder
  /** Requests received but not begun. */
  private backlog: Buffer[] = []
  private backlogBytes = 0
  /** Requests in work or waiting for their turn, oldest first. */
  private readonly slots: Slot[] = []
  private slotBytes = 0
  private lastActiveMs: number
  private frameStartedMs: number | undefined
  private unsentSinceMs: number | undefined
  private abort: AbortController | undefined
  private corked = false
  private draining: (() => void) | undefined
  private memoryPaused = false
  private ended = false

  constructor (options: ConnectionOptions) {
    this.options = options
    this.connectionId = options.connectionId
    this.listenerName = options.listenerName
    this.clientHost = options.clientHost
    this.stream = options.stream
    this.decoder = new FrameDecoder(options.limits.requestBytesMax)
    this.lastActiveMs = options.clock.monotonic()
    this.stream.on('data', (chunk: Buffer) => this.receive(chunk))
    this.stream.on('drain', () => this.pump())
    this.stream.on('end', () => this.receivedEnd())
    this.stream.on('error', (error) => { options.logger.debug({ err: error, client: this.clientHost }, 'connection failed') })
    this.stream.on('close', () => this.closedByStream())
  }

  /** Aborted when the connection is gone or about to be. */
  get closed (): AbortSignal {
    this.abort ??= new AbortController()
    if (this.ended) this.abort.abort()
    return this.abort.signal
  }

  /** Bytes of requests held: not complete, waiting, or in work. */
  get requestBytes (): number { return this.decoder.bytesPending + this.backlogBytes + this.slotBytes }
  get hasIncompleteFrame (): boolean { return this.frameStartedMs !== undefined }

  /** Closes the connection if one of its deadlines has passed. Called about once a second. */
  checkDeadlines (nowMs: number): void {
    const { frameDeadlineMs, unsentDeadlineMs, idleMsMax } = this.options.limits
    if (this.unsentSinceMs !== undefined && nowMs - this.unsentSinceMs > unsentDeadlineMs) {
      this.refuse('slow reader', `read none of its responses for ${unsentDeadlineMs} ms`)
    } else if (this.frameStartedMs !== undefined && !this.memoryPaused && nowMs - this.frameStartedMs > frameDeadlineMs) {
      this.refuse('slow request', `did not complete a request within ${frameDeadlineMs} ms`)
    } else if (this.slots.length === 0 && nowMs - this.lastActiveMs > idleMsMax) {
      this.stream.destroy()
    }
  }

  /** While memory for requests is short, a connection is not read. */
  setMemoryPaused (paused: boolean): void {
    if (this.memoryPaused === paused) return
    this.memoryPaused = paused
    if (!paused && this.frameStartedMs !== undefined) this.frameStartedMs = this.options.clock.monotonic()
    this.regulate()
  }

  /** Takes no more requests, finishes those in work, then ends. Resolves when the stream is closed. */
  async drain (): Promise<void> {
    if (this.stream.destroyed) return
    await new Promise<void>((resolve) => {
      this.draining = resolve
      this.backlog = []
      this.end()
      // What still arrives is read and dropped: a stream with unread bytes would never see the client's end, and so never close.
      this.stream.resume()
      if (this.slots.length === 0) this.finish()
    })
  }

  destroy (): void {
    this.stream.destroy()
  }

  private receive (chunk: Buffer): void {
    if (this.ended) return
    this.lastActiveMs = this.options.clock.monotonic()
    try {
      for (const frame of this.decoder.push(chunk)) {
        this.backlog.push(frame)
        this.backlogBytes += frame.length
      }
    } catch (error) {
      this.malformed(error)
      return
    }
    const incomplete = this.decoder.bytesPending > 0
    this.frameStartedMs = incomplete ? this.frameStartedMs ?? this.lastActiveMs : undefined
    this.pump()
    this.options.memory.update(this)
  }

  /** Begins as many waiting requests as the limits allow, then reads on or waits. */
  private pump (): void {
    let begun = 0
    while (begun < this.backlog.length && this.mayBegin() && !this.stream.destroyed) {
      const frame = this.backlog[begun++]!
      this.backlogBytes -= frame.length
      this.begin(frame)
    }
    if (begun > 0) this.backlog = this.backlog.slice(begun)
    this.regulate()
  }

  private mayBegin (): boolean {
    return this.slots.length < this.options.limits.requestsInFlightMax && this.stream.writableLength < this.options.limits.unsentBytesMax
  }

  private regulate (): void {
    if (this.ended) return
    if (this.stream.writableLength < this.options.limits.unsentBytesMax) this.unsentSinceMs = undefined
    else this.unsentSinceMs ??= this.options.clock.monotonic()
    const blocked = this.memoryPaused || this.backlog.length > 0 || !this.mayBegin()
    if (blocked && !this.stream.isPaused()) this.stream.pause()
    else if (!blocked && this.stream.isPaused()) this.stream.resume()
  }

  private begin (frame: Buffer): void {
    const slot: Slot = { requestBytes: frame.length, result: undefined, onSent: undefined }
    this.slots.push(slot)
    this.slotBytes += frame.length
    try {
      const result = this.options.dispatcher.dispatch(frame, this, (callback) => { slot.onSent = callback })
      if (result instanceof Promise) void result.then((late) => { this.complete(slot, late); this.pump() })
      else this.complete(slot, result)
    } catch (error) {
      this.malformed(error)
    }
  }

  private complete (slot: Slot, result: DispatchResult): void {
    slot.result = result
    while (this.slots.length > 0 && this.slots[0]!.result !== undefined) {
      const { requestBytes, result: next, onSent } = this.slots.shift()!
      this.slotBytes -= requestBytes
      if (!this.stream.destroyed && next !== NO_RESPONSE && next !== CLOSE_CONNECTION) {
        this.send(next!, onSent)
        continue
      }
      if (next === CLOSE_CONNECTION) this.stream.destroy()
      onSent?.()
    }
    this.lastActiveMs = this.options.clock.monotonic()
    this.options.memory.update(this)
    if (this.ended && this.slots.length === 0) this.finish()
  }

  /** Everything that is sent in one turn of the event loop leaves in one writev. */
  private send (parts: readonly Buffer[], onSent: (() => void) | undefined): void {
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

  private malformed (error: unknown): void {
    if (!(error instanceof ProtocolError)) {
      this.options.logger.error({ err: error, client: this.clientHost }, 'a request failed unexpectedly: this is a bug in the broker')
      this.stream.destroy()
      return
    }
    this.refuse('malformed request', error.message)
  }

  private refuse (cause: string, message: string): void {
    this.options.logger.warn({ client: this.clientHost, listener: this.listenerName, cause }, `closed a connection from ${this.clientHost.slice(1)}: ${message}`)
    this.stream.destroy()
  }

  /** The client sends no more; what it asked for is still answered. */
  private receivedEnd (): void {
    this.end()
    if (this.slots.length === 0 && this.backlog.length === 0) this.finish()
  }

  /** Long polls end early from here on. */
  private end (): void {
    this.ended = true
    this.abort?.abort()
  }

  private finish (): void {
    if (!this.stream.writableEnded) this.stream.end()
  }

  private closedByStream (): void {
    this.end()
    this.backlog = []
    this.backlogBytes = 0
    this.frameStartedMs = undefined
    this.options.memory.remove(this)
    this.options.onClose(this)
    this.draining?.()
  }
}
