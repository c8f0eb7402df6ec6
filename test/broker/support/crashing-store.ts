/**
 * A store in memory whose process dies at a chosen change: from then on every call fails, until `restart`. The fatal change itself
 * is on the disk or not, as the test wants it.
 */
import { LogError, type Log, type LogOptions, type LogStore } from '../../../src/log/log.js'
import { MemoryLogStore } from '../../../src/log/memory-log.js'

export class CrashingStore implements LogStore {
  readonly memory = new MemoryLogStore()
  readonly backend = this.memory.backend
  readonly flushPolicy = this.memory.flushPolicy
  /** Appends, removals, renames and truncations so far. */
  changeCount = 0
  crashed = false
  private readonly opened = new Set<Log>()

  /** `atChange`: which change is the last, counted from 1; `done`: it still happens. */
  constructor (private atChange = Infinity, private readonly done = false) {}

  crashAfter (changes: number): void { this.atChange = this.changeCount + changes }

  /** The logs as a new process finds them. */
  async restart (): Promise<void> {
    for (const log of this.opened) await log.close()
    this.opened.clear()
    this.atChange = Infinity
    this.crashed = false
  }

  bytesFree (): number { return Infinity }
  async names (): Promise<readonly string[]> { return await this.memory.names() }
  async remove (name: string): Promise<void> { await this.changing(async () => { await this.memory.remove(name) }) }
  async rename (from: string, to: string): Promise<void> { await this.changing(async () => { await this.memory.rename(from, to) }) }
  async close (): Promise<void> { await this.memory.close() }

  async open (name: string, options: LogOptions): Promise<Log> {
    this.check()
    const log = await this.memory.open(name, options)
    this.opened.add(log)
    return new Proxy(log, {
      get: (target, property) => {
        if (property === 'append') {
          return (entry: Uint8Array) => {
            if (!this.dies()) return target.append(entry)
            const baseOffset = this.done ? target.append(entry).baseOffset : target.endOffset
            const committed = Promise.reject(died())
            committed.catch(() => {})
            return { baseOffset, committed }
          }
        }
        if (property === 'truncateFront') return async (offset: number) => { await this.changing(async () => { await target.truncateFront(offset) }) }
        const value = Reflect.get(target, property, target)
        return typeof value === 'function' ? value.bind(target) : value
      }
    })
  }

  private async changing (change: () => Promise<void>): Promise<void> {
    const dies = this.dies()
    if (!dies || this.done) await change()
    if (dies) throw died()
  }

  private dies (): boolean {
    this.check()
    this.changeCount++
    if (this.changeCount < this.atChange) return false
    this.crashed = true
    return true
  }

  private check (): void {
    if (this.crashed) throw died()
  }
}

function died (): LogError {
  return new LogError('failed', 'the process has died')
}
