/**
 * The vocabulary in which every Kafka API is declared: one declaration per API, all versions in it.
 *
 *     export const heartbeat = api({ key: 12, name: 'Heartbeat', versions: '0-4', flexible: '4+',
 *       request: { groupId: string(), generationId: int32(), groupInstanceId: string({ versions: '3+', nullable: '3+', default: null }) },
 *       response: { throttleTimeMs: int32({ versions: '1+' }), errorCode: int16() } })
 *
 * A declaration is plain data. TypeScript types are inferred from it (`RequestOf`, `ResponseOf`, `ResponseInputOf`) and
 * `codec.ts` compiles it into one encoder and one decoder per message and version. Field order is wire order.
 */

/** A range of versions as Kafka's schemas write it: '0+', '3-7', '5'. 'none' matches no version. */
export type VersionRange = string

export interface FieldOptions {
  /** Versions that carry the field. Default: all. */
  readonly versions?: VersionRange
  /** Versions in which the field may be null. Default: none. */
  readonly nullable?: VersionRange
  /** Tag number: the field travels in the tagged section (KIP-482) of the versions in `versions`. */
  readonly tag?: number
  /** Value when the version lacks the field or the sender leaves a tagged field out. Default: 0, '', empty, false. */
  readonly default?: unknown
}

export interface Int64Options extends FieldOptions {
  /**
   * What to do with a value outside ±(2^53 - 1). Default: ProtocolError. `true` clamps it, for timestamps and offsets with
   * which clients legally send extremes (ListOffsets for the timestamp 2^63 - 1).
   */
  readonly clamp?: boolean
}

export type ScalarType =
  | 'bool' | 'int8' | 'int16' | 'uint16' | 'int32' | 'uint32' | 'int64' | 'float64' | 'string' | 'uuid' | 'bytes' | 'records'

declare const decoded: unique symbol
declare const input: unique symbol

/**
 * One field. `Decoded` is what a decoder returns, `Input` what an encoder takes; `Omittable` says whether an encoder's
 * caller may leave the field out (it has a default, is tagged, or is not in every version).
 */
export interface Field<Decoded = unknown, Input = unknown, Omittable extends boolean = boolean> {
  readonly type: ScalarType | 'array' | 'struct'
  readonly versions: VersionRange
  readonly nullable: VersionRange
  readonly tag: number | undefined
  readonly default: unknown
  readonly clamp: boolean
  /** Element of an array. */
  readonly element: Field | undefined
  /** Fields of a struct, in wire order. */
  readonly fields: Fields | undefined
  readonly [decoded]?: Decoded
  readonly [input]?: [Input, Omittable]
}

export type Fields = { readonly [name: string]: Field }

/** The object that a decoder returns: every field, in declared order, whatever the version. */
export type Decoded<F extends Fields> = { -readonly [K in keyof F]: DecodedField<F[K]> }
type DecodedField<F> = F extends Field<infer D, any, any> ? D : never

type OmittableKeys<F extends Fields> = { [K in keyof F]: F[K] extends Field<any, any, true> ? K : never }[keyof F]
type InputField<F> = F extends Field<any, infer I, any> ? I : never

/** The object that an encoder takes: fields with a default or outside some versions may be left out. */
export type Input<F extends Fields> =
  { readonly [K in Exclude<keyof F, OmittableKeys<F>>]: InputField<F[K]> } &
  { readonly [K in OmittableKeys<F>]?: InputField<F[K]> | undefined }

type OrNull<T, O> = O extends { readonly nullable: string } ? T | null : T
type IsOmittable<O> =
  O extends { readonly default: unknown } ? true :
  O extends { readonly versions: string } ? true :
  O extends { readonly tag: number } ? true : false
type FieldOf<D, I, O> = Field<OrNull<D, O>, OrNull<I, O>, IsOmittable<O>>

function field(type: Field['type'], options: Int64Options | undefined, element?: Field, fields?: Fields): any {
  return {
    type,
    versions: options?.versions ?? '0+',
    nullable: options?.nullable ?? 'none',
    tag: options?.tag,
    default: options?.default,
    clamp: options?.clamp ?? false,
    element,
    fields
  }
}

type Scalar<T> = <const O extends FieldOptions = {}>(options?: O) => FieldOf<T, T, O>

export const bool: Scalar<boolean> = (options) => field('bool', options)
export const int8: Scalar<number> = (options) => field('int8', options)
export const int16: Scalar<number> = (options) => field('int16', options)
export const uint16: Scalar<number> = (options) => field('uint16', options)
export const int32: Scalar<number> = (options) => field('int32', options)
export const uint32: Scalar<number> = (options) => field('uint32', options)
/** A signed 64-bit integer as a safe JavaScript number; see `Int64Options.clamp` for values that do not fit. */
export const int64 = <const O extends Int64Options = {}>(options?: O): FieldOf<number, number, O> => field('int64', options)
export const float64: Scalar<number> = (options) => field('float64', options)
export const string: Scalar<string> = (options) => field('string', options)
/** Sixteen bytes as the 22 characters of unpadded base64url, the way Kafka prints them. See `ZERO_UUID`. */
export const uuid: Scalar<string> = (options) => field('uuid', options)
/** Opaque bytes: a view into the received frame, not a copy. */
export const bytes: Scalar<Buffer> = (options) => field('bytes', options)
/**
 * Record batches by reference. A decoder returns at most one view into the frame; an encoder takes any number of parts and
 * sends them without copying.
 */
export const records: Scalar<readonly Buffer[]> = (options) => field('records', options)

export const array = <E extends Field<any, any, any>, const O extends FieldOptions = {}>(element: E, options?: O):
  FieldOf<DecodedField<E>[], readonly InputField<E>[], O> => field('array', options, element)
export const struct = <F extends Fields, const O extends FieldOptions = {}>(fields: F, options?: O):
  FieldOf<Decoded<F>, Input<F>, O> => field('struct', options, undefined, fields)

export const ZERO_UUID = 'AAAAAAAAAAAAAAAAAAAAAA'

/** One Kafka API: its key, its versions, its request and its response. */
export interface Api<Request extends Fields = Fields, Response extends Fields = Fields> {
  readonly key: number
  readonly name: string
  /** Valid versions, inclusive. */
  readonly versions: VersionRange
  /** Versions with compact lengths and tagged fields (KIP-482), or 'none'. */
  readonly flexible: VersionRange
  /** The newest version is still unstable in Kafka and must not be advertised. */
  readonly latestVersionUnstable: boolean
  readonly request: Request
  readonly response: Response
}

export function api<Request extends Fields, Response extends Fields>(
  declaration: Omit<Api<Request, Response>, 'latestVersionUnstable'> & { readonly latestVersionUnstable?: boolean }
): Api<Request, Response> {
  return { latestVersionUnstable: false, ...declaration }
}

export type RequestOf<A extends Api<any, any>> = Decoded<A['request']>
export type RequestInputOf<A extends Api<any, any>> = Input<A['request']>
export type ResponseOf<A extends Api<any, any>> = Decoded<A['response']>
export type ResponseInputOf<A extends Api<any, any>> = Input<A['response']>
