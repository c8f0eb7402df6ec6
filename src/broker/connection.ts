/**
 * One client's connection: bytes in, requests to the dispatcher, responses out in request order. Works on any duplex stream.
 *
 * Handlers overlap, answers wait for their turn. A connection takes no more requests while it has too many in work or while the
 * client does not read what it was sent; then its socket is not read either, which is how TCP tells the client to wait. What
 * arrives too slowly, lies idle or is malformed closes this connection and no other.
 */
import type { Duplex } from 'node:stream'
import { FrameDecoder } from '../protocol/frame-decoder.js'
import { ProtocolError } from '../protocol/protocol-error.js'
import type { Clock } from './clock.js'
import type { ConnectionContext, Dispatcher, DispatchResult } from './dispatcher.js'
import { CLOSE_CONNECTION, NO_RESPONSE } from './handler.js'
import type { LimitedLog } from './limited-log.js'
import type { Limits } from './limits.js'
import type { ReadInto, ReceiveMemory } from './receive-memory.js'
import type { RequestMemory } from './request-memory.js'

export interface ConnectionOptions {
  readonly connectionId: number
  readonly listenerName: string
  /** '/127.0.0.1', as Kafka prints it. */
  readonly clientHost: string
  readonly dispatcher: Dispatcher
  readonly limits: Limits
  readonly memory: RequestMemory
  readonly receiveMemory: ReceiveMemory
  readonly clock: Clock
  readonly log: LimitedLog
  readonly onClose: (connection: Connection) => void
}

/** One request in work. */
interface Slot {
  readonly requestBytes: number
  result: DispatchResult | undefined
  /** Told when the response has left the process or never will. */
  onSent: (() => void) | undefined
}

