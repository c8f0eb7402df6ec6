/**
 * The store's own interface (src/log) under the load, in an entry layout of the bench. An append of several entries is one entry of the
 * log that covers as many offsets, so it is whole or absent after a crash. The checksum is computed for every append, as walrus does.
 */
import { randomFillSync, randomInt } from 'node:crypto'
import { loadBinding } from '../../src/binding.js'
import type { EntryLayout, Log, LogStore } from '../../src/log/log.js'
import { openStore } from '../../src/log/open-store.js'
import { POOL_BYTES, type ReadSum, type Target, type TargetOptions } from './target.js'

const LAYOUT: EntryLayout = {
  headerBytes: 32, baseOffsetAt: 0, lengthAt: 8, lengthExtraBytes: 12, magicAt: 12, magic: 1, checksumAt: 16, checksumFrom: 20, lastOffsetDeltaAt: 20, timestampMaxAt: 24
}

export async function openStoreTarget (options: TargetOptions): Promise<Target> {
  const store = await openStore({
    dataDir: options.dataDir,
    flushPolicy: options.flushPolicy,
    ...(options.backend !== undefined && { backend: options.backend }),
    ...(options.uncoveredBytesMax !== undefined && { uncoveredBytesMax: options.uncoveredBytesMax })
  })
  const logs: Log[] = []
  while (logs.length < options.logs) {
    const names = Array.from({ length: Math.min(500, options.logs - logs.length) }, (_, at) => `topic-${logs.length + at}`)
    logs.push(...await Promise.all(names.map(async (name) => await store.open(name, { layout: LAYOUT }))))
  }
  return new StoreTarget(store, logs, options)
}

interface Prepared {
  readonly entry: Buffer
  readonly bytes: number
}

class StoreTarget implements Target {
  private readonly pools = new Map<number, { readonly prepared: readonly Prepared[], next: number }>()
  private readonly crc32c: (bytes: Uint8Array) => number

  constructor (private readonly store: LogStore, private readonly logs: readonly Log[], private readonly options: TargetOptions) {
    const loaded = loadBinding()
    if ('reason' in loaded) throw new Error(loaded.reason)
    this.crc32c = loaded.binding.crc32c
  }

  append (log: number, count: number): { readonly bytes: number, readonly committed: Promise<void> } {
    const { entry, bytes } = this.take(count)
    entry.writeUInt32BE(this.crc32c(entry.subarray(LAYOUT.checksumFrom)), LAYOUT.checksumAt)
    return { bytes, committed: this.logs[log]!.append(entry).committed }
  }

  async readAll (log: number, batchBytes: number, endMs: number): Promise<ReadSum> {
    const from = this.logs[log]!
    let bytes = 0
    let operations = 0
    let offset = from.startOffset
    while (offset < from.committedEndOffset && (endMs === Infinity || performance.now() < endMs)) {
      const read = await from.read(offset, { bytesMax: batchBytes, atLeastOneEntry: true })
      bytes += read.bytes
      operations++
      offset = read.nextOffset
    }
    return { bytes, entries: offset - from.startOffset, operations }
  }

  bytes (): number {
    return this.logs.reduce((sum, log) => sum + log.bytes, 0)
  }

  async flush (): Promise<void> {
    await Promise.all(this.logs.map(async (log) => { await log.flush() }))
  }

  async close (): Promise<void> {
    await this.store.close()
  }

  private take (count: number): Prepared {
    let pool = this.pools.get(count)
    if (pool === undefined) {
      pool = { prepared: prepare(count, this.options), next: 0 }
      this.pools.set(count, pool)
    }
    pool.next = (pool.next + 1) % pool.prepared.length
    return pool.prepared[pool.next]!
  }
}

function prepare (count: number, { bytesMin, bytesMax }: TargetOptions): Prepared[] {
  const pool: Prepared[] = []
  for (let total = 0; total < POOL_BYTES;) {
    let bytes = 0
    for (let at = 0; at < count; at++) bytes += randomInt(bytesMin, bytesMax + 1)
    const entry = Buffer.alloc(LAYOUT.headerBytes + bytes)
    randomFillSync(entry, LAYOUT.headerBytes)
    entry.writeInt32BE(entry.length - LAYOUT.lengthExtraBytes, LAYOUT.lengthAt)
    entry.writeInt8(LAYOUT.magic, LAYOUT.magicAt)
    entry.writeInt32BE(count - 1, LAYOUT.lastOffsetDeltaAt)
    entry.writeBigInt64BE(-1n, LAYOUT.timestampMaxAt)
    pool.push({ entry, bytes })
    total += entry.length
  }
  return pool
}
