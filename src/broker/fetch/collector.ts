/**
 * Collects the records of one fetch. `readMore` reads every partition on from where it stopped, so that a long poll that is woken
 * many times reads each byte once; the plan (plan.ts) says what may be read and in which waves.
 */
import type { LogRead } from '../../log/log.js'
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'
import type { Partition } from '../partitions/partition.js'
import type { FetchMemoryShare } from './fetch-memory.js'
import { judge, startingAt, waveCount, type ResponseSize } from './plan.js'
import type { FetchedPartition, FetchPartition } from './sessions.js'

/** What the response will say of one partition. */
export interface FetchOutcome extends FetchedPartition {
  readonly target: FetchPartition
  errorCode: ErrorCode
  highWatermark: number
  lastStableOffset: number
  logStartOffset: number
  diverged: boolean
  /** Where the client's log parts from this one; meant when `diverged`. */
  divergingEpoch: number
  divergingEndOffset: number
  records: readonly Buffer[]
  recordBytes: number
}

export interface FetchLimits extends ResponseSize {
  readonly bytesMin: number
  readonly bytesMax: number
  /** Where `bytesEnough` may leave partitions out, all have a chance to be read first. */
  readonly startsAnywhere: boolean
  readonly isolationLevel: number
}

interface Progress extends FetchOutcome {
  partition: Partition | undefined
  nextOffset: number
  endOffset: number
}

const NO_RECORDS: readonly Buffer[] = []

export class FetchCollector {
  readonly #progress: readonly Progress[]
  readonly #find: (target: FetchPartition) => Partition | ErrorCode
  readonly #limits: FetchLimits
  readonly #memory: FetchMemoryShare
  #bytes = 0
  /** Something was there that the limits keep out: waiting for more is pointless. */
  #full = false
  #errorCount = 0
  #unknownCountFirst = -1

  constructor (targets: readonly FetchPartition[], find: (target: FetchPartition) => Partition | ErrorCode, limits: FetchLimits, memory: FetchMemoryShare) {
    this.#progress = targets.map(newProgress)
    this.#find = find
    this.#limits = limits
    this.#memory = memory
  }

