/**
 * Records what real clients and Apache Kafka say to each other, for test/golden: `node dist/scripts/record-frames.js [CLIENT...]`.
 *
 * Each client of compat-tests creates a topic, produces and consumes in a group through a proxy in front of Kafka. Of each API, version
 * and direction the longest frame up to FRAME_BYTES_MAX is kept, with its value as Kafka's own codecs decode it.
 */
import { readFile, rm, writeFile, mkdtemp, mkdir } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { isFlexible } from '../src/protocol/codec.js'
import { ErrorCode } from '../src/protocol/error-codes.js'
import { FrameDecoder } from '../src/protocol/frame-decoder.js'
import { decodeRequestHeader, decodeRequestPrefix, decodeResponseHeader } from '../src/protocol/request-header.js'
import type { Api } from '../src/protocol/schema.js'
import * as declared from '../src/protocol/schemas/index.js'
import { includesVersion } from '../src/protocol/versions.js'

const FRAME_BYTES_MAX = 1200
const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const load = (file: string): Promise<any> => import(pathToFileURL(path.join(root, file)).href)
const { formatKafka, freePort, spawnKafka } = await load('scripts/kafka-server.mjs')
const { KAFKA_VERSION } = await load('scripts/kafka-fetch.mjs')
const { decodeWithKafka } = await load('scripts/kafka-oracle.mjs')
const { loadClients, run } = await load('compat-tests/driver/programs.mjs')
const { untilAnswered, createTopic } = await load('compat-tests/driver/wire.mjs')

interface Recorded {
  readonly api: Api
  readonly version: number
  readonly direction: 'request' | 'response'
  readonly frame: Buffer
}

const apis = new Map<number, Api>((Object.values(declared) as Api[]).map((api) => [api.key, api]))
let recorded = new Map<string, Recorded>()

function record (one: Recorded): void {
  const name = `${one.api.name} ${one.version} ${one.direction}`
  const before = recorded.get(name)?.frame.length
  const fits = one.frame.length <= FRAME_BYTES_MAX
  if (before === undefined ? fits : fits && one.frame.length > before) recorded.set(name, { ...one, frame: Buffer.from(one.frame) })
}

/** Passes everything on, both ways, and records it. */
function proxy (kafkaPort: number): net.Server {
  return net.createServer((client) => {
    const kafka = net.connect(kafkaPort, '127.0.0.1')
    const asked: { readonly api: Api | undefined, readonly version: number, readonly correlationId: number }[] = []
    const requests = new FrameDecoder(2 ** 30)
    const responses = new FrameDecoder(2 ** 30)
    client.on('data', (chunk) => {
      for (const frame of requests.push(chunk)) {
        const { apiKey, apiVersion: version, correlationId } = decodeRequestPrefix(frame)
        const api = apis.get(apiKey)
        asked.push({ api, version, correlationId })
        if (api !== undefined && includesVersion(api.versions, version)) record({ api, version, direction: 'request', frame })
      }
      kafka.write(chunk)
    })
    kafka.on('data', (chunk) => {
      for (const frame of responses.push(chunk)) {
        const correlationId = frame.readInt32BE(0)
        while (asked.length > 0 && asked[0]!.correlationId !== correlationId) asked.shift() // acks=0
        const { api, version: askedVersion } = asked.shift()!
        const version = api === declared.apiVersions && frame.readInt16BE(4) === ErrorCode.UNSUPPORTED_VERSION ? 0 : askedVersion // KIP-511
        if (api !== undefined && includesVersion(api.versions, version)) record({ api, version, direction: 'response', frame })
      }
      client.write(chunk)
    })
    for (const [one, other] of [[client, kafka], [kafka, client]] as const) {
      one.on('error', () => {})
      one.on('close', () => other.destroy())
    }
  })
}

function bodyOf ({ api, version, direction, frame }: Recorded): Buffer {
  return frame.subarray(direction === 'request'
    ? decodeRequestHeader(frame, isFlexible(api, version)).bodyPosition
    : decodeResponseHeader(api, version, frame).bodyPosition)
}

async function save (client: { name: string, title: string }): Promise<void> {
  const order = (one: Recorded): number => one.api.key * 1000 + one.version * 2 + (one.direction === 'request' ? 0 : 1)
  const all = [...recorded.values()].sort((one, other) => order(one) - order(other))
  const results = await decodeWithKafka(all.map((one) => ({ key: one.api.key, direction: one.direction, version: one.version, body: bodyOf(one) })))
  const lines = all.map((one, index) => {
    if (results[index].error !== undefined) throw new Error(`${client.name}: ${one.api.name} v${one.version} ${one.direction}: ${results[index].error}`)
    return JSON.stringify({ api: one.api.name, version: one.version, direction: one.direction, frame: one.frame.toString('hex'), value: results[index].value })
  })
  await mkdir(path.join(root, 'test/golden'), { recursive: true })
  const head = JSON.stringify({ client: client.title, broker: `Apache Kafka ${KAFKA_VERSION}` }).slice(1, -1)
  await writeFile(path.join(root, `test/golden/${client.name}.json`), `{${head},"frames":[\n${lines.join(',\n')}\n]}\n`)
  console.log(`${client.name}: ${lines.length} frames`)
}

const wanted = process.argv.slice(2)
const folder = await mkdtemp(path.join(tmpdir(), 'record-frames-'))
const dataDir = path.join(folder, 'data')
const [port, proxyPort]: number[] = [await freePort(), await freePort()]
await formatKafka({ port, dataDir })
const properties = path.join(dataDir, 'server.properties')
await writeFile(properties, (await readFile(properties, 'utf8')).replace(/^advertised\.listeners=.*$/m, `advertised.listeners=PLAINTEXT://127.0.0.1:${proxyPort}`))
const kafka = await spawnKafka({ dataDir, stdio: 'ignore', heap: '512M' })
const server = proxy(port!).listen(proxyPort, '127.0.0.1')
try {
  await untilAnswered(port, 60_000)
  for (const client of await loadClients()) {
    if (wanted.length > 0 && !wanted.includes(client.name)) continue
    recorded = new Map()
    client.command = await client.prepare()
    const common = { bootstrap: `127.0.0.1:${proxyPort}`, topic: `golden-${client.name}`, partitions: 2 }
    if (client.createsTopics === false) await createTopic(port, common.topic, 2)
    else console.log(JSON.stringify(await run(client, 'create', common)))
    console.log(JSON.stringify(await run(client, 'produce', { ...common, writer: client.name, ranges: 'none:0:2,gzip:2:6' })))
    console.log(JSON.stringify(await run(client, 'consume', { ...common, group: `group-${client.name}`, expect: `${client.name}:0:6:${client.flags}` }, 60_000)))
    await save(client)
  }
} finally {
  server.close()
  kafka.kill('SIGTERM')
  await new Promise((resolve) => kafka.once('exit', resolve))
  await rm(folder, { recursive: true, force: true })
}
process.exit(0)
