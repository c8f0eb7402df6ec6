/**
 * Connections on the addon's sockets. One object here stands for all of an owner's: it is told what happened to them in one call per
 * turn of the event loop. The addon does not hold on to memory, so what is sent is kept here until it has left.
 *
 * A connection has a transport while there is something to do on it. At rest it has none: most are idle most of the time.
 */
import { getSystemErrorMap } from 'node:util'
import { loadBinding, SocketEvent, type SocketsBinding, type SocketsHandle } from '../binding.js'
import type { Resting, Transport, TransportOwner } from './transport.js'

/** Instead of an array with nothing in it. One that begins with its first element is small: the first push makes room for 17. */
const NOTHING: never[] = []

export interface NativeSocketsOptions {
  /** What is received goes there first. */
  readonly receiveBuffer: Buffer
  /** Whether open listeners and connections keep the process running. */
  readonly keepsProcessAlive: boolean
  /** What stands for the new connection until something happens on it; undefined refuses it. */
  readonly onAccepted: (id: number, listener: number, address: string) => Resting | undefined
  /** The listener accepts no more until `acceptAgain`. */
  readonly onAcceptFailed: (listener: number, error: Error) => void
}

/** All listeners and connections of one owner. */
export class NativeSockets {
  private readonly handle: SocketsHandle
  private readonly events: Float64Array
  private readonly connections = new Map<number, NativeTransport | Resting>()
  private toFlush: NativeTransport[] = NOTHING

  private constructor (private readonly binding: SocketsBinding, private readonly options: NativeSocketsOptions) {
    this.events = new Float64Array(binding.eventsMax * binding.eventNumbers)
    const handle = binding.open(options.receiveBuffer, this.events, (count) => this.told(count))
    if (typeof handle === 'number') throw systemError('epoll_create1', handle)
    this.handle = handle
    if (!options.keepsProcessAlive) binding.keepAlive(handle, false)
  }

  /** Or a sentence that says why there are none. */
  static open (options: NativeSocketsOptions): NativeSockets | string {
    const loaded = loadBinding()
    if (!('binding' in loaded)) return loaded.reason
    try {
      return new NativeSockets(loaded.binding.sockets, options)
    } catch (error) {
      return (error as Error).message
    }
  }

  /** Accepts connections of a listening socket that the caller may close afterwards. Throws where the kernel refuses to watch it. */
  listen (file: number): number {
    const listener = this.binding.listen(this.handle, file)
    if (listener < 0) throw systemError('listen', listener)
    return listener
  }

  acceptAgain (listener: number): void { this.binding.acceptAgain(this.handle, listener) }
  stopListening (listener: number): void { this.binding.close(this.handle, listener) }
  keepAlive (): void { this.binding.keepAlive(this.handle, true) }
  /** Everything, at once. */
  close (): void { this.binding.closeAll(this.handle) }

  /** For transports. */
  flushLater (transport: NativeTransport): void {
    if (this.toFlush !== NOTHING) {
      this.toFlush.push(transport)
      return
    }
    process.nextTick(this.flush)
    this.toFlush = [transport]
  }

  /** The transport of a connection, made anew if it is at rest; undefined if it was closed. */
  wake (id: number): NativeTransport | undefined {
    const known = this.connections.get(id)
    if (known === undefined || known instanceof NativeTransport) return known
    const transport = new NativeTransport(this, id)
    transport.owner = known.wake(transport)
    this.connections.set(id, transport)
    return transport
  }

  rest (id: number, resting: Resting): void { this.connections.set(id, resting) }
  send (id: number, parts: readonly Buffer[]): number { return this.binding.send(this.handle, id, parts) }
  setReading (id: number, reading: boolean): void { this.binding.setReading(this.handle, id, reading) }
  shutdown (id: number): number { return this.binding.shutdown(this.handle, id) }
  remove (id: number): void {
    this.connections.delete(id)
    this.binding.close(this.handle, id)
  }

  private readonly flush = (): void => {
    const transports = this.toFlush
    this.toFlush = NOTHING
    for (const transport of transports) {
      try {
        transport.flush()
      } catch (error) {
        throwLater(error)
      }
    }
  }

  private told (count: number): void {
    for (let index = 0; index < count; index++) {
      try {
        this.toldOne(index)
      } catch (error) {
        throwLater(error)
      }
    }
  }

  private toldOne (index: number): void {
    const at = index * this.binding.eventNumbers
    const kind = this.events[at]!
    const id = this.events[at + 1]!
    const value = this.events[at + 2]!
    const bytes = this.events[at + 3]!
    if (kind === SocketEvent.accepted) {
      const resting = this.options.onAccepted(id, value, this.binding.acceptedAddress(this.handle, index))
      if (resting === undefined) this.binding.close(this.handle, id)
      else this.rest(id, resting)
    } else if (kind === SocketEvent.acceptFailed) {
      this.options.onAcceptFailed(id, systemError('accept', -value))
    } else {
      // One that was destroyed since then is not there any more.
      const transport = this.wake(id)
      if (transport !== undefined) this.toldOf(transport, kind, value, bytes)
    }
  }

