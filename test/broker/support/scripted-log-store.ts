/**
 * A `LogStore` whose commits a test controls: hold them back, let them go, make them fail. What was appended survives a
 * close and a new open, as on a disk.
 */
import { LogError, type Log, type LogOptions, type LogRead, type LogStore, type PendingAppend, type ReadOptions } from '../../../src/log/log.js'

interface Entry { readonly baseOffset: number, readonly nextOffset: number, readonly bytes: Buffer }

export class ScriptedLogStore implements LogStore {
  readonly backend = { name: 'memory', direct: false, reason: 'a test' } as const
  readonly flushPolicy = { kind: 'each' } as const
  readonly logs = new Map<string, ScriptedLog>()
  /** Appends are accepted but not committed until `release`. */
  hold = false

  bytesFree (): number { return Infinity }
  async names (): Promise<readonly string[]> { return [...this.logs.keys()] }

  async open (name: string, _options: LogOptions): Promise<ScriptedLog> {
    const log = new ScriptedLog(name, this, this.logs.get(name)?.entries ?? [])
    this.logs.set(name, log)
    return log
  }

  async remove (name: string): Promise<void> { this.logs.delete(name) }
  async rename (): Promise<void> { throw new Error('not in this store') }
  async close (): Promise<void> {}
}

export class ScriptedLog implements Log {
  startOffset = 0
  endOffset: number
  committedEndOffset: number
  /** Bytes that reads returned, to see what was read again. */
  bytesRead = 0
  failNextAppend: LogError | undefined
  failReads: LogError | undefined
  #pending: { readonly endOffset: number, readonly resolve: () => void, readonly reject: (error: LogError) => void }[] = []

  constructor (readonly name: string, readonly store: ScriptedLogStore, readonly entries: Entry[]) {
    this.endOffset = entries.at(-1)?.nextOffset ?? 0
    this.committedEndOffset = this.endOffset
  }

  get bytes (): number { return this.entries.reduce((sum, { bytes }) => sum + bytes.length, 0) }

  append (entry: Uint8Array): PendingAppend {
    if (this.failNextAppend !== undefined) {
      const error = this.failNextAppend
      this.failNextAppend = undefined
      throw error
    }
    const baseOffset = this.endOffset
    const bytes = Buffer.from(entry)
    bytes.writeBigInt64BE(BigInt(baseOffset), 0)
    this.endOffset += bytes.readInt32BE(23) + 1
    this.entries.push({ baseOffset, nextOffset: this.endOffset, bytes })
    const endOffset = this.endOffset
    const committed = new Promise<void>((resolve, reject) => { this.#pending.push({ endOffset, resolve, reject }) })
    committed.catch(() => {})
    if (!this.store.hold) this.release()
    return { baseOffset, committed }
  }

  /** Commits what was held back. */
  release (): void {
    for (const { endOffset, resolve } of this.#pending.splice(0)) {
      this.committedEndOffset = endOffset
      resolve()
    }
  }

  /** Loses what was held back. */
  fail (error: LogError): void {
    for (const { reject } of this.#pending.splice(0)) reject(error)
  }

  async read (offset: number, { bytesMax, atLeastOneEntry = false, endOffset = this.committedEndOffset }: ReadOptions): Promise<LogRead> {
    if (this.failReads !== undefined) throw this.failReads
    if (offset < this.startOffset || offset > this.endOffset) throw new LogError('out-of-range', `no offset ${offset}`)
    const parts: Buffer[] = []
    let bytes = 0
    let nextOffset = offset
    for (const entry of this.entries) {
      if (entry.nextOffset <= offset) continue
      if (entry.nextOffset > endOffset) break
      if (bytes + entry.bytes.length > bytesMax && !(atLeastOneEntry && parts.length === 0)) break
      parts.push(entry.bytes)
      bytes += entry.bytes.length
      nextOffset = entry.nextOffset
    }
    this.bytesRead += bytes
    return { parts, bytes, nextOffset }
  }

  async entryAtTimestamp (timestampMs: number): Promise<{ baseOffset: number, timestampMaxMs: number } | null> {
    return this.#timestamps().find(({ timestampMaxMs }) => timestampMaxMs >= timestampMs) ?? null
  }

  async entryWithTimestampMax (): Promise<{ baseOffset: number, timestampMaxMs: number } | null> {
    const all = this.#timestamps()
    const max = Math.max(...all.map(({ timestampMaxMs }) => timestampMaxMs))
    return all.find(({ timestampMaxMs }) => timestampMaxMs === max) ?? null
  }

  #timestamps (): { baseOffset: number, timestampMaxMs: number }[] {
    return this.entries
      .filter(({ nextOffset }) => nextOffset > this.startOffset && nextOffset <= this.committedEndOffset)
      .map(({ baseOffset, bytes }) => ({ baseOffset, timestampMaxMs: Number(bytes.readBigInt64BE(35)) }))
  }

  async flush (): Promise<void> {}
  async roll (): Promise<void> {}
  async truncateFront (offset: number): Promise<void> { this.startOffset = offset }
  segments (): [] { return [] }
  readSegment (): never { throw new Error('not in this store') }
  async verifySegment (): Promise<never> { throw new Error('not in this store') }
  async close (): Promise<void> { this.release() }
}
