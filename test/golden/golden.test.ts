/** Frames of real clients and of Apache Kafka: decoded as Kafka decodes them, encoded again to the same bytes. */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { isFlexible, requestDecoder, responseDecoder } from '../../src/protocol/codec.js'
import { decodeRequestHeader, decodeResponseHeader, encodeRequestFrame, encodeResponseFrame } from '../../src/protocol/request-header.js'
import type { Api } from '../../src/protocol/schema.js'
import * as declared from '../../src/protocol/schemas/index.js'
import { kafkaDifferences } from '../support/kafka-json.js'

interface Golden {
  readonly client: string
  readonly broker: string
  readonly frames: readonly { readonly api: string, readonly version: number, readonly direction: 'request' | 'response', readonly frame: string, readonly value: any }[]
}

const folder = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../test/golden')
const files = readdirSync(folder).filter((file) => file.endsWith('.json'))
const byName = new Map<string, Api<any, any>>((Object.values(declared) as Api[]).map((api) => [api.name, api]))
const seen = new Set<string>()

function decodeFrame (api: Api<any, any>, version: number, direction: string, frame: Buffer): { decoded: any, encodedAgain: Buffer } {
  if (direction === 'request') {
    const header = decodeRequestHeader(frame, isFlexible(api, version))
    const decoded = requestDecoder(api, version)(frame, header.bodyPosition)
    return { decoded, encodedAgain: Buffer.concat(encodeRequestFrame(api, version, header.correlationId, header.clientId, decoded)) }
  }
  const header = decodeResponseHeader(api, version, frame)
  const decoded = responseDecoder(api, version)(frame, header.bodyPosition)
  return { decoded, encodedAgain: Buffer.concat(encodeResponseFrame(api, version, header.correlationId, decoded)) }
}

for (const file of files) {
  const golden: Golden = JSON.parse(readFileSync(path.join(folder, file), 'utf8'))
  t.test(`${golden.client} and ${golden.broker}: ${golden.frames.length} frames`, async (t) => {
    for (const { api: name, version, direction, frame: hex, value } of golden.frames) {
      const api = byName.get(name)!
      const { decoded, encodedAgain } = decodeFrame(api, version, direction, Buffer.from(hex, 'hex'))
      t.same(kafkaDifferences(direction === 'request' ? api.request : api.response, version, decoded, value), [], `${name} v${version} ${direction}: the value`)
      t.equal(encodedAgain.toString('hex', 4), hex, `${name} v${version} ${direction}: the bytes`)
      seen.add(`${name} ${direction}`)
    }
  })
}

t.test('the frames of everyday clients are there', async (t) => {
  t.ok(files.length >= 10)
  for (const name of ['ApiVersions', 'Metadata', 'Produce', 'Fetch', 'ListOffsets', 'FindCoordinator', 'JoinGroup', 'SyncGroup', 'Heartbeat', 'OffsetCommit', 'OffsetFetch']) {
    t.ok(seen.has(`${name} request`), `${name} request`)
    t.ok(seen.has(`${name} response`), `${name} response`)
  }
})