  private toldOf (transport: NativeTransport, kind: number, value: number, bytes: number): void {
    const { owner } = transport
    switch (kind) {
      case SocketEvent.received:
        owner.received(this.options.receiveBuffer.subarray(value, value + bytes))
        return this.readInto(transport)
      case SocketEvent.filled:
        owner.arrived(bytes)
        return this.readInto(transport)
      case SocketEvent.sent: return transport.taken(value)
      case SocketEvent.ended: return transport.peerEnded()
      case SocketEvent.failed: return transport.fail(-value)
    }
  }

  /** The rest of a large request goes to its place at once. */
  private readInto (transport: NativeTransport): void {
    if (transport.isDestroyed) return
    const room = transport.owner.room()
    if (room !== undefined) this.binding.readInto(this.handle, transport.id, room)
  }
}

/** Something sent that has not left in whole. */
interface Sending {
  readonly parts: readonly Buffer[]
  /** Where it ends in the bytes sent since nothing was unsent. */
  readonly end: number
  readonly onSent: (() => void) | undefined
}

export class NativeTransport implements Transport {
  /** Set by whoever makes it. */
  owner!: TransportOwner
  isDestroyed = false
  isWritable = true
  isPaused = false
  private hasPeerEnded = false
  private hasEnded = false
  private ended: (() => void) | undefined
  private sending: Sending[] = NOTHING
  /** Bytes sent, of those passed to the addon, and of those that left, since nothing was unsent. */
  private bytesSent = 0
  private bytesPassed = 0
  private bytesLeft = 0
  private willFlush = false

  constructor (private readonly sockets: NativeSockets, readonly id: number) {}

  get bytesUnsent (): number { return this.bytesSent - this.bytesLeft }
  get unsentMark (): number { return this.bytesUnsent }

  send (parts: readonly Buffer[], onSent: (() => void) | undefined): void {
    for (const { length } of parts) this.bytesSent += length
    const sending = { parts, end: this.bytesSent, onSent }
    if (this.sending === NOTHING) this.sending = [sending]
    else this.sending.push(sending)
    if (this.willFlush) return
    this.willFlush = true
    this.sockets.flushLater(this)
  }

  pause (): void { this.setPaused(true) }
  resume (): void { this.setPaused(false) }

  end (ended?: () => void): void {
    if (!this.isWritable) return
    this.isWritable = false
    this.ended = ended
    if (this.sending === NOTHING) this.finish()
  }

  destroy (): void {
    if (this.isDestroyed) return
    this.isDestroyed = true
    this.isWritable = false
    this.sockets.remove(this.id)
    process.nextTick(() => {
      const { sending } = this
      this.sending = NOTHING
      for (const { onSent } of sending) onSent?.()
      this.owner.transportClosed()
    })
  }

  ref (): void { this.sockets.keepAlive() }

  rest (resting: Resting): boolean {
    if (this.sending !== NOTHING || !this.isWritable || this.isPaused || this.hasPeerEnded) return false
    this.sockets.rest(this.id, resting)
    return true
  }

  /** Passes on what was sent in this turn. */
  flush (): void {
    this.willFlush = false
    if (this.isDestroyed) return
    const parts = this.partsToPass()
    this.bytesPassed = this.bytesSent
    const queued = this.sockets.send(this.id, parts)
    if (queued < 0) this.fail(queued)
    else this.taken(queued)
  }

  private partsToPass (): readonly Buffer[] {
    const { sending, bytesPassed } = this
    if (sending.length === 1 && sending[0]!.end > bytesPassed) return sending[0]!.parts
    const parts: Buffer[] = []
    for (const one of sending) if (one.end > bytesPassed) for (const part of one.parts) parts.push(part)
    return parts
  }

  /** The kernel took all but so many bytes of what was passed. */
  taken (bytesQueued: number): void {
    this.bytesLeft = this.bytesPassed - bytesQueued
    let count = 0
    while (count < this.sending.length && this.sending[count]!.end <= this.bytesLeft) count++
    const left = count === this.sending.length ? this.sending : this.sending.splice(0, count)
    if (left === this.sending) {
      this.sending = NOTHING
      this.bytesSent = this.bytesPassed = this.bytesLeft = 0
    }
    for (const { onSent } of left) onSent?.()
    if (this.sending !== NOTHING || this.isDestroyed) return
    if (!this.isWritable) this.finish()
    else this.owner.drained()
  }

  peerEnded (): void {
    this.hasPeerEnded = true
    this.owner.receivedEnd()
    if (this.hasEnded) this.destroy()
  }

  fail (errno: number): void {
    if (errno !== 0) this.owner.failed(systemError('socket', errno))
    this.destroy()
  }

  private setPaused (paused: boolean): void {
    if (this.isPaused === paused || this.isDestroyed) return
    this.isPaused = paused
    this.sockets.setReading(this.id, !paused)
  }

  private finish (): void {
    if (this.hasEnded || this.isDestroyed) return
    this.hasEnded = true
    // Where the peer has ended, too, closing it says the same.
    const error = this.hasPeerEnded ? 0 : this.sockets.shutdown(this.id)
    if (error < 0) return this.fail(error)
    this.ended?.()
    if (this.hasPeerEnded) this.destroy()
  }
}

/** What one connection's owner throws must not keep the others from being told. */
function throwLater (error: unknown): void {
  process.nextTick(() => { throw error })
}

function systemError (call: string, errno: number): Error {
  const [code, text] = getSystemErrorMap().get(errno) ?? ['UNKNOWN', `error ${-errno}`]
  return Object.assign(new Error(`${call} ${code}: ${text}`), { errno, code, syscall: call })
}
