/** `haulout log inspect|verify|salvage` as a user meets them, on a broker's folder; kafkajs reads what was saved. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { brotliDecompressSync } from 'node:zlib'
import { Kafka, logLevel } from 'kafkajs'
import { test } from 'tap'
import { Broker } from '../../src/broker/broker.js'
import { testFolder } from '../contract/entries.js'
import { plainEnvironment, PLAIN_NODE } from '../support/plain-node.js'

const COMMAND = new URL('../../src/cli/main.js', import.meta.url).pathname
const GOLDEN = new URL('../../../test/log/golden/version-2-closed/', import.meta.url).pathname
const MESSAGE_COUNT = 40
/** A Node without zstd, and the package that brings it nowhere to be found. */
const WITHOUT_ZSTD = `import zlib from 'node:zlib'
  import Module from 'node:module'
  Object.assign(zlib, { zstdCompressSync: undefined, zstdDecompressSync: undefined })
  const load = Module._load
  Module._load = (name, ...more) => { if (name.startsWith('zstd-napi')) throw new Error('Cannot find module'); return load(name, ...more) }`

function haulout (...args: readonly string[]): { code: number | null, output: string, errors: string } {
  const { status, stdout, stderr } = spawnSync('env', [...PLAIN_NODE, COMMAND, 'log', ...args], { env: plainEnvironment, encoding: 'utf8' })
  return { code: status, output: stdout, errors: stderr }
}

async function withBroker<T> (dataDir: string, use: (kafka: Kafka) => Promise<T>): Promise<T> {
  const broker = await Broker.start({ port: 0, dataDir })
  try {
    return await use(new Kafka({ brokers: [...broker.brokers], logLevel: logLevel.NOTHING, retry: { retries: 2 } }))
  } finally {
    await broker.close()
  }
}

/** One batch a message, and the offsets that a group has come to. */
async function produce (kafka: Kafka): Promise<void> {
  const producer = kafka.producer()
  await producer.connect()
  for (let id = 0; id < MESSAGE_COUNT; id++) await producer.send({ topic: 'orders', messages: [{ value: `order ${id}` }] })
  await producer.disconnect()
  await kafka.admin().setOffsets({ groupId: 'billing', topic: 'orders', partitions: [{ partition: 0, offset: '30' }] })
}

async function consume (kafka: Kafka, groupId: string, count: number): Promise<readonly string[]> {
  const consumer = kafka.consumer({ groupId })
  const seen: string[] = []
  await consumer.subscribe({ topics: ['orders'], fromBeginning: true })
  await new Promise<void>((resolve, reject) => {
    setTimeout(() => reject(new Error(`only ${seen.length} messages: ${seen.join()}`)), 15_000).unref()
    consumer.run({ eachMessage: async ({ message }) => {
      seen.push(`${message.offset} ${message.value!.toString()}`)
      if (seen.length === count) resolve()
    } }).catch(reject)
  })
  await consumer.disconnect()
  return seen
}

