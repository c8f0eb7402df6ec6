/** Every API that the broker advertises, in every version, over a socket: whatever a well-formed request asks for, it is answered. */
import fc from 'fast-check'
import { test, type Test } from 'tap'
import { Broker } from '../../../src/broker/broker.js'
import { Dispatcher, supportedVersions } from '../../../src/broker/dispatcher.js'
import { CLOSE_CONNECTION } from '../../../src/broker/handler.js'
import { HANDLERS } from '../../../src/broker/handlers/index.js'
import { LimitedLog } from '../../../src/broker/limited-log.js'
import type { Services } from '../../../src/broker/services.js'
import { responseDecoder } from '../../../src/protocol/codec.js'
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import { decodeResponseHeader, encodeRequestFrame } from '../../../src/protocol/request-header.js'
import { ZERO_UUID, type Api, type Field, type Fields } from '../../../src/protocol/schema.js'
import * as apis from '../../../src/protocol/schemas/index.js'
import { includesVersion } from '../../../src/protocol/versions.js'
import { RememberingLogger } from '../../hostile/support.js'
import { arbitraryInput, type Message } from '../../support/arbitrary-messages.js'
import { connect, type RawClient } from '../../support/raw-client.js'
import { plainBatch } from '../support/batches.js'
import { ManualClock } from '../support/manual-clock.js'

const RUNS = Number(process.env.HAULOUT_PROPERTY_RUNS ?? 1000)
const SEED = process.env.HAULOUT_PROPERTY_SEED

interface Served {
  readonly client: RawClient
  readonly logger: RememberingLogger
  readonly rows: readonly { readonly api: Api<any, any>, readonly version: number }[]
  /** Sends, and lets time pass where the broker waits for something. */
  readonly ask: (api: Api<any, any>, version: number, request: Message) => Promise<Message>
}

