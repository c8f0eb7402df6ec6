/** Malformed bytes. Thrown by decoders; the connection that sent them is closed and nothing else is touched. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
}
