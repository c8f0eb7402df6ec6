/** What the tests of hostile clients share: a logger that remembers, requests as bytes, and a neighbour that must notice nothing. */
import type { ChildProcess } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import type { Logger } from 'pino'
import type { BrokerOptions } from '../../src/broker/options.js'
import { encodeRequestFrame } from '../../src/protocol/request-header.js'
import type { Api, RequestInputOf } from '../../src/protocol/schema.js'
import { produce } from '../../src/protocol/schemas/00-produce.js'
import { fetch } from '../../src/protocol/schemas/01-fetch.js'
import { metadata } from '../../src/protocol/schemas/03-metadata.js'
import { batchOf } from '../broker/support/batches.js'
import { connect, type RawClient } from '../support/raw-client.js'

export const sleep = async (ms: number): Promise<void> => { await new Promise((resolve) => setTimeout(resolve, ms)) }

/** Waits until something holds; fails loudly when it never does. */
export async function until (holds: () => boolean, what: string, withinMs = 5_000): Promise<void> {
  const deadline = performance.now() + withinMs
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`)
    await sleep(5)
  }
}

export class RememberingLogger {
  readonly lines: { readonly level: string, readonly fields: object, readonly message: string }[] = []

  get logger (): NonNullable<BrokerOptions['logger']> {
    const at = (level: string) => (fields: object | string, message?: string): void => {
      this.lines.push(typeof fields === 'string' ? { level, fields: {}, message: fields } : { level, fields, message: message ?? '' })
    }
    return { level: 'info', debug: () => {}, trace: () => {}, info: at('info'), warn: at('warn'), error: at('error'), fatal: at('fatal') } as unknown as Logger
  }

  matching (pattern: RegExp): string[] {
    return this.lines.map(({ message }) => message).filter((message) => pattern.test(message))
  }
}

export function requestBytes<A extends Api<any, any>> (api: A, version: number, request: RequestInputOf<A>, correlationId = 1): Buffer {
  return Buffer.concat(encodeRequestFrame(api, version, correlationId, 'hostile', request))
}

export function produceRequest (topic: string, batch: Buffer, acks = -1): RequestInputOf<typeof produce> {
  return { acks, timeoutMs: 30_000, topicData: [{ name: topic, partitionData: [{ index: 0, records: [batch] }] }] } as unknown as RequestInputOf<typeof produce>
}

export function fetchRequest (topic: string, fetchOffset: number, more: { maxWaitMs?: number, bytesMax?: number, minBytes?: number } = {}): RequestInputOf<typeof fetch> {
  const bytesMax = more.bytesMax ?? 50_000_000
  return {
    maxWaitMs: more.maxWaitMs ?? 0,
    minBytes: more.minBytes ?? 1,
    maxBytes: bytesMax,
    topics: [{ topic, partitions: [{ partition: 0, fetchOffset, partitionMaxBytes: bytesMax }] }],
    forgottenTopicsData: []
  } as unknown as RequestInputOf<typeof fetch>
}

export function bytesOf (records: unknown): Buffer {
  return Array.isArray(records) ? Buffer.concat(records as Buffer[]) : Buffer.from((records ?? []) as Uint8Array)
}

/** Makes a topic by asking for it, as clients do. */
export async function makeTopic (client: RawClient, name: string): Promise<void> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const { topics } = await client.send(metadata, 4, { topics: [{ name }], allowAutoTopicCreation: true } as unknown as RequestInputOf<typeof metadata>)
    if (topics[0]!.errorCode === 0) return
    await sleep(20)
  }
  throw new Error(`topic ${name} was not made`)
}

/**
 * A well-behaved client that works while others do not: produces numbered records one after the other and, at the end, reads them all.
 */
export class Neighbour {
  private stopping = false
  private latencyMsMax = 0
  private acknowledged = 0
  private readonly work: Promise<void>

  private constructor (private readonly client: RawClient, private readonly topic: string) {
    this.work = this.produce()
    this.work.catch(() => {})
  }

  static async start (port: number, topic = 'neighbour'): Promise<Neighbour> {
    const client = await connect(port)
    await makeTopic(client, topic)
    return new Neighbour(client, topic)
  }

  /** Ends, and says how long one request took at most. Rejects if it was disturbed or if a record is missing. */
  async stop (): Promise<{ readonly latencyMsMax: number, readonly acknowledged: number }> {
    this.stopping = true
    await this.work
    const values = await this.readAll()
    for (let number = 0; number < this.acknowledged; number++) {
      if (values[number] !== `<${number}>`) throw new Error(`record ${number} of ${this.acknowledged} was acknowledged, and ${values[number]} is in its place`)
    }
    this.client.close()
    return { latencyMsMax: this.latencyMsMax, acknowledged: this.acknowledged }
  }

  private async readAll (): Promise<string[]> {
    const values: string[] = []
    while (values.length < this.acknowledged) {
      const answer = await this.client.send(fetch, 11, fetchRequest(this.topic, values.length))
      const records = bytesOf(answer.responses[0]!.partitions[0]!.records)
      if (records.length === 0) throw new Error(`nothing to read at offset ${values.length} of ${this.acknowledged}`)
      // Each of its batches has one record.
      for (let at = 0; at < records.length; at += 12 + records.readInt32BE(at + 8)) {
        if (records.readBigInt64BE(at) !== BigInt(values.length)) throw new Error(`offset ${records.readBigInt64BE(at)} where ${values.length} is next`)
        values.push(/<\d+>/.exec(records.toString('latin1', at + 61, at + 12 + records.readInt32BE(at + 8)))?.[0] ?? 'garbage')
      }
    }
    return values
  }

  private async produce (): Promise<void> {
    while (!this.stopping) {
      const startedMs = performance.now()
      const answer = await this.client.send(produce, 9, produceRequest(this.topic, batchOf([{ value: `<${this.acknowledged}>` }])))
      this.latencyMsMax = Math.max(this.latencyMsMax, performance.now() - startedMs)
      const { errorCode } = answer.responses[0]!.partitionResponses[0]!
      if (errorCode !== 0) throw new Error(`the neighbour was refused with error ${errorCode}`)
      this.acknowledged++
      await sleep(2)
    }
  }
}

/** Bytes of a process's memory that are in RAM: none of one that has ended. */
export function residentBytes (child: ChildProcess): number {
  const file = `/proc/${child.pid}/status`
  const match = existsSync(file) ? /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(file, 'utf8')) : null
  return match === null ? 0 : Number(match[1]) * 1024
}
