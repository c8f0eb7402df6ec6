/**
 * What a connection's bytes go through, and whom it tells. There are two: on the addon's sockets (native-transport.ts) and on any
 * duplex stream (stream-transport.ts).
 *
 * What is sent in one turn of the event loop leaves together. The peer's end does not end the other direction; once both have ended,
 * or one side gave up, it is destroyed, and the owner is told `transportClosed` in a turn of its own, always, and nothing after it.
 */
export interface Transport {
  readonly isDestroyed: boolean
  /** False once `end` or `destroy` was called: nothing can be sent any more. */
  readonly isWritable: boolean
  readonly isPaused: boolean
  /** Bytes that were sent and that the kernel has not taken. */
  readonly bytesUnsent: number
  /** A number that changes whenever the peer took something of what was sent; 0 when there is nothing to take. */
  readonly unsentMark: number
  /** `onSent` is called when the parts are not looked at any more: they have left, or never will. */
  send (parts: readonly Buffer[], onSent: (() => void) | undefined): void
  /** Receives nothing until `resume`. Something may still come once. */
  pause (): void
  resume (): void
  /** Ends this direction after what was sent; then `ended` is called. */
  end (ended?: () => void): void
  destroy (): void
  /** From here on it keeps the process alive. */
  ref (): void
  /** Gives this object up, with its owner, if the connection can be without: true. Whatever happens on it then wakes `resting`. */
  rest (resting: Resting): boolean
}

/** A connection on which there is nothing to do. */
export interface Resting {
  /** Makes the owner of its new transport. */
  wake (transport: Transport): TransportOwner
}

export interface TransportOwner {
  /** Where the next bytes may be put to spare a copy; undefined if there is no such place. */
  room (): Buffer | undefined
  /** The bytes are valid until this returns. */
  received (bytes: Buffer): void
  /** So many bytes were put into `room`. */
  arrived (bytes: number): void
  /** Nothing is unsent. */
  drained (): void
  /** The peer sends no more. */
  receivedEnd (): void
  /** `transportClosed` follows. */
  failed (error: Error): void
  transportClosed (): void
}
