/**
 * Compression of one record's value, in blocks without frames: the record says which codec and how many bytes come out. Opening
 * never makes more than those. A codec that is not on this machine is a `CodecUnavailableError`, which says what to install.
 */
import zlib from 'node:zlib'
import { loadCodec } from '../codec-packages.js'

export type Compression = 'none' | 'lz4' | 'zstd'

interface Codec {
  readonly compress: (bytes: Uint8Array) => Uint8Array | undefined
  /** Fills `output`, which has the size that the bytes had; returns how many bytes came out. */
  readonly open: (bytes: Uint8Array, output: Buffer) => number
}

interface Lz4Blocks {
  readonly compressBound: (bytes: number) => number
  /** The count of bytes written into `output`; 0 when `bytes` cannot be made smaller. */
  readonly compress: (bytes: Uint8Array, output: Buffer) => number
  /** Negative for bytes that are no block, or one that does not fit into `output`. */
  readonly uncompress: (bytes: Uint8Array, output: Buffer) => number
}

/** Where the package stands without its compiled part, it has the same functions in JavaScript. */
const lz4Blocks = (): Lz4Blocks => loadCodec<Lz4Blocks>('lz4', 'lz4/build/Release/lz4.node', 'lz4/lib/binding.js')

const lz4: Codec = {
  compress (bytes) {
    const blocks = lz4Blocks()
    const output = Buffer.allocUnsafe(blocks.compressBound(bytes.length))
    return output.subarray(0, blocks.compress(bytes, output))
  },
  open: (bytes, output) => lz4Blocks().uncompress(bytes, output)
}

/** What newer versions of node:zlib have and the types for Node 20 do not. */
interface ZstdOfNode {
  readonly zstdDecompressSync?: (bytes: Uint8Array, options: { maxOutputLength: number }) => Buffer
  readonly zstdCompressSync?: (bytes: Uint8Array) => Buffer
}

interface ZstdBinding {
  readonly DCtx: new () => { decompress: (output: Buffer, bytes: Uint8Array) => number }
}

const nodeZstd = zlib as ZstdOfNode

const zstd: Codec = {
  compress: (bytes) => (nodeZstd.zstdCompressSync ?? loadCodec<{ readonly compress: (bytes: Uint8Array) => Buffer }>('zstd-napi', 'zstd-napi').compress)(bytes),
  open (bytes, output) {
    const open = nodeZstd.zstdDecompressSync
    if (open !== undefined) return open(bytes, { maxOutputLength: Math.max(1, output.length) }).copy(output)
    return new (loadCodec<ZstdBinding>('zstd-napi', 'zstd-napi/binding').DCtx)().decompress(output, bytes)
  }
}

/** Position is the number that stands in a record. */
const CODECS: readonly (Codec | undefined)[] = [undefined, lz4, zstd]
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
