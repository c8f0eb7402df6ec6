/**
 * Reads of the native engine as views of its own memory, which are given back: native/js_lending.h. The engine says in numbers what
 * it lent; here Buffers are made of them.
 */
import type { NativeRead } from '../binding.js'
import type { LogRead } from './log.js'

/** Enough for 340 parts. */
const NUMBERS_MAX = 1024
const NUMBERS_OF_READ = 4
const NUMBERS_OF_PART = 3

/** What a store lends to this thread. */
export class LentMemory {
  /** By their number. The engine adds them. */
  readonly regions: ArrayBuffer[] = []
  /** What was lent last, until the next call. */
  readonly numbers = new Float64Array(NUMBERS_MAX)

  constructor (private readonly giveBack: (loan: number) => void) {}

  /** Of what the engine answered: how many of `numbers`, or numbers of its own; or Buffers, where it could not lend. */
  readOf (lent: number | Float64Array | NativeRead): BorrowedRead {
    if (typeof lent === 'number') return this.view(this.numbers, lent)
    if (lent instanceof Float64Array) return this.view(lent, lent.length)
    return new BorrowedRead([...lent.parts], lent.bytes, lent.nextOffset, lent.segmentEnded, -1, this.giveBack)
  }

  private view (numbers: Float64Array, count: number): BorrowedRead {
    const parts: Buffer[] = []
    for (let at = NUMBERS_OF_READ; at < count; at += NUMBERS_OF_PART) {
      parts.push(Buffer.from(this.regions[numbers[at]!]!, numbers[at + 1]!, numbers[at + 2]!))
    }
    return new BorrowedRead(parts, numbers[1]!, numbers[2]!, numbers[3] !== 0, numbers[0]!, this.giveBack)
  }
}

export class BorrowedRead implements LogRead {
  private next: BorrowedRead | undefined

  constructor (
    readonly parts: Buffer[], public bytes: number, public nextOffset: number, public segmentEnded: boolean,
    private loan: number, private readonly giveBack: (loan: number) => void
  ) {}

  /** Takes over what follows this. */
  add (read: BorrowedRead): void {
    this.parts.push(...read.parts)
    this.bytes += read.bytes
    this.nextOffset = read.nextOffset
    this.segmentEnded = read.segmentEnded
    read.next = this.next
    this.next = read
  }

  release (): void {
    if (this.loan >= 0) this.giveBack(this.loan)
    this.loan = -1
    this.next?.release()
    this.next = undefined
  }
}