/** A broker with one topic of two partitions, a name that arbitrary strings hit, and one record in each. */
async function serve (t: Test): Promise<Served> {
  const logger = new RememberingLogger()
  const clock = new ManualClock()
  const broker = await Broker.start({ port: 0, logger: logger.logger, clock, config: { 'connections.max.idle.ms': Number.MAX_SAFE_INTEGER } })
  const client = await connect(broker.port)
  t.teardown(async () => {
    client.close()
    await broker.close()
  })
  const advertised = (await client.send(apis.apiVersions, 3, { clientSoftwareName: 'test', clientSoftwareVersion: '1' })).apiKeys
  const byKey = new Map<number, Api<any, any>>(HANDLERS.map(({ api }) => [api.key, api]))
  const rows = advertised.flatMap(({ apiKey, minVersion, maxVersion }) => {
    const api = byKey.get(apiKey)!
    // Produce is advertised from 0 for librdkafka's sake and served from 3 (KAFKA-18659).
    const first = api === apis.produce ? 3 : minVersion
    return Array.from({ length: maxVersion - first + 1 }, (_, index) => ({ api, version: first + index }))
  })
  t.equal(byKey.size, advertised.length)
  const ask = async (api: Api<any, any>, version: number, request: Message): Promise<Message> => {
    const answer = client.send(api, version, request as never) as Promise<Message>
    let answered = false
    answer.then(() => { answered = true }, () => { answered = true })
    for (let turn = 0; !answered; turn++) {
      if (turn > 1000) throw new Error(`${api.name} v${version} is not answered: ${JSON.stringify(request)}`)
      await new Promise((resolve) => setImmediate(resolve))
      if (turn > 20) {
        clock.advance(2 ** 31)
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
    }
    return await answer
  }
  for (const name of ['a-name.of_some_length', 't']) {
    await ask(apis.createTopics, 7, { topics: [{ name, numPartitions: 2, replicationFactor: 1, assignments: [], configs: [] }], timeoutMs: 1 })
    await ask(apis.produce, 9, { transactionalId: null, acks: 1, timeoutMs: 1, topicData: [{ name, partitionData: [{ index: 0, records: [plainBatch(3)] }] }] })
  }
  return { client, logger, rows, ask }
}

/** As little as an encoder takes: nothing where nothing may be, one element of nothing in each list. */
function minimal (fields: Fields, version: number, listLength: number): Message {
  return Object.fromEntries(Object.entries(fields)
    .filter(([, field]) => includesVersion(field.versions, version) && field.default === undefined && field.tag === undefined)
    .map(([name, field]) => [name, minimalValue(field, version, listLength)]))
}

function minimalValue (field: Field, version: number, listLength: number): unknown {
  switch (field.type) {
    case 'bool': return false
    case 'string': return 't'
    case 'uuid': return ZERO_UUID
    case 'bytes': return Buffer.alloc(0)
    case 'records': return []
    case 'array': return Array.from({ length: listLength }, () => minimalValue(field.element!, version, listLength))
    case 'struct': return minimal(field.fields!, version, listLength)
    default: return 0
  }
}

/** acks=0 asks for no answer. */
function answerable (api: Api<any, any>, request: Message): Message {
  return api === apis.produce && (request['acks'] ?? 0) === 0 ? { ...request, acks: 1 } : request
}

function errorCodesOf (value: unknown): number[] {
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return []
  return Object.entries(value).flatMap(([name, inner]) => name === 'errorCode' ? [inner as number] : errorCodesOf(inner))
}

function checkAnswer (t: Test, what: string, answer: Message): void {
  const codes = errorCodesOf(answer)
  if (codes.includes(ErrorCode.UNKNOWN_SERVER_ERROR)) t.fail(`${what}: UNKNOWN_SERVER_ERROR`)
  if (codes.includes(ErrorCode.UNSUPPORTED_VERSION) && !what.startsWith('ListConfigResources') && !what.startsWith('ListOffsets')) t.fail(`${what}: advertised, but UNSUPPORTED_VERSION`)
}

function complaints ({ logger }: Served): string[] {
  return logger.lines.filter(({ level }) => level === 'error' || level === 'fatal').map(({ fields, message }) => `${message} ${String((fields as { err?: Error }).err?.stack ?? '')}`)
}

for (const listLength of [0, 1]) {
  test(`the least that can be asked, with ${listLength} of each list`, async (t) => {
    const served = await serve(t)
    for (const { api, version } of served.rows) {
      checkAnswer(t, `${api.name} v${version}`, await served.ask(api, version, answerable(api, minimal(api.request, version, listLength))))
    }
    t.ok(served.rows.length > 150, `${served.rows.length} versions`)
    t.same(complaints(served), [])
  })
}

test('anything that can be asked', async (t) => {
  const served = await serve(t)
  // Named rows, so that a counterexample is short.
  const rows = new Map(served.rows.map(({ api, version }) => [`${api.name} v${version}`, { api, version }]))
  const anything = fc.constantFrom(...rows.keys()).chain((row) =>
    arbitraryInput(rows.get(row)!.api.request, rows.get(row)!.version).map((request) => [row, answerable(rows.get(row)!.api, request)] as const))
  await fc.assert(fc.asyncProperty(anything, async ([row, request]) => {
    const { api, version } = rows.get(row)!
    const answer = await served.ask(api, version, request)
    const [complaint] = complaints(served)
    served.logger.lines.length = 0
    if (complaint !== undefined) throw new Error(complaint)
    if (errorCodesOf(answer).includes(ErrorCode.UNKNOWN_SERVER_ERROR)) throw new Error('UNKNOWN_SERVER_ERROR')
  }), { numRuns: RUNS, ...(SEED !== undefined && { seed: Number(SEED) }) })
  t.pass()
})

test('a bug in any of them is answered with an error, or ends the connection: never as a success', async (t) => {
  const { logger } = new RememberingLogger()
  for (const { api, versions } of HANDLERS) {
    const broken = { api, ...(versions !== undefined && { versions }), handle: () => { throw new TypeError('a bug') } }
    const dispatcher = new Dispatcher([broken], {} as Services, new LimitedLog(logger, new ManualClock()))
    const { minVersion, maxVersion } = supportedVersions(broken)
    for (let version = minVersion; version <= maxVersion; version++) {
      const frame = Buffer.concat(encodeRequestFrame(api, version, 1, 'test', minimal(api.request, version, 0) as never)).subarray(4)
      const result = await dispatcher.dispatch(frame, { listenerName: 'PLAINTEXT', clientHost: '/127.0.0.1', connectionId: 1, closed: new AbortController().signal }, () => {})
      if (result === CLOSE_CONNECTION) continue
      const answer = Buffer.concat(result as Buffer[]).subarray(4)
      const { errorCode } = responseDecoder(api, version)(answer, decodeResponseHeader(api, version, answer).bodyPosition) as Message
      if (errorCode !== ErrorCode.UNKNOWN_SERVER_ERROR) t.fail(`${api.name} v${version} answers ${String(errorCode)}`)
    }
  }
  t.pass()
})
