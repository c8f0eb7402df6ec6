/**
 * Producer ids that are never given twice, across restarts and crashes (KIP-98): a block of them is reserved durably before its
 * first is given; what a crash leaves of a block is never used.
 */
import type { MetadataLog } from './topics/metadata-log.js'
import { producerIdsRecord } from './topics/metadata-state.js'

/** As many as Kafka's controller gives a broker at a time. */
const BLOCK_COUNT = 1_000

export class ProducerIds {
  private nextId = 0
  private reservedEnd = 0
  private reserving: Promise<void> | undefined

  constructor (private readonly metadata: MetadataLog) {}

  /** Rejects when no block can be reserved: the storage has failed. */
  async next (): Promise<number> {
    while (this.nextId >= this.reservedEnd) await (this.reserving ??= this.reserve())
    return this.nextId++
  }

  private async reserve (): Promise<void> {
    try {
      const first = this.metadata.state.producerIdNext
      const refusal = await this.metadata.write([producerIdsRecord(first + BLOCK_COUNT)])
      if (refusal !== undefined) throw new Error(`cannot reserve producer ids: ${refusal.errorMessage}`)
      this.nextId = first
      this.reservedEnd = first + BLOCK_COUNT
    } finally {
      this.reserving = undefined
    }
  }
}
