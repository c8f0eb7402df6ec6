/**
 * Compression of one record's value, in blocks without frames: the record says which codec and how many bytes come out. Opening
 * never makes more than those. A codec that is not on this machine is a `CodecUnavailableError`, which says what to install.
 */
import { lz4, zstd, type BlockCodec } from '../block-codecs.js'

export type Compression = 'none' | 'lz4' | 'zstd'

/** Position is the number that stands in a record. */
const CODECS: readonly (BlockCodec | undefined)[] = [undefined, lz4, zstd]
const NUMBERS: Readonly<Record<Compression, number>> = { none: 0, lz4: 1, zstd: 2 }

export interface CompressedValue {
  readonly codec: number
  readonly bytes: Uint8Array
}

/** The value as it will stand in the log: as it is when it does not get smaller. */
export function compressValue (compression: Compression, value: Uint8Array): CompressedValue {
  const codec = NUMBERS[compression]
  const bytes = CODECS[codec]?.compress(value)
  return bytes === undefined || bytes.length === 0 || bytes.length >= value.length ? { codec: 0, bytes: value } : { codec, bytes }
}

export const isCompression = (name: unknown): name is Compression => typeof name === 'string' && Object.hasOwn(NUMBERS, name)

/** Throws an Error that says what is wrong with the bytes, or which codec is missing. */
export function openValue (codec: number, bytes: Uint8Array, valueBytes: number): Buffer {
  const known = CODECS[codec]
  if (known === undefined) throw new Error(`its codec ${codec} is unknown to this version`)
  const output = Buffer.allocUnsafeSlow(valueBytes)
  const made = known.open(bytes, output)
  if (made !== valueBytes) throw new Error(`its compressed bytes are damaged: ${valueBytes} bytes expected, ${made} came out`)
  return output
}
