/** When a topic begins a new segment although the last one has bytes left, and is young: by count of records. Rolls the log. */
import type { Log as StoreLog } from '../log/log.js'

export interface SegmentLimitOptions {
  /** Records in a segment. An atomic batch is not divided: it may make a segment longer. Default: no limit. */
  readonly segmentEntriesMax?: number
}

export class SegmentLimits {
  private readonly entriesMax: number
  /** Where the last segment begins, as far as it is known; it may have begun later. */
  private baseOffset: number

  constructor (private readonly log: StoreLog, options: SegmentLimitOptions) {
    this.entriesMax = options.segmentEntriesMax ?? Infinity
    this.baseOffset = this.entriesMax === Infinity ? 0 : this.lastBase()
  }

  /** How many records an entry at `offset` may have. */
  countLeft (offset: number): number {
    if (this.entriesMax === Infinity) return Infinity
    const left = this.entriesMax - (offset - this.baseOffset)
    return left > 0 ? left : this.entriesMax
  }

  beforeAppend (count: number): void {
    if (this.entriesMax === Infinity) return
    if (!this.isFullFor(count)) return
    this.baseOffset = Math.max(this.baseOffset, this.lastBase())
    if (!this.isFullFor(count)) return
    this.baseOffset = this.log.endOffset
    // A failure shows at the next append.
    this.log.roll().catch(() => {})
  }

  private isFullFor (count: number): boolean {
    const { endOffset } = this.log
    return endOffset > this.baseOffset && endOffset + count - this.baseOffset > this.entriesMax
  }

  private lastBase (): number {
    const last = this.log.segments().at(-1)
    return last === undefined || last.sealed ? this.log.endOffset : last.baseOffset
  }
}
