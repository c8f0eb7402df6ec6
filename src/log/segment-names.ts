/** Names of the files in a log's folder, and which of them stand for which segment (docs/storage.md, "The folder"). */
import { LogError, type SegmentCompression } from './log.js'

const padded = (offset: number): string => String(offset).padStart(20, '0')
export const segmentName = (baseOffset: number): string => `${padded(baseOffset)}.log`
export const indexName = (baseOffset: number): string => `${padded(baseOffset)}.index`
/** Beside a segment that grows in the file of a removed one: what stands behind its entries may be what that one held. */
export const reusedName = (baseOffset: number): string => `${padded(baseOffset)}.reused`

const SUFFIXES = { none: '', zstd: '.zst', lz4: '.lz4' } as const
export const COMPRESSIONS = Object.keys(SUFFIXES) as readonly SegmentCompression[]
export const storedName = (baseOffset: number, compression: SegmentCompression): string => segmentName(baseOffset) + SUFFIXES[compression]

export interface SegmentNames {
  readonly baseOffsets: readonly number[]
  /** In which form each one counts: the plain one where there is one. */
  readonly compressions: ReadonlyMap<number, SegmentCompression>
  /** Compressed files beside a file that counts. */
  readonly besides: readonly string[]
  /** Notes of this kind (`reusedName`). */
  readonly reused: readonly string[]
  /** Replacements that were not finished. */
  readonly unfinished: readonly string[]
}

export function segmentsAmong (names: readonly string[]): SegmentNames {
  const compressions = new Map<number, SegmentCompression>()
  const besides: string[] = []
  for (const compression of COMPRESSIONS) {
    for (const name of names) {
      const baseOffset = Number(/^(\d{20})\.log/.exec(name)?.[1] ?? NaN)
      if (Number.isNaN(baseOffset) || name !== storedName(baseOffset, compression)) continue
      if (compressions.has(baseOffset)) besides.push(name)
      else compressions.set(baseOffset, compression)
    }
  }
  return {
    baseOffsets: [...compressions.keys()].sort((a, b) => a - b),
    compressions,
    besides,
    reused: names.filter((name) => /^\d{20}\.reused$/.test(name)),
    unfinished: names.filter((name) => name.endsWith('~'))
  }
}

export function corrupt (file: string, position: number, what: string): LogError {
  return new LogError('corrupt', `${file} is damaged at position ${position}: ${what}`)
}