  get outcomes (): readonly FetchOutcome[] { return this.#progress }

  /** The partitions whose moves matter, as of the last `readMore`. */
  get partitions (): readonly Partition[] {
    const found: Partition[] = []
    for (const { partition } of this.#progress) if (partition !== undefined) found.push(partition)
    return found
  }

  /**
   * Whether to answer now. An error is an answer, except that partitions that were unknown from the start do not cut the wait
   * for others short: their client would spin until its metadata are new.
   */
  get isEnough (): boolean {
    if (this.#bytes >= this.#limits.bytesMin || this.#full) return true
    const unknownFirst = this.#unknownCountFirst
    return this.#errorCount > (unknownFirst < this.#progress.length ? unknownFirst : 0)
  }

  /** Reads on. A promise only if something has to be waited for. */
  readMore (): Promise<void> | undefined {
    return this.#memory.mustWait ? this.#readWithRoom() : this.#readAll()
  }

  async #readWithRoom (): Promise<void> {
    await this.#memory.room()
    await this.#readAll()
  }

  #readAll (): Promise<void> | undefined {
    const readable = this.#inTurn(this.#judgeAll())
    const partitionBytesMax = Math.min(this.#limits.bytesMax, this.#limits.partitionBytesMax)
    const maxBytes = readable.map(({ target, recordBytes }) => Math.max(0, Math.min(target.partitionMaxBytes, partitionBytesMax) - recordBytes))
    return this.#readWaves(readable, maxBytes, 0, this.#bytes === 0)
  }

  #readWaves (readable: readonly Progress[], maxBytes: readonly number[], begin: number, nothingYet: boolean): Promise<void> | undefined {
    for (let from = begin; from < readable.length;) {
      const bytesLeft = Math.max(0, Math.min(this.#limits.bytesMax - this.#bytes, this.#memory.bytesLeft))
      const bytesWanted = Math.min(bytesLeft, this.#limits.bytesEnough - this.#bytes)
      if (bytesWanted <= 0 && (from > 0 || !nothingYet)) {
        this.#full = true
        return undefined
      }
      const to = from + waveCount(maxBytes, from, bytesLeft, bytesWanted)
      const late: Promise<void>[] = []
      for (let i = from; i < to; i++) {
        const reading = this.#readOne(readable[i]!, Math.min(maxBytes[i]!, bytesLeft), nothingYet && i === 0)
        if (reading !== undefined) late.push(reading)
      }
      if (late.length > 0) return Promise.all(late).then(() => this.#readWaves(readable, maxBytes, to, nothingYet))
      from = to
    }
    return undefined
  }

  #inTurn (readable: readonly Progress[]): readonly Progress[] {
    const { startsAnywhere, bytesMax, bytesEnough } = this.#limits
    if (!startsAnywhere || bytesMax <= bytesEnough) return readable
    const bytesExpected = readable.reduce((sum, { target, partition }) => sum + Math.min(target.partitionMaxBytes, partition!.bytes), 0)
    return bytesExpected > bytesEnough ? startingAt(readable, Math.floor(Math.random() * readable.length)) : readable
  }

  /** Brings every partition's offsets and errors up to date; returns those with something to read. */
  #judgeAll (): Progress[] {
    const readable: Progress[] = []
    this.#errorCount = 0
    let unknownCount = 0
    for (const progress of this.#progress) {
      const found = this.#find(progress.target)
      if (typeof found === 'number') {
        unknownCount++
        this.#refuse(progress, found)
        continue
      }
      progress.partition = found
      const { currentLeaderEpoch, lastFetchedEpoch, partitionMaxBytes } = progress.target
      const judgement = judge({ fetchOffset: progress.nextOffset, currentLeaderEpoch, lastFetchedEpoch, partitionMaxBytes }, found, this.#limits.isolationLevel)
      if (judgement.kind === 'refused') {
        this.#refuse(progress, judgement.errorCode)
        continue
      }
      progress.errorCode = ErrorCode.NONE
      progress.highWatermark = found.highWatermark
      progress.lastStableOffset = found.lastStableOffset
      progress.logStartOffset = found.logStartOffset
      if (judgement.kind === 'readable') {
        progress.endOffset = judgement.endOffset
        readable.push(progress)
      } else if (judgement.kind === 'diverged') {
        progress.diverged = true
        progress.divergingEpoch = judgement.epoch
        progress.divergingEndOffset = judgement.endOffset
        this.#full = true
      }
    }
    if (this.#unknownCountFirst < 0) this.#unknownCountFirst = unknownCount
    return readable
  }

  #readOne (progress: Progress, bytesMax: number, atLeastOneEntry: boolean): Promise<void> | undefined {
    const partition = progress.partition!
    const bytesExpected = Math.min(bytesMax, partition.bytes)
    this.#memory.take(bytesExpected)
    const read = partition.borrow(progress.nextOffset, { bytesMax, atLeastOneEntry, endOffset: progress.endOffset })
    if (read instanceof Promise) return read.then((late) => { this.#arrived(progress, bytesExpected, late) })
    this.#arrived(progress, bytesExpected, read)
    return undefined
  }

  #arrived (progress: Progress, bytesExpected: number, read: LogRead | Refusal): void {
    this.#memory.take('errorCode' in read ? -bytesExpected : read.bytes - bytesExpected)
    if ('errorCode' in read) {
      this.#refuse(progress, read.errorCode)
      return
    }
    if (read.release !== undefined) this.#memory.releaseLater(read)
    if (read.bytes === 0) {
      this.#full = true
      return
    }
    progress.records = progress.recordBytes === 0 ? read.parts : [...progress.records, ...read.parts]
    progress.recordBytes += read.bytes
    progress.nextOffset = read.nextOffset
    this.#bytes += read.bytes
  }

  #refuse (progress: Progress, errorCode: ErrorCode): void {
    this.#errorCount++
    this.#bytes -= progress.recordBytes
    progress.errorCode = errorCode
    progress.highWatermark = -1
    progress.lastStableOffset = -1
    progress.logStartOffset = -1
    progress.records = NO_RECORDS
    progress.recordBytes = 0
    progress.nextOffset = progress.target.fetchOffset
  }
}

function newProgress (target: FetchPartition): Progress {
  return {
    target,
    partition: undefined,
    nextOffset: target.fetchOffset,
    endOffset: -1,
    errorCode: ErrorCode.NONE,
    highWatermark: -1,
    lastStableOffset: -1,
    logStartOffset: -1,
    diverged: false,
    divergingEpoch: -1,
    divergingEndOffset: -1,
    records: NO_RECORDS,
    recordBytes: 0
  }
}