test('damage in a topic: verify names it, salvage saves the rest, clients read on', async (t) => {
  const dataDir = testFolder(t)
  await withBroker(dataDir, async (kafka) => {
    await produce(kafka)
    const used = haulout('verify', dataDir)
    t.equal(used.code, 1)
    t.match(used.errors, /in use by process \d+\.\nStop it first, or verify it as it is now with --while-in-use/)
    t.match(haulout('verify', dataDir, '--while-in-use'), { code: 0, output: /In use by process[^]*orders-0: 40 valid entries[^]*No damage\.\n$/ })
    t.match(haulout('inspect', dataDir), { code: 0, output: /In use by process \d+[^]*orders-0: offsets 0 to 40/ })
  })
  t.match(haulout('verify', dataDir), { code: 0, output: /\nNo damage\.\n$/, errors: '' })
  const json = JSON.parse(haulout('inspect', dataDir, '--json', '--log', 'orders-0').output) as { logs: { name: string, endOffset: number }[] }
  t.match(json.logs, [{ name: 'orders-0', endOffset: MESSAGE_COUNT, layout: 'record-batch' }])

  // Offsets 17 to 19, of 40.
  const file = path.join(dataDir, 'orders-0', readdirSync(path.join(dataDir, 'orders-0')).find((name) => name.endsWith('.log'))!)
  const bytes = readFileSync(file)
  const from = bytes.indexOf('order 17')
  bytes.fill(0, from, bytes.indexOf('order 19') + 1)
  writeFileSync(file, bytes)
  const verified = haulout('verify', dataDir, '--log', 'orders-0')
  t.equal(verified.code, 2)
  t.match(verified.output, /DAMAGE: orders-0\/0{20}\.log at position \d+: the \d+ bytes from there on are no valid entries; lost are those with offsets 17 to 19\n    It means: .*\n    To do: .*salvage/)

  const to = path.join(testFolder(t), 'saved')
  const salvaged = haulout('salvage', dataDir, '--to', to)
  t.match(salvaged, { code: 2, output: /\n  LOST: offsets 17 to 19 \(3\): \d+ bytes of orders-0\/0{20}\.log at position \d+\n/ })
  t.match(haulout('verify', to), { code: 0, output: /\nNo damage\.\n$/ })
  t.match(haulout('salvage', to, '--to', `${to}-again`), { code: 0, output: /\nEverything was copied to / })
  t.equal(haulout('salvage', dataDir, '--to', `${to}-again`).code, 1, 'not into a folder that holds something')
  t.match(haulout('salvage', dataDir, '--to', `${to}-json`, '--json'), { code: 2, output: /"fromOffset": 17/ })
  await withBroker(to, async (kafka) => {
    const expected = Array.from({ length: MESSAGE_COUNT }, (_, id) => `${id} order ${id}`).filter((_, id) => id < 17 || id > 19)
    t.same(await consume(kafka, 'new', expected.length), expected, 'a new group reads everything that is left, under its offsets')
    t.same(await consume(kafka, 'billing', 10), expected.slice(-10), 'one that had come to 30 goes on there')
    t.match(await kafka.admin().fetchTopicOffsets('orders'), [{ low: '0', high: '40' }])
  })
})

test('a compressed segment that cannot be opened for want of its codec is not called damaged', async (t) => {
  const folder = testFolder(t)
  for (const file of ['haulout.format.br', ...readdirSync(path.join(GOLDEN, 'zstd')).map((name) => `zstd/${name}`)]) {
    const to = path.join(folder, file.replace(/\.br$/, ''))
    mkdirSync(path.dirname(to), { recursive: true })
    writeFileSync(to, brotliDecompressSync(readFileSync(path.join(GOLDEN, file))))
  }
  const run = (...args: readonly string[]) => {
    const { status, stdout, stderr } = spawnSync('env', [...PLAIN_NODE, '--import', `data:text/javascript,${encodeURIComponent(WITHOUT_ZSTD)}`, COMMAND, 'log', ...args], { env: plainEnvironment, encoding: 'utf8' })
    return { code: status, output: stdout, errors: stderr }
  }
  const refusal = { code: 1, output: '', errors: /^haulout: log zstd: .*compressed ones not be read: zstd-napi is not installed: npm install zstd-napi\n$/ }
  t.match(run('verify', folder), refusal)
  const to = path.join(testFolder(t), 'saved')
  t.match(run('salvage', folder, '--to', to), refusal)
  t.throws(() => readdirSync(to), { code: 'ENOENT' }, 'nothing was begun')
  const inspected = run('inspect', folder)
  t.match(inspected, { code: 0, output: /zstd: offsets 0 to 100, 3 segments/ }, 'what needs no codec is told')
  t.notMatch(inspected.output, 'PROBLEM')
  rmSync(path.join(folder, `zstd/${'73'.padStart(20, '0')}.log`))
  t.match(run('inspect', folder), { code: 0, output: /PROBLEM: .*npm install zstd-napi\n$/ }, 'where no segment can be opened')
})

test('mistakes are told', async (t) => {
  const folder = testFolder(t)
  t.match(haulout('verify', path.join(folder, 'nowhere')), { code: 1, errors: /^haulout: there is no folder .*nowhere\n$/ })
  t.match(haulout('inspect', folder), { code: 1, errors: /not a data folder of Haulout/ })
  t.match(haulout('salvage', folder), { code: 1, errors: /required option '--to <folder>'/ })
  t.match(haulout('verify', folder, '--layout', 'paper'), { code: 1, errors: /Allowed choices are auto, record-batch, raw/ })
})
