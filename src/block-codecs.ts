/**
 * lz4 and zstd over runs of bytes whose size is known: blocks of lz4 without a frame, frames of zstd. Opening never makes more than the
 * output that it is given. A codec that is not on this machine is a `CodecUnavailableError`, which says what to install.
 */
import zlib from 'node:zlib'
import { loadCodec } from './codec-packages.js'

export interface BlockCodec {
  /** Empty where the bytes cannot be made smaller. */
  readonly compress: (bytes: Uint8Array) => Uint8Array
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

export const lz4: BlockCodec = {
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

export const zstd: BlockCodec = {
  compress: (bytes) => (nodeZstd.zstdCompressSync ?? loadCodec<{ readonly compress: (bytes: Uint8Array) => Buffer }>('zstd-napi', 'zstd-napi').compress)(bytes),
  open (bytes, output) {
    const open = nodeZstd.zstdDecompressSync
    if (open !== undefined) return open(bytes, { maxOutputLength: Math.max(1, output.length) }).copy(output)
    return new (loadCodec<ZstdBinding>('zstd-napi', 'zstd-napi/binding').DCtx)().decompress(output, bytes)
  }
}
