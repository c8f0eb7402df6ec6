/**
 * From a frame to the parts of its response: finds the handler, decodes, calls, encodes.
 *
 * Errors come in four kinds. Malformed bytes and requests that were never advertised throw `ProtocolError`: the connection closes.
 * Expected refusals are values inside responses. Anything else that a handler throws is our bug: it is logged with its stack and
 * answered with UNKNOWN_SERVER_ERROR where the response has one error code for the whole, else the connection closes.
 */
import { isFlexible, requestDecoder } from '../protocol/codec.js'
import { ErrorCode } from '../protocol/error-codes.js'
import { ProtocolError } from '../protocol/protocol-error.js'
import { decodeRequestHeader, decodeRequestPrefix, encodeResponseFrame, type RequestHeader, type RequestPrefix } from '../protocol/request-header.js'
import { apiVersions } from '../protocol/schemas/18-api-versions.js'
import { includesVersion, parseVersions } from '../protocol/versions.js'
import { CLOSE_CONNECTION, NO_RESPONSE, type Handler, type HandlerResult, type RequestContext } from './handler.js'
import type { LimitedLog } from './limited-log.js'
import type { Services, SupportedApi } from './services.js'

/** What a connection does with a request: send these parts, send nothing, or close. */
export type DispatchResult = Buffer[] | typeof NO_RESPONSE | typeof CLOSE_CONNECTION

/** What a connection knows of itself; the rest of a `RequestContext` comes from the request. */
export interface ConnectionContext {
  readonly listenerName: string
  readonly clientHost: string
  readonly connectionId: number
  readonly closed: AbortSignal
}

/** A class, because an object literal with a getter is made at run time, property by property, at ten times the memory. */
class Context implements RequestContext {
  readonly apiVersion: number
  readonly correlationId: number
  readonly clientId: string

  constructor (header: RequestHeader, private readonly connection: ConnectionContext, readonly onSent: RequestContext['onSent']) {
    this.apiVersion = header.apiVersion
    this.correlationId = header.correlationId
    this.clientId = header.clientId
  }

  get listenerName (): string { return this.connection.listenerName }
  get clientHost (): string { return this.connection.clientHost }
  get connectionId (): number { return this.connection.connectionId }
  get closed (): AbortSignal { return this.connection.closed }
}

interface Entry {
  readonly handler: Handler
  readonly first: number
  readonly last: number
  requestCount: number
}

export class Dispatcher {
  private readonly handlers = new Map<number, Entry>()

  constructor (handlers: readonly Handler[], private readonly services: Services, private readonly log: LimitedLog) {
    for (const handler of handlers) {
      const { minVersion, maxVersion } = supportedVersions(handler)
      this.handlers.set(handler.api.key, { handler, first: minVersion, last: maxVersion, requestCount: 0 })
    }
  }

  /** Requests since the start, by API. */
  get requestCounts (): readonly { readonly api: string, readonly count: number }[] {
    return [...this.handlers.values()].map(({ handler, requestCount }) => ({ api: handler.api.name, count: requestCount }))
  }

  /** The handler runs up to its first await before this returns; then `frame` may be used again. Throws ProtocolError. */
  dispatch (frame: Buffer, connection: ConnectionContext, onSent: RequestContext['onSent']): DispatchResult | Promise<DispatchResult> {
    const prefix = decodeRequestPrefix(frame)
    const entry = this.handlers.get(prefix.apiKey)
    if (entry === undefined || prefix.apiVersion < entry.first || prefix.apiVersion > entry.last) return unsupported(prefix)
    entry.requestCount++
    const { api } = entry.handler
    const header = decodeRequestHeader(frame, isFlexible(api, prefix.apiVersion))
    const own = entry.handler.copiesRequest === true ? frame : Buffer.from(frame)
    const request = requestDecoder(api, prefix.apiVersion)(own, header.bodyPosition)
    return this.call(entry.handler, request, new Context(header, connection, onSent))
  }

  private call (handler: Handler, request: unknown, context: RequestContext): DispatchResult | Promise<DispatchResult> {
    const encode = (result: HandlerResult<any>): DispatchResult =>
      result === NO_RESPONSE || result === CLOSE_CONNECTION
        ? result
        : encodeResponseFrame(handler.api, context.apiVersion, context.correlationId, result)
    try {
      const result = handler.handle(this.services, request as any, context)
      if (!(result instanceof Promise)) return encode(result)
      return result.then(encode).catch((error: unknown) => this.failed(error, handler, context))
    } catch (error) {
      return this.failed(error, handler, context)
    }
  }

  private failed (error: unknown, { api }: Handler, context: RequestContext): DispatchResult {
    this.log.error('bug in the broker', { err: error, api: api.name, version: context.apiVersion, client: context.clientHost },
      `${api.name} failed unexpectedly: this is a bug in the broker`)
    const { errorCode } = api.response
    // A version without this field would be told of an empty success.
    if (errorCode === undefined || !includesVersion(errorCode.versions, context.apiVersion)) return CLOSE_CONNECTION
    return encodeResponseFrame(api, context.apiVersion, context.correlationId, { errorCode: ErrorCode.UNKNOWN_SERVER_ERROR } as any)
  }
}

/** The versions that are advertised: those of the declaration that the handler serves, without an unstable newest one. */
export function supportedVersions ({ api, versions }: Handler): SupportedApi {
  const declared = parseVersions(api.versions)
  const served = parseVersions(versions ?? api.versions)
  const stableLast = api.latestVersionUnstable ? declared.last - 1 : declared.last
  return { apiKey: api.key, minVersion: Math.max(declared.first, served.first), maxVersion: Math.min(stableLast, served.last) }
}

/** A client that probes with too new an ApiVersions is told, in the oldest format, which versions would do (KIP-511). */
function unsupported ({ apiKey, apiVersion, correlationId }: RequestPrefix): Buffer[] {
  if (apiKey !== apiVersions.key) throw new ProtocolError(`API key ${apiKey} version ${apiVersion} is not served; ApiVersions tells what is`)
  const { first, last } = parseVersions(apiVersions.versions)
  return encodeResponseFrame(apiVersions, 0, correlationId, {
    errorCode: ErrorCode.UNSUPPORTED_VERSION,
    apiKeys: [{ apiKey, minVersion: first, maxVersion: last }]
  })
}
