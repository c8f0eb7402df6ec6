/** Rewrites a batch in the codec that its topic asks for (compression.type other than `producer`). */
import * as header from '../../protocol/batch-header.js'
import { compress, decompress } from '../../protocol/compression.js'
import { crc32c } from '../../crc32c.js'
import { CODEC_NAMES } from '../../protocol/records.js'

/** The codec number that a topic's `compression.type` asks for; undefined for 'producer', which leaves batches as they are. */
export function targetCodec (compressionType: string): number | undefined {
  if (compressionType === 'producer') return undefined
  return CODEC_NAMES.indexOf(compressionType === 'uncompressed' ? 'none' : compressionType as (typeof CODEC_NAMES)[number])
}

/** The batch with its records in another codec. Throws ProtocolError for records that cannot be opened, or open to too much. */
export function recompress (batch: Buffer, codec: number, bytesMax: number): Buffer {
  const records = decompress(CODEC_NAMES[header.codec(batch)]!, batch.subarray(header.BATCH_HEADER_BYTES), bytesMax)
  const rewritten = Buffer.concat([batch.subarray(0, header.BATCH_HEADER_BYTES), compress(CODEC_NAMES[codec]!, records)])
  header.writeCodec(rewritten, codec, crc32c)
  return rewritten
}
