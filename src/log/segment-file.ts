/** A segment's file, open for reading, in whichever form it is stored: reads are at positions of the plain bytes in both. */
import { open } from 'node:fs/promises'
import path from 'node:path'
import { CompressedSegment, type OpenCompressed } from './compressed-segment.js'
import { isMissing } from './folder.js'
import type { SegmentCompression } from './log.js'
import { COMPRESSIONS, storedName } from './segment-names.js'

/** What reading needs; a FileHandle has it. */
export interface PlainBytes {
  read (buffer: Buffer, offset: number, length: number, position: number): Promise<{ readonly bytesRead: number }>
}

export interface SegmentFile extends PlainBytes {
  /** Of the file that was found. */
  readonly path: string
  readonly compression: SegmentCompression
  /** Plain bytes. */
  readonly bytes: number
  /** Of the file. */
  readonly storedBytes: number
  close (): Promise<void>
}

/** The plain file counts where there is one. Rejects with ENOENT, of the plain name, when there is neither. */
export async function openSegment (folder: string, baseOffset: number, options: OpenCompressed = {}): Promise<SegmentFile> {
  let missing: unknown
  // Between a look for the plain file and one for the compressed one the first may have become the second, but never the other way round.
  for (const compression of COMPRESSIONS) {
    const name = path.join(folder, storedName(baseOffset, compression))
    try {
      const file = await open(name, 'r')
      if (compression !== 'none') return await CompressedSegment.open(name, file, compression, baseOffset, options)
      const { size } = await file.stat()
      return {
        path: name, compression, bytes: size, storedBytes: size,
        read: async (buffer, offset, length, position) => await file.read(buffer, offset, length, position),
        close: async () => await file.close()
      }
    } catch (error) {
      if (!isMissing(error)) throw error
      missing ??= error
    }
  }
  throw missing
}
