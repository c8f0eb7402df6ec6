/**
 * One client's connection: bytes in, requests to the dispatcher, responses out in request order. Works on any transport.
 *
 * Handlers overlap, answers wait for their turn. A connection takes no more requests while it has too many in work or while the
 * client does not read what it was sent; then its socket is not read either, which is how TCP tells the client to wait. What
 * arrives too slowly, lies idle or is malformed closes this connection and no other.
 *
 * With nothing left to do it may be given up: then only its peer (peer.ts) is kept, which makes another one when something happens.
 */
import { FrameDecoder } from '../protocol/frame-decoder.js'
import { ProtocolError } from '../protocol/protocol-error.js'
import type { Clock } from './clock.js'
import type { ConnectionContext, Dispatcher, DispatchResult } from './dispatcher.js'
import { CLOSE_CONNECTION, NO_RESPONSE } from './handler.js'
import type { LimitedLog } from './limited-log.js'
import type { Limits } from './limits.js'
import type { Peer } from './peer.js'
import type { ReceiveMemory } from './receive-memory.js'
import type { RequestMemory } from './request-memory.js'
import type { Transport, TransportOwner } from '../transport/transport.js'

/** What all connections of a listener share. */
export interface ConnectionOptions {
  readonly listenerName: string
  readonly dispatcher: Dispatcher
  readonly limits: Limits
  readonly memory: RequestMemory
  readonly receiveMemory: ReceiveMemory
  readonly clock: Clock
  readonly log: LimitedLog
  readonly onClose: (peer: Peer) => void
}

/** One request in work. */
interface Slot {
  readonly requestBytes: number
  result: DispatchResult | undefined
  /** Told when the response has left the process or never will. */
  onSent: (() => void) | undefined
}

/** What a connection without requests has instead of arrays of its own. */
const NONE: never[] = []

/** Requests of one connection that are begun before others get their turn of the event loop. */
const REQUESTS_PER_TURN_MAX = 64

export class Connection implements ConnectionContext, TransportOwner {
  /** Set by whoever makes it. */
  transport!: Transport
  /** Only while there is an incomplete frame. */
  private decoder: FrameDecoder | undefined
  /** Requests received but not begun. */
  private backlog: Buffer[] = NONE
  private backlogBytes = 0
  /** Requests in work or waiting for their turn, oldest first. */
  private slots: Slot[] = NONE
  private slotBytes = 0
  private frameStartedMs: number | undefined
  private unsentMark = 0
  private unsentSinceMs = 0
  private abort: AbortController | undefined
  private nextTurn: NodeJS.Immediate | undefined
  private draining: (() => void) | undefined
  private memoryPaused = false
  /** Since when no more requests are expected or taken. */
  private endedMs: number | undefined
  private refused = false

  constructor (private readonly options: ConnectionOptions, private readonly peer: Peer) {}

  get connectionId (): number { return this.peer.connectionId }
  get listenerName (): string { return this.peer.listenerName }
  get clientHost (): string { return this.peer.clientHost }

  room (): Buffer | undefined { return this.decoder?.room() }
  received (bytes: Buffer): void { this.receive(bytes, bytes.length) }
  arrived (bytes: number): void { this.receive(undefined, bytes) }
  /** What waits begins in the next turn: a kernel that takes everything at once must not make one connection a turn without end. */
  drained (): void {
    if (this.backlog.length > 0) this.pumpNextTurn()
    else this.pump()
    this.restIfIdle()
  }

  /** The client sends no more; what it asked for is still answered. */
  receivedEnd (): void {
    this.end()
    this.finishIfDone()
  }

  failed (error: Error): void {
    this.options.log.logger.debug({ err: error, client: this.clientHost }, 'connection failed')
  }

  /** Aborted when the connection is gone or about to be. */
  get closed (): AbortSignal {
    this.abort ??= new AbortController()
    if (this.ended) this.abort.abort()
    return this.abort.signal
  }

  /** Bytes of requests held: not complete, waiting, or in work. */
  get requestBytes (): number { return (this.decoder?.bytesPending ?? 0) + this.backlogBytes + this.slotBytes }
  get hasIncompleteFrame (): boolean { return this.frameStartedMs !== undefined }
  private get ended (): boolean { return this.endedMs !== undefined }

