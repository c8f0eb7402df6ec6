/** TCP listeners: accept connections within the limits and know where clients reach them. */
import net from 'node:net'
import type { Clock, Timer } from './clock.js'
import type { Endpoint } from './cluster.js'
import type { Connection, ConnectionOptions } from './connection.js'
import type { Dispatcher } from './dispatcher.js'
import type { LimitedLog } from './limited-log.js'
import type { Limits } from './limits.js'
import type { ListenerOptions } from './options.js'
import { Peer } from './peer.js'
import { ReceiveMemory } from './receive-memory.js'
import { RequestMemory } from './request-memory.js'
import { NativeSockets } from '../transport/native-transport.js'
import { readInto, StreamTransport } from '../transport/stream-transport.js'

const DEADLINE_CHECK_MS = 1_000
/** A peer that vanished without a word is noticed after about two minutes: the kernel asks nine times. */
const KEEP_ALIVE_DELAY_MS = 60_000
const BACKLOG = 511
const ADDRESSES_ANY = new Set(['0.0.0.0', '::', ''])

export interface ListenersOptions {
  readonly dispatcher: Dispatcher
  readonly limits: Limits
  readonly clock: Clock
  readonly log: LimitedLog
  /** Whether open listeners and connections keep the process running. */
  readonly keepsProcessAlive: boolean
  readonly sockets: 'auto' | 'node'
}

/** All listeners of one broker and all their connections. */
export class Listeners {
  private readonly servers: net.Server[] = []
  private readonly peers = new Set<Peer>()
  /** What connections from one address share. */
  private readonly addresses = new Map<string, { readonly clientHost: string, connectionCount: number }>()
  private readonly endpoints = new Map<string, Endpoint>()
  private readonly ports = new Map<string, number>()
  private readonly nativeListeners = new Map<number, ConnectionOptions>()
  /** Those that could not accept. */
  private readonly waitingListeners: number[] = []
  /** Or why there are none. */
  private sockets: NativeSockets | string | undefined
  private readonly memory: RequestMemory
  private readonly receiveMemory = new ReceiveMemory()
  private timer: Timer | undefined
  /** Connections on the addon's sockets have the ids of those, which count up. */
  private nextStreamId = -1

  constructor (private readonly options: ListenersOptions) {
    this.memory = new RequestMemory(options.limits, options.clock)
  }

  get connectionCount (): number { return this.peers.size }
  /** Bytes of requests that all connections hold. */
  get requestBytes (): number { return this.memory.bytesHeld }
  /** Names in the order in which they were opened. */
  get names (): readonly string[] { return [...this.endpoints.keys()] }

  /** Address that clients of a listener are told. */
  endpoint (listenerName: string): Endpoint {
    const endpoint = this.endpoints.get(listenerName)
    if (endpoint === undefined) throw new Error(`there is no listener ${listenerName}`)
    return endpoint
  }

  /** The port that a listener is bound to, whatever clients are told. */
  boundPort (listenerName: string): number {
    return this.ports.get(listenerName)!
  }

