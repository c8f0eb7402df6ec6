/** When a topic begins a new segment although the last one has bytes left: by count of records, and by age. Rolls the log. */
import type { Log as StoreLog } from '../log/log.js'

export interface SegmentLimitOptions {
  /** Records in a segment. An atomic batch is not divided: it may make a segment longer. Default: no limit. */
  readonly segmentEntriesMax?: number
  /** A segment takes nothing any more when its first record, since it was opened, is older. Default: no limit. */
  readonly segmentAgeMsMax?: number
}

export class SegmentLimits {
  private readonly entriesMax: number
  private readonly ageMsMax: number
  /** Where the last segment begins, as far as it is known; it may have begun later. */
  private baseOffset: number
  private beganMs: number | undefined

  constructor (private readonly log: StoreLog, options: SegmentLimitOptions) {
    this.entriesMax = options.segmentEntriesMax ?? Infinity
    this.ageMsMax = options.segmentAgeMsMax ?? Infinity
    this.baseOffset = this.entriesMax === Infinity ? 0 : this.lastBase()
  }

  /** How many records an entry at `offset` may have. */
  countLeft (offset: number): number {
    if (this.entriesMax === Infinity) return Infinity
    const left = this.entriesMax - (offset - this.baseOffset)
    return left > 0 ? left : this.entriesMax
  }

  beforeAppend (count: number, nowMs: number): void {
    if (this.entriesMax === Infinity && this.ageMsMax === Infinity) return
    this.beganMs ??= nowMs
    const { endOffset } = this.log
    if (endOffset > this.baseOffset && endOffset + count - this.baseOffset > this.entriesMax) this.baseOffset = Math.max(this.baseOffset, this.lastBase())
    const full = endOffset > this.baseOffset && endOffset + count - this.baseOffset > this.entriesMax
    if (!full && nowMs - this.beganMs < this.ageMsMax) return
    this.baseOffset = endOffset
    this.beganMs = nowMs
    // A failure shows at the next append.
    this.log.roll().catch(() => {})
  }

  private lastBase (): number {
    const last = this.log.segments().at(-1)
    return last === undefined || last.sealed ? this.log.endOffset : last.baseOffset
  }
}
