/**
 * The little of Kafka's protocol that the driver speaks itself, apart from all clients and from the broker's own code:
 * Metadata (ids, readiness) and Fetch (high watermarks, the codec of every stored batch). One request per connection.
 */
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const CODEC_NAMES = ['none', 'gzip', 'snappy', 'lz4', 'zstd']

function exchange (port, request, timeoutMs = 10_000) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1')
    let received = Buffer.alloc(0)
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no answer within ${timeoutMs} ms`)))
    socket.on('connect', () => {
      const size = Buffer.alloc(4)
      size.writeInt32BE(request.length)
      socket.write(Buffer.concat([size, request]))
    })
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk])
      if (received.length < 4 || received.length < 4 + received.readInt32BE(0)) return
      socket.destroy()
      resolve(new Reader(received.subarray(4)))
    })
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('connection closed before an answer')))
  })
}

class Reader {
  #bytes
  #at = 0

  constructor (bytes) {
    this.#bytes = bytes
  }

  #move (count) {
    this.#at += count
    return this.#at - count
  }

  int8 () { return this.#bytes.readInt8(this.#move(1)) }
  int16 () { return this.#bytes.readInt16BE(this.#move(2)) }
  int32 () { return this.#bytes.readInt32BE(this.#move(4)) }
  int64 () { return Number(this.#bytes.readBigInt64BE(this.#move(8))) }
  bytes (length) { return this.#bytes.subarray(this.#move(length), this.#at) }
  uuid () { return this.bytes(16).toString('base64url') }
  string () { return this.bytes(this.int16()).toString() }
  array (read) { return Array.from({ length: this.int32() }, read) }

  varint () {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = this.#bytes[this.#move(1)]
      value |= (byte & 127) << shift
      if (byte < 128) return value
    }
  }

  compactString () {
    const length = this.varint() - 1
    return length < 0 ? null : this.bytes(length).toString()
  }

  compactArray (read) { return Array.from({ length: Math.max(0, this.varint() - 1) }, read) }

  tags () {
    for (let count = this.varint(); count > 0; count--) {
      this.varint()
      this.bytes(this.varint())
    }
  }
}

/** Metadata v12 of all topics: `{ clusterId, nodes, topics: { name: { id, partitionCount } } }`. */
export async function metadata (port, timeoutMs) {
  const reader = await exchange(port, Buffer.from([0, 3, 0, 12, 0, 0, 0, 1, 0, 3, 0x61, 0x73, 0x6b, 0, /* all topics */ 0, 0, 0, 0]), timeoutMs)
  reader.int32()
  reader.tags()
  reader.int32()
  const nodes = reader.compactArray(() => {
    const node = { id: reader.int32(), host: reader.compactString(), port: reader.int32() }
    reader.compactString()
    reader.tags()
    return node
  })
  const clusterId = reader.compactString()
  reader.int32()
  const topics = {}
  reader.compactArray(() => {
    reader.int16()
    const name = reader.compactString()
    const id = reader.uuid()
    reader.int8()
    const partitions = reader.compactArray(() => {
      reader.int16()
      const index = reader.int32()
      reader.int32()
      reader.int32()
      for (let list = 0; list < 3; list++) reader.compactArray(() => reader.int32())
      reader.tags()
      return index
    })
    reader.int32()
    reader.tags()
    topics[name] = { id, partitionCount: partitions.length }
  })
  return { clusterId, nodes, topics }
}

/** Asks for metadata until an answer comes; resolves to `{ answer, waitedMs }`. */
export async function untilAnswered (port, timeoutMs, { everyMs = 5, stillThere = () => true } = {}) {
  const startedAtMs = performance.now()
  for (;;) {
    try {
      const answer = await metadata(port, Math.max(100, timeoutMs - (performance.now() - startedAtMs)))
      if (answer.nodes.length > 0) return { answer, waitedMs: performance.now() - startedAtMs }
    } catch (error) {
      if (!stillThere()) throw new Error('the broker ended before it answered')
      if (performance.now() - startedAtMs > timeoutMs) throw new Error(`no answer within ${timeoutMs} ms: ${error.message}`)
    }
    await sleep(everyMs)
  }
}

/** Fetch v11 of one partition: `{ highWatermark, batches: [{ baseOffset, recordCount, codec }] }`. */
export async function fetchBatches (port, topic, partition, offset) {
  const name = Buffer.from(topic)
  const request = Buffer.alloc(87 + name.length)
  let at = 0
  const int16 = (value) => { at = request.writeInt16BE(value, at) }
  const int32 = (value) => { at = request.writeInt32BE(value, at) }
  const int64 = (value) => { at = request.writeBigInt64BE(BigInt(value), at) }
  int16(1), int16(11), int32(1), int16(-1) // header v1: Fetch v11, no client id
  int32(-1), int32(100), int32(0), int32(50 << 20), at++, int32(0), int32(-1) // consumer, wait, bytes, isolation, no session
  int32(1), int16(name.length), at += name.copy(request, at)
  int32(1), int32(partition), int32(-1), int64(offset), int64(-1), int32(10 << 20)
  int32(0), int16(0) // nothing forgotten, no rack
  const reader = await exchange(port, request.subarray(0, at))
  reader.int32(), reader.int32()
  const topError = reader.int16()
  reader.int32()
  if (topError !== 0) throw new Error(`Fetch answered with error ${topError}`)
  const [answer] = reader.array(() => {
    reader.string()
    return reader.array(() => {
      reader.int32()
      const error = reader.int16()
      if (error !== 0) throw new Error(`Fetch of ${topic}-${partition} answered with error ${error}`)
      const highWatermark = reader.int64()
      reader.int64(), reader.int64()
      for (let aborted = reader.int32(); aborted > 0; aborted--) reader.int64(), reader.int64()
      reader.int32()
      const length = reader.int32()
      return { highWatermark, batches: batchesOf(reader.bytes(Math.max(0, length))) }
    })[0]
  })
  return answer
}

function batchesOf (bytes) {
  const batches = []
  for (let at = 0; at + 61 <= bytes.length && at + 12 + bytes.readInt32BE(at + 8) <= bytes.length; at += 12 + bytes.readInt32BE(at + 8)) {
    const codec = CODEC_NAMES[bytes.readInt16BE(at + 21) & 7]
    batches.push({ baseOffset: Number(bytes.readBigInt64BE(at)), recordCount: bytes.readInt32BE(at + 57), nextOffset: Number(bytes.readBigInt64BE(at)) + bytes.readInt32BE(at + 23) + 1, codec })
  }
  return batches
}

/** CreateTopics v4, for the clients that cannot. */
export async function createTopic (port, topic, partitionCount) {
  const name = Buffer.from(topic)
  const request = Buffer.alloc(37 + name.length)
  let at = request.writeInt16BE(19, 0)
  at = request.writeInt16BE(4, at)
  at = request.writeInt32BE(1, at)
  at = request.writeInt16BE(-1, at)
  at = request.writeInt32BE(1, at)
  at = request.writeInt16BE(name.length, at)
  at += name.copy(request, at)
  at = request.writeInt32BE(partitionCount, at)
  at = request.writeInt16BE(1, at)
  at += 8 // no manual assignment, no configs
  at = request.writeInt32BE(10_000, at)
  const reader = await exchange(port, request.subarray(0, at + 1))
  reader.int32(), reader.int32()
  const [error] = reader.array(() => (reader.string(), reader.int16()))
  if (error !== 0) throw new Error(`CreateTopics answered with error ${error}`)
}

/** How many records of a topic are stored with each codec: `{ none: 100, gzip: 50 }`. */
export async function recordsPerCodec (port, topic, partitionCount) {
  const counts = {}
  for (let partition = 0; partition < partitionCount; partition++) {
    for (let offset = 0; ;) {
      const { highWatermark, batches } = await fetchBatches(port, topic, partition, offset)
      for (const { codec, recordCount } of batches) counts[codec] = (counts[codec] ?? 0) + recordCount
      offset = batches.at(-1)?.nextOffset ?? offset
      if (offset >= highWatermark) break
      if (batches.length === 0) throw new Error(`Fetch of ${topic}-${partition} at ${offset} gave nothing, the high watermark is ${highWatermark}`)
    }
  }
  return counts
}

/** The sum of the high watermarks: how many records a topic holds now. */
export async function recordCount (port, topic, partitionCount) {
  let sum = 0
  for (let partition = 0; partition < partitionCount; partition++) {
    const { highWatermark } = await fetchBatches(port, topic, partition, 0)
    sum += highWatermark
  }
  return sum
}
