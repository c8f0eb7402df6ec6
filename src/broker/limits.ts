/**
 * Every limit that keeps one client's behaviour from becoming the others' problem, in one place. Those that Kafka has keep Kafka's
 * names in the configuration; the rest are constants with their reasons.
 */
export interface Limits {
  /** Largest request, `socket.request.max.bytes`. */
  readonly requestBytesMax: number
  /** Bytes of requests, whole or in part, that all connections together may hold before others are not read. */
  readonly requestMemoryBytesMax: number
  /** Bytes of requests that each connection may hold even then. */
  readonly requestBytesFree: number
  /** Requests of one connection that may be in work or waiting for their turn to be answered. */
  readonly requestsInFlightMax: number
  /** Bytes of responses that one connection may leave unread before no more of its requests are taken. */
  readonly unsentBytesMax: number
  /** How long a connection may take nothing of the responses that it was sent before it is closed, in ms. */
  readonly unsentDeadlineMs: number
  /** How long a request may take from its first byte to its last, in ms, beyond what it takes at `frameBytesPerMsMin`. */
  readonly frameDeadlineMs: number
  /** The slowest rate at which a client has to be able to send, in bytes per ms. */
  readonly frameBytesPerMsMin: number
  /** How long large requests may stand still while the memory for requests is used up before the oldest are given up, in ms. */
  readonly stalledDeadlineMs: number
  /** `connections.max.idle.ms`. */
  readonly idleMsMax: number
  /** `max.connections`, of the whole broker. */
  readonly connectionsMax: number
  /** `max.connections.per.ip`. */
  readonly connectionsPerAddressMax: number
  /** How long closing, or a client that sends no more, waits for requests in work, in ms. */
  readonly drainDeadlineMs: number
}

export const DEFAULT_LIMITS: Limits = {
  requestBytesMax: 100 * 1024 * 1024,
  requestMemoryBytesMax: 256 * 1024 * 1024,
  requestBytesFree: 64 * 1024,
  requestsInFlightMax: 128,
  unsentBytesMax: 16 * 1024 * 1024,
  unsentDeadlineMs: 60_000,
  frameDeadlineMs: 30_000,
  frameBytesPerMsMin: 4,
  stalledDeadlineMs: 2_000,
  idleMsMax: 600_000,
  connectionsMax: 5_000,
  connectionsPerAddressMax: 5_000,
  drainDeadlineMs: 5_000
}
