/**
 * Sends arbitrary messages of every version through Kafka's own codecs: what the encoders here write, Kafka must read to the last byte
 * as the value that they were given, and write again as the same bytes.
 */
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import fc from 'fast-check'
import { requestEncoder, responseEncoder } from '../src/protocol/codec.js'
import type { Api } from '../src/protocol/schema.js'
import * as declared from '../src/protocol/schemas/index.js'
import { parseVersions } from '../src/protocol/versions.js'
import { arbitraryInput, expectedMessage } from '../test/support/arbitrary-messages.js'
import { kafkaDifferences } from '../test/support/kafka-json.js'

const MESSAGES_PER_VERSION = 10
const SHOWN_COUNT_MAX = 20

interface Message {
  readonly api: Api
  readonly direction: 'request' | 'response'
  readonly version: number
  readonly body: Buffer
  readonly expected: unknown
}

export async function checkCodecs (root: string): Promise<{ passed: number, failed: number, skipped: number }> {
  const { decodeWithKafka } = await import(pathToFileURL(path.join(root, 'scripts/kafka-oracle.mjs')).href)
  const messages = (Object.values(declared) as Api[]).flatMap((api) => [...arbitraryMessages(api, 'request'), ...arbitraryMessages(api, 'response')])
  let results: readonly { readonly value?: unknown, readonly written?: string, readonly error?: string }[]
  try {
    results = await decodeWithKafka(messages.map(({ api, ...message }) => ({ key: api.key, ...message })))
  } catch (error) {
    console.log(`skipped: Kafka's codecs cannot be run: ${(error as Error).message.trim()}`)
    return { passed: 0, failed: 0, skipped: messages.length }
  }
  const problems = messages.flatMap((message, index) => {
    const problem = problemOf(message, results[index]!)
    return problem === undefined ? [] : [`${message.api.name} ${message.direction} v${message.version}: ${problem}`]
  })
  for (const problem of problems.slice(0, SHOWN_COUNT_MAX)) console.log(problem)
  console.log(`${messages.length} messages through Kafka's codecs: ${problems.length} problems`)
  return { passed: messages.length - problems.length, failed: problems.length, skipped: 0 }
}

function * arbitraryMessages (api: Api, direction: 'request' | 'response'): Generator<Message> {
  const { first, last } = parseVersions(api.versions)
  for (let version = first; version <= last; version++) {
    const encode = (direction === 'request' ? requestEncoder(api, version) : responseEncoder(api, version)) as (value: unknown) => Buffer[]
    for (const input of fc.sample(arbitraryInput(api[direction], version), MESSAGES_PER_VERSION)) {
      yield { api, direction, version, body: Buffer.concat(encode(input)), expected: expectedMessage(api[direction], version, input) }
    }
  }
}

function problemOf (message: Message, { value, written, error }: { readonly value?: unknown, readonly written?: string, readonly error?: string }): string | undefined {
  const hex = message.body.toString('hex')
  if (error !== undefined) return `Kafka refuses ${hex}: ${error}`
  const differences = kafkaDifferences(message.api[message.direction], message.version, message.expected, value)
  if (differences.length > 0) return differences.join('; ')
  return written === hex ? undefined : `Kafka writes ${written} where ${hex} was written here`
}