  /** Rejects with the error of listen(2): EADDRINUSE, EACCES, EADDRNOTAVAIL. */
  async open (listener: ListenerOptions): Promise<void> {
    const options = { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS, allowHalfOpen: true, pauseOnConnect: true }
    const connectionOptions = { ...this.options, listenerName: listener.name, memory: this.memory, receiveMemory: this.receiveMemory, onClose: this.closed }
    const server = net.createServer(options, (socket) => this.acceptSocket(socket, connectionOptions))
    if (!this.options.keepsProcessAlive) server.unref()
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host: listener.host, port: listener.port, backlog: BACKLOG }, () => {
        server.off('error', reject)
        resolve()
      })
    })
    const { port } = server.address() as net.AddressInfo
    if (!this.acceptNatively(server, connectionOptions)) {
      server.on('error', (error) => this.cannotAccept(error, listener.name))
      this.servers.push(server)
    }
    const host = ADDRESSES_ANY.has(listener.host) ? '127.0.0.1' : listener.host
    if (ADDRESSES_ANY.has(listener.host) && listener.advertisedHost === undefined) {
      this.options.log.logger.warn(`listener ${listener.name} is open to all addresses, but its clients are told ${host}: set advertised.listeners for those on other machines`)
    }
    this.endpoints.set(listener.name, { host: listener.advertisedHost ?? host, port: listener.advertisedPort ?? port })
    this.ports.set(listener.name, port)
    if (this.timer === undefined) this.checkDeadlinesLater()
  }

  /** The addon takes the listening socket over before Node has looked at it; where it cannot, Node accepts. */
  private acceptNatively (server: net.Server, connectionOptions: ConnectionOptions): boolean {
    this.sockets ??= this.options.sockets === 'node' ? 'asked for' : NativeSockets.open({
      receiveBuffer: this.receiveMemory.shared,
      keepsProcessAlive: this.options.keepsProcessAlive,
      onAccepted: (id, listener, address) => this.accept(address, this.nativeListeners.get(listener), id),
      onAcceptFailed: (listener, error) => this.acceptLater(listener, error)
    })
    const reason = typeof this.sockets === 'string' ? this.sockets : this.handOver(server, connectionOptions, this.sockets)
    this.options.log.logger.debug({ listener: connectionOptions.listenerName, sockets: reason === undefined ? 'native' : 'node', ...(reason !== undefined && { reason }) }, 'listening')
    if (reason !== undefined) return false
    server.close()
    return true
  }

  /** Or says why not. */
  private handOver (server: net.Server, connectionOptions: ConnectionOptions, sockets: NativeSockets): string | undefined {
    const { _handle: handle } = server as unknown as { readonly _handle?: { readonly fd?: number } | null }
    // In a cluster's worker, it is the primary that listens.
    if (handle?.fd === undefined || handle.fd < 0) return 'this process does not have the listening socket'
    try {
      this.nativeListeners.set(sockets.listen(handle.fd), connectionOptions)
    } catch (error) {
      return (error as Error).message
    }
    return undefined
  }

  /** Stops accepting; connections stay. */
  stopAccepting (): void {
    for (const server of this.servers) server.close()
    for (const listener of this.nativeListeners.keys()) this.nativeSockets?.stopListening(listener)
    this.nativeListeners.clear()
  }

  /** Finishes the requests in work, up to the deadline, and closes every connection. */
  async close (): Promise<void> {
    this.stopAccepting()
    this.timer?.cancel()
    const drained = Promise.all([...this.peers].map((peer) => this.awake(peer).drain()))
    const deadline = this.options.clock.setTimer(this.options.limits.drainDeadlineMs, () => {
      for (const peer of this.peers) this.awake(peer).destroy()
    })
    await drained
    deadline.cancel()
    this.nativeSockets?.close()
    this.options.log.tellHeldBack(true)
  }

  private get nativeSockets (): NativeSockets | undefined { return typeof this.sockets === 'string' ? undefined : this.sockets }

  private acceptSocket (socket: net.Socket, connectionOptions: ConnectionOptions): void {
    const peer = this.accept(socket.remoteAddress, connectionOptions, this.nextStreamId--)
    if (peer === undefined) {
      socket.on('error', () => {})
      socket.destroy()
      return
    }
    const connection = peer.open()
    const stream = readInto(socket, connection, this.receiveMemory.shared) ?? socket
    connection.transport = new StreamTransport(stream, connection)
    if (stream === socket) stream.resume()
    if (!this.options.keepsProcessAlive) stream.unref()
  }

  /** Without descriptors or memory, connections wait in the kernel's queue until the next look at the deadlines. */
  private acceptLater (listener: number, error: Error): void {
    this.cannotAccept(error, this.nativeListeners.get(listener)?.listenerName ?? 'closed')
    this.waitingListeners.push(listener)
  }

  private cannotAccept (error: Error, listener: string): void {
    this.options.log.error('cannot accept', { err: error, listener }, 'cannot accept connections')
  }

  /** Undefined if the limits do not allow another connection, or the listener was closed. */
  private accept (remoteAddress: string | undefined, connectionOptions: ConnectionOptions | undefined, id: number): Peer | undefined {
    if (connectionOptions === undefined) return undefined
    const address = remoteAddress?.replace(/^::ffff:/, '') ?? 'unknown'
    const { limits } = this.options
    const from = this.addresses.get(address) ?? { clientHost: `/${address}`, connectionCount: 0 }
    if (this.peers.size >= limits.connectionsMax) {
      this.options.log.warn('too many connections', {}, `refused a connection from ${address}: max.connections is ${limits.connectionsMax}`)
      return undefined
    }
    if (from.connectionCount >= limits.connectionsPerAddressMax) {
      this.options.log.warn('too many connections from one address', {},
        `refused a connection from ${address}: max.connections.per.ip is ${limits.connectionsPerAddressMax}`)
      return undefined
    }
    if (from.connectionCount++ === 0) this.addresses.set(address, from)
    const peer = new Peer(connectionOptions, id, from.clientHost)
    this.peers.add(peer)
    return peer
  }

  /** One function for all connections: each is kept as long as its connection, with all that it can see. */
  private readonly closed = (peer: Peer): void => {
    this.peers.delete(peer)
    const address = peer.clientHost.slice(1)
    if (--this.addresses.get(address)!.connectionCount === 0) this.addresses.delete(address)
  }

  /** What serves a peer, made anew if it is at rest, as only those on the addon's sockets are. */
  private awake (peer: Peer): Connection {
    if (peer.connection === undefined) this.nativeSockets!.wake(peer.connectionId)
    return peer.connection!
  }

  private checkDeadlinesLater (): void {
    this.timer = this.options.clock.setTimer(DEADLINE_CHECK_MS, () => {
      const nowMs = this.options.clock.monotonic()
      for (const peer of this.peers) {
        if (peer.connection !== undefined) peer.connection.checkDeadlines(nowMs)
        else if (nowMs - peer.lastActiveMs > this.options.limits.idleMsMax) this.awake(peer).destroy()
      }
      this.memory.relieve(nowMs)
      for (const listener of this.waitingListeners.splice(0)) this.nativeSockets?.acceptAgain(listener)
      this.options.log.tellHeldBack()
      this.checkDeadlinesLater()
    })
  }
}
