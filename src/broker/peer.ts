/**
 * One client's connection as long as it lasts: who is connected where. What serves requests (connection.ts) is there only while
 * there is something to do. At rest, as most connections are most of the time, this is all that the broker keeps of one.
 */
import { Connection, type ConnectionOptions } from './connection.js'
import type { Resting, Transport } from '../transport/transport.js'

export class Peer implements Resting {
  /** Undefined at rest. */
  connection: Connection | undefined
  lastActiveMs: number
  /** Whether there were requests, so that what comes is no other protocol's beginning. */
  sawFrame = false

  /**
   * @param connectionId Unique among the connections of a broker.
   * @param clientHost '/127.0.0.1', as Kafka prints it.
   */
  constructor (private readonly options: ConnectionOptions, readonly connectionId: number, readonly clientHost: string) {
    this.lastActiveMs = options.clock.monotonic()
  }

  get listenerName (): string { return this.options.listenerName }

  /** Its transport is still to be set. */
  open (): Connection {
    return this.connection = new Connection(this.options, this)
  }

  wake (transport: Transport): Connection {
    const connection = this.open()
    connection.transport = transport
    return connection
  }
}
