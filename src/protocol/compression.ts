/**
 * The codecs of record batches. Every one has an output limit, and bytes that are no valid stream, or too much of one, are a
 * ProtocolError; a codec that is not on this machine is a CodecUnavailableError. See docs/decisions/codecs.md.
 */
import zlib from 'node:zlib'
import { loadCodec } from '../codec-packages.js'
import { readLz4, writeLz4, type Lz4Encoder } from './lz4-frame.js'
import { ProtocolError } from './protocol-error.js'
import type { CodecName } from './records.js'
import { readSnappy, writeSnappy, type SnappyBlocks } from './xerial.js'

export { CodecUnavailableError } from '../codec-packages.js'

interface Codec {
  readonly decompress: (bytes: Buffer, bytesMax: number) => Buffer
  readonly compress: (bytes: Buffer) => Buffer
}

/** Opens compressed bytes; ProtocolError when more than `bytesMax` would come out. */
export function decompress (codec: CodecName, bytes: Buffer, bytesMax: number): Buffer {
  return CODECS[codec].decompress(bytes, bytesMax)
}

export function compress (codec: CodecName, bytes: Buffer): Buffer {
  return CODECS[codec].compress(bytes)
}

/** node:zlib takes no limit of 0, and what it allocates first depends on the limit. */
const zlibLimit = (bytesMax: number): { maxOutputLength: number } => ({ maxOutputLength: Math.max(1, Math.min(bytesMax, 2 ** 31 - 1)) })

function refused (codec: CodecName, bytesMax: number, error: unknown): ProtocolError {
  const { code, message } = error as NodeJS.ErrnoException
  return new ProtocolError(code === 'ERR_BUFFER_TOO_LARGE' ? `more than ${bytesMax} bytes come out of ${codec}` : `the ${codec} bytes are damaged: ${message}`)
}

const none: Codec = {
  decompress (bytes, bytesMax) {
    if (bytes.length > bytesMax) throw new ProtocolError(`${bytes.length} bytes where ${bytesMax} are allowed`)
    return bytes
  },
  compress: (bytes) => bytes
}

const gzip: Codec = {
  decompress (bytes, bytesMax) {
    try {
      return zlib.gunzipSync(bytes, zlibLimit(bytesMax))
    } catch (error) {
      throw refused('gzip', bytesMax, error)
    }
  },
  compress: (bytes) => zlib.gzipSync(bytes)
}

const snappy: Codec = {
  decompress: (bytes, bytesMax) => readSnappy(bytes, bytesMax, loadCodec<SnappyBlocks>('snappy', 'snappy')),
  compress: (bytes) => writeSnappy(bytes, loadCodec<SnappyBlocks>('snappy', 'snappy'))
}

/** One block at a time: the package's own frames are not for client data, its `decode` ends the whole process on a truncated one. */
const lz4: Codec = {
  decompress: readLz4,
  // Where the package stands without its compiled part (npm 12 runs no install scripts), it has the same function in JavaScript.
  compress: (bytes) => writeLz4(bytes, loadCodec<Lz4Encoder>('lz4', 'lz4/build/Release/lz4.node', 'lz4/lib/binding.js'))
}

/** What newer versions of node:zlib have and the types for Node 20 do not. */
interface ZstdOfNode {
  readonly zstdDecompressSync?: (bytes: Buffer, options: { maxOutputLength: number }) => Buffer
  readonly zstdCompressSync?: (bytes: Buffer) => Buffer
}

interface ZstdPackage {
  readonly compress: (bytes: Buffer) => Buffer
}

/** [a bound of what is left to flush or 0 at the end of a frame, bytes produced, bytes consumed] */
type ZstdStep = readonly [number, number, number]
interface ZstdBinding {
  readonly DCtx: new () => { decompressStream (output: Buffer, input: Buffer): ZstdStep }
}

const ZSTD_STEP_BYTES = 256 * 1024
const nodeZstd = zlib as ZstdOfNode

const zstd: Codec = {
  decompress (bytes, bytesMax) {
    const open = nodeZstd.zstdDecompressSync
    const binding = open === undefined ? loadCodec<ZstdBinding>('zstd-napi', 'zstd-napi/binding') : undefined
    try {
      return open === undefined ? zstdSteps(new binding!.DCtx(), bytes, bytesMax) : open(bytes, zlibLimit(bytesMax))
    } catch (error) {
      throw error instanceof ProtocolError ? error : refused('zstd', bytesMax, error)
    }
  },
  compress: (bytes) => (nodeZstd.zstdCompressSync ?? loadCodec<ZstdPackage>('zstd-napi', 'zstd-napi').compress)(bytes)
}

/** Step by step, because many clients write frames without their content size, and a size that is there is only a claim. */
function zstdSteps (context: InstanceType<ZstdBinding['DCtx']>, bytes: Buffer, bytesMax: number): Buffer {
  const parts: Buffer[] = []
  let rest = bytes
  let total = 0
  for (;;) {
    const output = Buffer.allocUnsafeSlow(Math.min(ZSTD_STEP_BYTES, bytesMax - total + 1))
    const [left, produced, consumed] = context.decompressStream(output, rest)
    total += produced
    if (total > bytesMax) throw new ProtocolError(`more than ${bytesMax} bytes come out of zstd`)
    if (produced > 0) parts.push(output.subarray(0, produced))
    rest = rest.subarray(consumed)
    if (left === 0 && rest.length === 0) return Buffer.concat(parts)
    if (produced === 0 && consumed === 0) throw new ProtocolError('the zstd bytes are cut short')
  }
}

const CODECS: Readonly<Record<CodecName, Codec>> = { none, gzip, snappy, lz4, zstd }
