/**
 * `node sink.js --port 9092 [--partitions 6]`: a server that drops the records. It says that every topic is there, parses Produce requests and
 * answers them at once; nothing is stored. What a client reaches against it is what the client, the network and Node.js allow. A topic called
 * `<anything>.1000-partitions` has so many.
 */
import net from 'node:net'
import { parseArgs } from 'node:util'
import { FrameDecoder } from '../../src/protocol/frame-decoder.js'
import { Bytes, Words } from './words.js'

const FRAME_BYTES_MAX = 100 * 2 ** 20
const RECEIVE_BYTES = 256 * 1024
const PRODUCE = 0
const METADATA = 3
const API_VERSIONS = 18
const INIT_PRODUCER_ID = 22
const UNSUPPORTED_VERSION = 35
/** One version each; librdkafka wants to see Fetch before it sends batches of today's format. */
const SERVED: readonly (readonly [api: number, version: number])[] = [[PRODUCE, 7], [1, 4], [METADATA, 4], [API_VERSIONS, 0], [INIT_PRODUCER_ID, 0]]

const { values } = parseArgs({ options: { port: { type: 'string', default: '0' }, partitions: { type: 'string', default: '6' } } })
const partitionCount = Number(values.partitions)
const server = net.createServer({ noDelay: true }, () => {}).listen(Number(values.port), '127.0.0.1')
server.removeAllListeners('connection')
server.on('connection', serve)

function serve (socket: net.Socket): void {
  const spare: Buffer[] = []
  const decoder = new FrameDecoder(FRAME_BYTES_MAX, {
    take: (bytes) => {
      const buffer = spare.pop()
      return buffer !== undefined && buffer.length >= bytes ? buffer : Buffer.allocUnsafeSlow(Math.max(bytes, RECEIVE_BYTES))
    },
    give: (buffer) => { if (spare.length < 4) spare.push(buffer) }
  })
  socket.on('error', () => socket.destroy())
  socket.on('data', (chunk) => {
    const answers = decoder.push(chunk).map(answer).filter((one) => one !== undefined)
    if (answers.length > 0) socket.write(answers.length === 1 ? answers[0]! : Buffer.concat(answers))
    decoder.recycle()
  })
}

function answer (frame: Buffer): Buffer | undefined {
  const request = new Bytes(frame)
  const [api, version, correlationId] = [request.int16(), request.int16(), request.int32()]
  const words = new Words().int32(correlationId)
  if (api === API_VERSIONS) return apiVersions(version, words)
  request.string()
  if (version !== SERVED.find(([served]) => served === api)?.[1]) throw new Error(`api ${api} version ${version} is not served`)
  if (api === INIT_PRODUCER_ID) return words.int32(0).int16(0).int64(1n).int16(0).frame()
  return api === PRODUCE ? produced(request, words) : metadata(request, words)
}

/** In version 0 whatever was asked for: that is how a client learns what there is (KIP-511). */
function apiVersions (version: number, words: Words): Buffer {
  words.int16(version === 0 ? 0 : UNSUPPORTED_VERSION)
  return words.array(SERVED, ([api, served]) => words.int16(api).int16(served).int16(served)).frame()
}

function metadata (request: Bytes, words: Words): Buffer {
  const topics = request.array(() => request.string())
  words.int32(0).array([0], () => words.int32(1).string('127.0.0.1').int32((server.address() as net.AddressInfo).port).string(null))
  words.string('sink').int32(1)
  return words.array(topics, (name) => {
    const length = Number(/\.(\d+)-partitions$/.exec(name ?? '')?.[1] ?? partitionCount)
    words.int16(0).string(name).int8(0).array(Array.from({ length }, (_, index) => index), (index) => {
      words.int16(0).int32(index).int32(1).array([1], (id) => words.int32(id)).array([1], (id) => words.int32(id))
    })
  }).frame()
}

function produced (request: Bytes, words: Words): Buffer | undefined {
  request.string()
  const acks = request.int16()
  request.int32()
  const topics = request.array(() => ({ name: request.string(), partitions: request.array(() => {
    const index = request.int32()
    request.skip(request.int32())
    return index
  }) }))
  if (acks === 0) return undefined
  words.array(topics, ({ name, partitions }) => {
    words.string(name).array(partitions, (index) => words.int32(index).int16(0).int64(0n).int64(-1n).int64(0n))
  })
  return words.int32(0).frame()
}
