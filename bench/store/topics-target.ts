/** The raw topics of `haulout/log` under the load: what a program without a broker uses, and what walrus's interface corresponds to. */
import { randomBytes, randomInt } from 'node:crypto'
import { Log, ReadConsistency, type Topic } from '../../src/raw/index.js'
import type { LatencyHistogram } from './latency.js'
import { POOL_BYTES, type Reading, type ReadSum, type Target, type TargetOptions } from './target.js'

export async function openTopicsTarget (options: TargetOptions): Promise<Target> {
  const { dataDir, flushPolicy, backend, logs, firstLog = 0, logStep = 1, shared = false, retain } = options
  const log = await Log.open({ dataDir, flushPolicy, shared, ...(backend !== undefined && { backend }) })
  const topics = await Promise.all(Array.from({ length: logs }, async (_, at) =>
    await log.topic(`topic-${firstLog + at * logStep}`, retain === undefined ? {} : { segmentBytesMax: retain.segmentBytes })))
  return new TopicsTarget(log, topics, options)
}

class TopicsTarget implements Target {
  private readonly pool: readonly Buffer[]
  private next = 0
  /** Of each topic: bytes since the last mark, and an offset about every segment. */
  private readonly marks: ReadonlyArray<{ bytes: number, readonly offsets: number[] }>

  constructor (private readonly log: Log, private readonly topics: readonly Topic[], private readonly options: TargetOptions) {
    const { bytesMin, bytesMax } = options
    this.marks = topics.map(() => ({ bytes: 0, offsets: [] }))
    const count = Math.max(64, Math.ceil(POOL_BYTES / bytesMax))
    const random = randomBytes(POOL_BYTES + bytesMax)
    this.pool = Array.from({ length: count }, () => {
      const at = randomInt(0, POOL_BYTES)
      return random.subarray(at, at + randomInt(bytesMin, bytesMax + 1))
    })
  }

  append (topic: number, count: number): { readonly bytes: number, readonly committed: Promise<void> } {
    if (count === 1) {
      const value = this.take()
      return { bytes: value.length, committed: this.topics[topic]!.append(value).committed }
    }
    let bytes = 0
    const values: Buffer[] = []
    for (let at = 0; at < count; at++) {
      const value = this.take()
      values.push(value)
      bytes += value.length
    }
    const { committed } = this.topics[topic]!.appendBatch(values)
    if (this.options.retain !== undefined) this.removeOld(topic, bytes, this.options.retain)
    return { bytes, committed }
  }

  private removeOld (topic: number, bytes: number, { segments, segmentBytes }: NonNullable<TargetOptions['retain']>): void {
    const mark = this.marks[topic]!
    mark.bytes += bytes
    if (mark.bytes < segmentBytes) return
    mark.bytes = 0
    mark.offsets.push(this.topics[topic]!.endOffset)
    if (mark.offsets.length > segments) void this.topics[topic]!.truncateFront(mark.offsets.shift()!)
  }

  async readAll (topic: number, batchBytes: number, endMs: number): Promise<ReadSum> {
    const from = this.topics[topic]!
    let bytes = 0
    let operations = 0
    let entries = 0
    let seen = 0
    for (let offset = from.startOffset; offset < from.committedEndOffset && (endMs === Infinity || performance.now() < endMs);) {
      const read = await from.read(offset, { bytesMax: batchBytes })
      read.eachValue((value, from, to) => {
        bytes += to - from
        seen ^= value[from]!
      })
      entries += read.length
      operations++
      offset = read.nextOffset
      read.release()
    }
    return { bytes, entries, operations }
  }

  async readThrough (topic: number, { records, persistEvery }: Reading, batchBytes: number, endMs: number, latency: LatencyHistogram): Promise<ReadSum> {
    const from = this.topics[topic]!
    const consistency = persistEvery === 1 ? ReadConsistency.StrictlyAtOnce : ReadConsistency.AtLeastOnce({ persistEvery })
    const cursor = from.cursor('reader', { consistency })
    await cursor.seek(from.startOffset)
    const sum = { bytes: 0, entries: 0, operations: 0 }
    let seen = 0
    let beforeMs = performance.now()
    // Once at least: on a busy machine the time may be over already.
    do {
      if (records === 'single') {
        const record = await cursor.next()
        if (record === null) break
        sum.bytes += record.valueBytes
        seen ^= record.value![0]!
        sum.entries++
      } else {
        const read = await cursor.readBatch({ bytesMax: batchBytes })
        if (read.length === 0) break
        read.eachValue((value, from, to) => {
          sum.bytes += to - from
          seen ^= value[from]!
        })
        sum.entries += read.length
        read.release()
      }
      sum.operations++
      const nowMs = performance.now()
      latency.record(nowMs - beforeMs)
      beforeMs = nowMs
    } while (beforeMs < endMs)
    return sum
  }

  bytes (): number {
    return this.topics.reduce((sum, topic) => sum + topic.bytes, 0)
  }

  async flush (): Promise<void> {
    await this.log.sync()
  }

  async close (): Promise<void> {
    await this.log.close()
  }

  private take (): Buffer {
    this.next = (this.next + 1) % this.pool.length
    return this.pool[this.next]!
  }
}