/** Requests of one connection that are begun before others get their turn of the event loop. */
const REQUESTS_PER_TURN_MAX = 64

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
  private unsent = { bytes: 0, sinceMs: 0 }
  private abort: AbortController | undefined
  private corked = false
  private nextTurn: NodeJS.Immediate | undefined
  private draining: (() => void) | undefined
  private memoryPaused = false
  /** Since when no more requests are expected or taken. */
  private endedMs: number | undefined
  private refused = false

  /** The stream is made with what it is to read into; one that does not know how emits 'data'. */
  constructor (options: ConnectionOptions, makeStream: (readInto: ReadInto) => Duplex) {
    this.options = options
    this.connectionId = options.connectionId
    this.listenerName = options.listenerName
    this.clientHost = options.clientHost
    this.decoder = new FrameDecoder(options.limits.requestBytesMax, options.receiveMemory)
    this.lastActiveMs = options.clock.monotonic()
    this.stream = makeStream({
      buffer: () => this.decoder.room() ?? options.receiveMemory.shared,
      callback: (bytes, buffer) => {
        this.receive((frames) => buffer === options.receiveMemory.shared ? this.decoder.push(buffer.subarray(0, bytes), frames) : this.decoder.arrived(bytes, frames))
        return true
      }
    })
    this.stream.on('data', (chunk: Buffer) => this.receive((frames) => this.decoder.push(chunk, frames)))
    this.stream.on('drain', () => this.pump())
    this.stream.on('end', () => this.receivedEnd())
    this.stream.on('error', (error) => { options.log.logger.debug({ err: error, client: this.clientHost }, 'connection failed') })
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
  private get ended (): boolean { return this.endedMs !== undefined }

  /** Closes the connection if one of its deadlines has passed. Called about once a second. */
  checkDeadlines (nowMs: number): void {
    const { unsentDeadlineMs, drainDeadlineMs, idleMsMax } = this.options.limits
    this.noteUnsent(nowMs)
    if (this.unsent.bytes > 0) {
      if (nowMs - this.unsent.sinceMs > unsentDeadlineMs) this.abandon('slow reader', `took nothing of its responses for ${unsentDeadlineMs} ms`)
    } else if (this.endedMs !== undefined) {
      // What a handler still waits for, e.g. the other members of a group, is of no use to a client that is gone.
      if (nowMs - this.endedMs > drainDeadlineMs) this.stream.destroy()
    } else if (this.frameStartedMs !== undefined) {
      this.checkFrame(nowMs, this.frameStartedMs)
    } else if (this.slots.length === 0 && nowMs - this.lastActiveMs > idleMsMax) {
      this.stream.destroy()
    }
  }

  /** While memory for requests is short, a connection is not read. */
  setMemoryPaused (paused: boolean): void {
    if (this.memoryPaused === paused) return
    this.memoryPaused = paused
    this.regulate()
  }

  giveUpForMemory (): void {
    this.abandon('memory for requests', `the memory for requests is used up, and nothing came of the rest of a request that ${this.requestBytes} bytes are here of`)
  }

  /** Takes no more requests, finishes those in work, then ends. Resolves when the stream is closed. */
  async drain (): Promise<void> {
    if (this.stream.destroyed) return
    await new Promise<void>((resolve) => {
      this.draining = resolve
      // Who awaits the end must not see the process end first.
      ;(this.stream as { ref?: () => void }).ref?.()
      this.takeNoMore()
      // What still arrives is read and dropped: a stream with unread bytes would never see the client's end, and so never close.
      if (!this.refused) this.stream.resume()
      this.finishIfDone()
    })
  }

  destroy (): void {
    this.stream.destroy()
  }

  private receive (decode: (frames: Buffer[]) => void): void {
    if (this.ended) return
    this.lastActiveMs = this.options.clock.monotonic()
    const frames: Buffer[] = []
    let failure: unknown
    try {
      decode(frames)
    } catch (error) {
      failure = error
    }
    for (const frame of frames) {
      this.backlog.push(frame)
      this.backlogBytes += frame.length
    }
    // The clock of the next request begins with its own first byte.
    if (frames.length > 0) this.frameStartedMs = undefined
    this.frameStartedMs = this.decoder.bytesPending > 0 ? this.frameStartedMs ?? this.lastActiveMs : undefined
    this.pump()
    // What has to wait cannot wait where it was received.
    for (let i = Math.max(0, this.backlog.length - frames.length); i < this.backlog.length; i++) this.backlog[i] = Buffer.from(this.backlog[i]!)
    this.decoder.recycle()
    if (failure !== undefined) this.malformed(failure)
    if (!this.stream.destroyed) this.options.memory.update(this)
  }

  /** Begins as many waiting requests as the limits allow, then reads on or waits. */
  private pump (): void {
    let begun = 0
    while (begun < this.backlog.length && begun < REQUESTS_PER_TURN_MAX && this.mayBegin()) {
      const frame = this.backlog[begun++]!
      this.backlogBytes -= frame.length
      this.begin(frame)
    }
    if (begun > 0) this.backlog = this.backlog.slice(begun)
    if (this.backlog.length > 0 && this.mayBegin()) this.pumpNextTurn()
    this.regulate()
    if (begun > 0) this.finishIfDone()
  }

  private pumpNextTurn (): void {
    this.nextTurn ??= setImmediate(() => {
      this.nextTurn = undefined
      this.pump()
    })
  }

  private mayBegin (): boolean {
    return !this.stream.destroyed && this.slots.length < this.options.limits.requestsInFlightMax &&
      this.stream.writableLength < this.options.limits.unsentBytesMax
  }

  private regulate (): void {
    if (this.ended) return
    const blocked = this.memoryPaused || this.backlog.length > 0 || !this.mayBegin()
    if (blocked && !this.stream.isPaused()) {
      this.stream.pause()
    } else if (!blocked && this.stream.isPaused()) {
      // The time in which this side did not read does not count against the client.
      if (this.frameStartedMs !== undefined) this.frameStartedMs = this.options.clock.monotonic()
      this.stream.resume()
    }
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
      this.complete(slot, CLOSE_CONNECTION)
    }
  }

  private complete (slot: Slot, result: DispatchResult): void {
    slot.result = result
    while (this.slots.length > 0 && this.slots[0]!.result !== undefined) {
      const { requestBytes, result: next, onSent } = this.slots.shift()!
      this.slotBytes -= requestBytes
      if (next === CLOSE_CONNECTION) this.closeWhenSent()
      if (next === CLOSE_CONNECTION || next === NO_RESPONSE || !this.stream.writable) onSent?.()
      else this.send(next!, onSent)
    }
    this.lastActiveMs = this.options.clock.monotonic()
    if (!this.stream.destroyed) this.options.memory.update(this)
    this.finishIfDone()
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

  private checkFrame (nowMs: number, startedMs: number): void {
    if (this.stream.isPaused()) return
    const { frameDeadlineMs, frameBytesPerMsMin } = this.options.limits
    const tookMs = nowMs - startedMs
    // While memory is short, a large request keeps others from being read, however steadily it arrives.
    const allowanceMs = this.options.memory.isShort ? 0 : this.decoder.bytesPending / frameBytesPerMsMin
    if (tookMs > frameDeadlineMs + allowanceMs) this.abandon('slow request', `did not complete a request within ${Math.round(tookMs)} ms`)
  }

  /** Moves the time from which a client counts as not reading whenever it has taken something. */
  private noteUnsent (nowMs: number): void {
    const bytes = bytesUnsent(this.stream)
    if (bytes !== this.unsent.bytes) this.unsent = { bytes, sinceMs: nowMs }
  }

  /** The requests before a malformed one are answered, as Kafka does, which takes one after the other; then the connection closes. */
  private malformed (error: unknown): void {
    if (error instanceof ProtocolError) this.tell('malformed request', error.message)
    else this.options.log.error('bug in the broker', { err: error, client: this.clientHost }, 'a request failed unexpectedly: this is a bug in the broker')
    this.refused = true
    this.takeNoMore()
    this.stream.pause()
    this.finishIfDone()
  }

  private abandon (cause: 'slow request' | 'slow reader' | 'memory for requests', message: string): void {
    this.tell(cause, message)
    this.stream.destroy()
  }

  private tell (cause: 'malformed request' | 'slow request' | 'slow reader' | 'memory for requests', message: string): void {
    const peer = this.clientHost.slice(1)
    this.options.log.warn(cause, { client: this.clientHost, listener: this.listenerName }, `closed a connection from ${peer}: ${message}`)
  }

  /** The client sends no more; what it asked for is still answered. */
  private receivedEnd (): void {
    this.end()
    this.finishIfDone()
  }

  /** Long polls end early from here on. */
  private end (): void {
    this.endedMs ??= this.options.clock.monotonic()
    this.frameStartedMs = undefined
    this.abort?.abort()
  }

  private takeNoMore (): void {
    this.end()
    this.backlog = []
    this.backlogBytes = 0
  }

  private finishIfDone (): void {
    if (!this.ended || this.slots.length > 0 || this.backlog.length > 0) return
    if (this.refused) this.closeWhenSent()
    else if (!this.stream.writableEnded) this.stream.end()
  }

  /** Closes without waiting for the client's end, once it has what was sent before. */
  private closeWhenSent (): void {
    this.refused = true
    this.takeNoMore()
    if (!this.stream.writableEnded) this.stream.end(() => this.stream.destroy())
  }

  private closedByStream (): void {
    this.takeNoMore()
    if (this.nextTurn !== undefined) clearImmediate(this.nextTurn)
    this.options.memory.remove(this)
    this.options.onClose(this)
    this.draining?.()
  }
}

/**
 * Bytes that the client has not taken. How much is left of the write in progress is known of a socket only: net.Socket's own timeout
 * looks at it, too.
 */
function bytesUnsent (stream: Duplex): number {
  if (stream.writableLength === 0) return 0
  const { _handle: handle } = stream as { _handle?: { readonly writeQueueSize?: number } | null }
  return stream.writableLength + (handle?.writeQueueSize ?? 0)
}
