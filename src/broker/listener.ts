/** TCP listeners: accept connections within the limits and know where clients reach them. */
import net from 'node:net'
import type { Clock, Timer } from './clock.js'
import type { Endpoint } from './cluster.js'
import { Connection } from './connection.js'
import type { Dispatcher } from './dispatcher.js'
import type { LimitedLog } from './limited-log.js'
import type { Limits } from './limits.js'
import type { ListenerOptions } from './options.js'
import { ReceiveMemory, readInto } from './receive-memory.js'
import { RequestMemory } from './request-memory.js'

const DEADLINE_CHECK_MS = 1_000
/** A peer that vanished without a word is noticed after about two minutes: the kernel asks nine times. */
const KEEP_ALIVE_DELAY_MS = 60_000
const ADDRESSES_ANY = new Set(['0.0.0.0', '::', ''])

export interface ListenersOptions {
  readonly dispatcher: Dispatcher
  readonly limits: Limits
  readonly clock: Clock
  readonly log: LimitedLog
  /** Whether open listeners and connections keep the process running. */
  readonly keepsProcessAlive: boolean
}

/** All listeners of one broker and all their connections. */
export class Listeners {
  private readonly servers: net.Server[] = []
  private readonly connections = new Set<Connection>()
  private readonly connectionsByAddress = new Map<string, number>()
  private readonly endpoints = new Map<string, Endpoint>()
  private readonly ports = new Map<string, number>()
  private readonly memory: RequestMemory
  private readonly receiveMemory = new ReceiveMemory()
  private timer: Timer | undefined
  private nextConnectionId = 1

  constructor (private readonly options: ListenersOptions) {
    this.memory = new RequestMemory(options.limits, options.clock)
  }

  get connectionCount (): number { return this.connections.size }
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
    const server = net.createServer(options, (socket) => this.accept(socket, listener.name))
    if (!this.options.keepsProcessAlive) server.unref()
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host: listener.host, port: listener.port, backlog: 511 }, () => {
        server.off('error', reject)
        resolve()
      })
    })
    server.on('error', (error) => this.options.log.logger.error({ err: error, listener: listener.name }, 'cannot accept connections'))
    this.servers.push(server)
    const { port } = server.address() as net.AddressInfo
    const host = ADDRESSES_ANY.has(listener.host) ? '127.0.0.1' : listener.host
    if (ADDRESSES_ANY.has(listener.host) && listener.advertisedHost === undefined) {
      this.options.log.logger.warn(`listener ${listener.name} is open to all addresses, but its clients are told ${host}: set advertised.listeners for those on other machines`)
    }
    this.endpoints.set(listener.name, { host: listener.advertisedHost ?? host, port: listener.advertisedPort ?? port })
    this.ports.set(listener.name, port)
    if (this.timer === undefined) this.checkDeadlinesLater()
  }

  /** Stops accepting; connections stay. */
  stopAccepting (): void {
    for (const server of this.servers) server.close()
  }

  /** Finishes the requests in work, up to the deadline, and closes every connection. */
  async close (): Promise<void> {
    this.stopAccepting()
    this.timer?.cancel()
    const drained = Promise.all([...this.connections].map((connection) => connection.drain()))
    const deadline = this.options.clock.setTimer(this.options.limits.drainDeadlineMs, () => {
      for (const connection of this.connections) connection.destroy()
    })
    await drained
    deadline.cancel()
    this.options.log.tellHeldBack(true)
  }

  private accept (socket: net.Socket, listenerName: string): void {
    const address = socket.remoteAddress?.replace(/^::ffff:/, '') ?? 'unknown'
    const { limits } = this.options
    const fromAddress = this.connectionsByAddress.get(address) ?? 0
    if (this.connections.size >= limits.connectionsMax) {
      return this.refuse(socket, 'too many connections', `refused a connection from ${address}: max.connections is ${limits.connectionsMax}`)
    }
    if (fromAddress >= limits.connectionsPerAddressMax) {
      return this.refuse(socket, 'too many connections from one address',
        `refused a connection from ${address}: max.connections.per.ip is ${limits.connectionsPerAddressMax}`)
    }
    this.connectionsByAddress.set(address, fromAddress + 1)
    this.connections.add(new Connection({
      ...this.options,
      connectionId: this.nextConnectionId++,
      listenerName,
      clientHost: `/${address}`,
      memory: this.memory,
      receiveMemory: this.receiveMemory,
      onClose: this.closed
    }, (onread) => {
      const stream = readInto(socket, onread) ?? socket.resume()
      return this.options.keepsProcessAlive ? stream : stream.unref()
    }))
  }

  /** One function for all connections: each is kept as long as its connection, with all that it can see. */
  private readonly closed = (connection: Connection): void => {
    this.connections.delete(connection)
    const address = connection.clientHost.slice(1)
    const left = this.connectionsByAddress.get(address)! - 1
    if (left === 0) this.connectionsByAddress.delete(address)
    else this.connectionsByAddress.set(address, left)
  }

  private refuse (socket: net.Socket, cause: 'too many connections' | 'too many connections from one address', message: string): void {
    socket.on('error', () => {})
    socket.destroy()
    this.options.log.warn(cause, {}, message)
  }

  private checkDeadlinesLater (): void {
    this.timer = this.options.clock.setTimer(DEADLINE_CHECK_MS, () => {
      const nowMs = this.options.clock.monotonic()
      for (const connection of this.connections) connection.checkDeadlines(nowMs)
      this.memory.relieve(nowMs)
      this.options.log.tellHeldBack()
      this.checkDeadlinesLater()
    })
  }
}