  /** Closes the connection if one of its deadlines has passed. Called about once a second. */
  checkDeadlines (nowMs: number): void {
    const { unsentDeadlineMs, drainDeadlineMs, idleMsMax } = this.options.limits
    this.noteUnsent(nowMs)
    if (this.unsentMark > 0) {
      if (nowMs - this.unsentSinceMs > unsentDeadlineMs) this.abandon('slow reader', `took nothing of its responses for ${unsentDeadlineMs} ms`)
    } else if (this.endedMs !== undefined) {
      // What a handler still waits for, e.g. the other members of a group, is of no use to a client that is gone.
      if (nowMs - this.endedMs > drainDeadlineMs) this.transport.destroy()
    } else if (this.frameStartedMs !== undefined) {
      this.checkFrame(nowMs, this.frameStartedMs)
    } else if (this.slots.length === 0 && nowMs - this.peer.lastActiveMs > idleMsMax) {
      this.transport.destroy()
    } else {
      this.restIfIdle()
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

  /** Takes no more requests, finishes those in work, then ends. Resolves when it is closed. */
  async drain (): Promise<void> {
    if (this.transport.isDestroyed) return
    await new Promise<void>((resolve) => {
      this.draining = resolve
      // Who awaits the end must not see the process end first.
      this.transport.ref()
      this.takeNoMore()
      // What still arrives is read and dropped: a transport with unread bytes would never see the client's end, and so never close.
      if (!this.refused) this.transport.resume()
      this.finishIfDone()
    })
  }

  destroy (): void {
    this.transport.destroy()
  }

  /** Without a chunk, so many bytes were put into `room`. */
  private receive (chunk: Buffer | undefined, bytes: number): void {
    if (this.ended) return
    const { peer } = this
    peer.lastActiveMs = this.options.clock.monotonic()
    const decoder = this.decoder ?? new FrameDecoder(this.options.limits.requestBytesMax, this.options.receiveMemory, peer.sawFrame)
    const frames: Buffer[] = []
    let failure: unknown
    try {
      if (chunk === undefined) decoder.arrived(bytes, frames)
      else decoder.push(chunk, frames)
    } catch (error) {
      failure = error
    }
    for (const frame of frames) this.backlogBytes += frame.length
    if (frames.length > 0) this.backlog = this.backlog.length === 0 ? frames : [...this.backlog, ...frames]
    // The clock of the next request begins with its own first byte.
    if (frames.length > 0) this.frameStartedMs = undefined
    peer.sawFrame ||= frames.length > 0
    this.decoder = decoder.bytesPending > 0 ? decoder : undefined
    this.frameStartedMs = decoder.bytesPending > 0 ? this.frameStartedMs ?? peer.lastActiveMs : undefined
    this.pump()
    // What has to wait cannot wait where it was received.
    for (let i = Math.max(0, this.backlog.length - frames.length); i < this.backlog.length; i++) this.backlog[i] = Buffer.from(this.backlog[i]!)
    decoder.recycle()
    if (failure !== undefined) this.malformed(failure)
    if (!this.transport.isDestroyed) this.options.memory.update(this)
  }

  /** Begins as many waiting requests as the limits allow, then reads on or waits. */
  private pump (): void {
    let begun = 0
    while (begun < this.backlog.length && begun < REQUESTS_PER_TURN_MAX && this.mayBegin()) {
      const frame = this.backlog[begun++]!
      this.backlogBytes -= frame.length
      this.begin(frame)
    }
    if (begun > 0) this.backlog = begun === this.backlog.length ? NONE : this.backlog.slice(begun)
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
    return !this.transport.isDestroyed && this.slots.length < this.options.limits.requestsInFlightMax &&
      this.transport.bytesUnsent < this.options.limits.unsentBytesMax
  }

  private regulate (): void {
    if (this.ended) return
    const blocked = this.memoryPaused || this.backlog.length > 0 || !this.mayBegin()
    if (blocked && !this.transport.isPaused) {
      this.transport.pause()
    } else if (!blocked && this.transport.isPaused) {
      // The time in which this side did not read does not count against the client.
      if (this.frameStartedMs !== undefined) this.frameStartedMs = this.options.clock.monotonic()
      this.transport.resume()
    }
  }

  private begin (frame: Buffer): void {
    const slot: Slot = { requestBytes: frame.length, result: undefined, onSent: undefined }
    if (this.slots === NONE) this.slots = [slot]
    else this.slots.push(slot)
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
      if (next === CLOSE_CONNECTION || next === NO_RESPONSE || !this.transport.isWritable) onSent?.()
      else this.transport.send(next!, onSent)
    }
    if (this.slots.length === 0) this.slots = NONE
    this.peer.lastActiveMs = this.options.clock.monotonic()
    if (!this.transport.isDestroyed) this.options.memory.update(this)
    this.finishIfDone()
  }

  /** What a request leaves behind, such as the signal that its handler watched, goes with this. */
  private restIfIdle (): void {
    if (this.ended || this.memoryPaused || this.nextTurn !== undefined) return
    if (this.slots.length > 0 || this.backlog.length > 0 || this.decoder !== undefined) return
    if (this.transport.rest(this.peer)) this.peer.connection = undefined
  }

  private checkFrame (nowMs: number, startedMs: number): void {
    if (this.transport.isPaused) return
    const { frameDeadlineMs, frameBytesPerMsMin } = this.options.limits
    const tookMs = nowMs - startedMs
    // While memory is short, a large request keeps others from being read, however steadily it arrives.
    const allowanceMs = this.options.memory.isShort ? 0 : (this.decoder?.bytesPending ?? 0) / frameBytesPerMsMin
    if (tookMs > frameDeadlineMs + allowanceMs) this.abandon('slow request', `did not complete a request within ${Math.round(tookMs)} ms`)
  }

  /** Moves the time from which a client counts as not reading whenever it has taken something. */
  private noteUnsent (nowMs: number): void {
    const { unsentMark } = this.transport
    if (unsentMark === this.unsentMark) return
    this.unsentMark = unsentMark
    this.unsentSinceMs = nowMs
  }

  /** The requests before a malformed one are answered, as Kafka does, which takes one after the other; then the connection closes. */
  private malformed (error: unknown): void {
    if (error instanceof ProtocolError) this.tell('malformed request', error.message)
    else this.options.log.error('bug in the broker', { err: error, client: this.clientHost }, 'a request failed unexpectedly: this is a bug in the broker')
    this.refused = true
    this.takeNoMore()
    this.transport.pause()
    this.finishIfDone()
  }

  private abandon (cause: 'slow request' | 'slow reader' | 'memory for requests', message: string): void {
    this.tell(cause, message)
    this.transport.destroy()
  }

  private tell (cause: 'malformed request' | 'slow request' | 'slow reader' | 'memory for requests', message: string): void {
    const peer = this.clientHost.slice(1)
    this.options.log.warn(cause, { client: this.clientHost, listener: this.listenerName }, `closed a connection from ${peer}: ${message}`)
  }

  /** Long polls end early from here on. */
  private end (): void {
    this.endedMs ??= this.options.clock.monotonic()
    this.frameStartedMs = undefined
    this.abort?.abort()
  }

  private takeNoMore (): void {
    this.end()
    this.backlog = NONE
    this.backlogBytes = 0
  }

  private finishIfDone (): void {
    if (!this.ended || this.slots.length > 0 || this.backlog.length > 0) return
    if (this.refused) this.closeWhenSent()
    else this.transport.end()
  }

  /** Closes without waiting for the client's end, once it has what was sent before. */
  private closeWhenSent (): void {
    this.refused = true
    this.takeNoMore()
    this.transport.end(() => this.transport.destroy())
  }

  transportClosed (): void {
    this.takeNoMore()
    if (this.nextTurn !== undefined) clearImmediate(this.nextTurn)
    this.options.memory.remove(this)
    this.options.onClose(this.peer)
    this.draining?.()
  }
}
