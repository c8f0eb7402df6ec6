/**
 * The headers around messages: who asks for what, and which request a response answers.
 * Sources: RequestHeader.json, ResponseHeader.json; KIP-482; KIP-511 for the response header of ApiVersions.
 */
import { codecFor, isFlexible } from './codec.js'
import { ProtocolError } from './protocol-error.js'
import { Reader } from './reader.js'
import type { Api, RequestInputOf, ResponseInputOf } from './schema.js'
import { Writer } from './writer.js'

const API_VERSIONS_KEY = 18

/** The first eight bytes of every request: enough to decide who decodes the rest. */
export interface RequestPrefix {
  readonly apiKey: number
  readonly apiVersion: number
  readonly correlationId: number
}

export interface RequestHeader extends RequestPrefix {
  /** As the client names itself; '' when it does not. */
  readonly clientId: string
  /** Where the request's body begins in the frame. */
  readonly bodyPosition: number
}

/** Throws ProtocolError when a frame is shorter than a request's first eight bytes. */
export function decodeRequestPrefix (frame: Buffer): RequestPrefix {
  const reader = new Reader(frame)
  return { apiKey: reader.int16(), apiVersion: reader.int16(), correlationId: reader.int32() }
}

/** Decodes header v1, or v2 (with tagged fields) where the request is flexible. The client id is never compact. */
export function decodeRequestHeader (frame: Buffer, flexible: boolean): RequestHeader {
  const reader = new Reader(frame)
  const apiKey = reader.int16()
  const apiVersion = reader.int16()
  const correlationId = reader.int32()
  const clientId = reader.nullableString() ?? ''
  if (flexible) skipTaggedFields(reader)
  return { apiKey, apiVersion, correlationId, clientId, bodyPosition: reader.position }
}

/** A whole response with its length prefix, as parts to send. */
export function encodeResponseFrame<A extends Api<any, any>> (
  api: A, version: number, correlationId: number, response: ResponseInputOf<A>
): Buffer[] {
  const writer = new Writer()
  writer.reserveLength()
  writer.int32(correlationId)
  if (responseHeaderIsFlexible(api, version)) writer.uvarint(0)
  codecFor(api, 'response', version).encode(writer, response)
  return writer.finishFrame()
}

/** A whole request with its length prefix: what a client sends. */
export function encodeRequestFrame<A extends Api<any, any>> (
  api: A, version: number, correlationId: number, clientId: string | null, request: RequestInputOf<A>
): Buffer[] {
  const writer = new Writer()
  writer.reserveLength()
  writer.int16(api.key)
  writer.int16(version)
  writer.int32(correlationId)
  writer.nullableString(clientId)
  if (isFlexible(api, version)) writer.uvarint(0)
  codecFor(api, 'request', version).encode(writer, request)
  return writer.finishFrame()
}

/** Where a response's body begins in its frame, and which request it answers. */
export function decodeResponseHeader (api: Api<any, any>, version: number, frame: Buffer): { correlationId: number, bodyPosition: number } {
  const reader = new Reader(frame)
  const correlationId = reader.int32()
  if (responseHeaderIsFlexible(api, version)) skipTaggedFields(reader)
  return { correlationId, bodyPosition: reader.position }
}

/** ApiVersions answers with header v0 in every version, so that a client of any age can read it (KIP-511). */
function responseHeaderIsFlexible (api: Api<any, any>, version: number): boolean {
  return api.key !== API_VERSIONS_KEY && isFlexible(api, version)
}

function skipTaggedFields (reader: Reader): void {
  for (let left = reader.uvarint(); left > 0; left--) {
    reader.uvarint()
    const bytes = reader.uvarint()
    if (bytes > reader.end - reader.position) throw new ProtocolError(`a tagged header field of ${bytes} bytes does not fit`)
    reader.advance(bytes)
  }
}
