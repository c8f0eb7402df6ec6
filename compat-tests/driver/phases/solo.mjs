/**
 * Each client alone with a broker of its own: creates a topic, writes with every codec it has, reads in a group from the start and
 * compares every record; the broker is killed and started again; the group goes on from its commit with what was written since.
 */
import { BrokerProcess } from '../brokers.mjs'
import { run } from '../programs.mjs'
import { createTopic, metadata, recordsPerCodec } from '../wire.mjs'

const TOPIC = 'compat'
/** Some clients leave a batch uncompressed when compressing did not make it smaller. */
const SHARE_MIN = 0.9
const GROUP = 'compat-group'

export async function solo (clients, context) {
  await context.forAll(clients, 'solo', (client) => soloOne(client, context))
}

async function soloOne (client, context) {
  const broker = await BrokerProcess.start(context.broker)
  let failures = 0
  const check = (name, { ok, ms, problems = [], records }) => {
    const detail = ok ? (records === undefined ? '' : `${records} records`) : problems.join('; ')
    if (!context.check(client.name, 'solo', name, ok, detail, ms)) failures++
  }
  try {
    const { recordCount, partitionCount: partitions } = context
    const { port, bootstrap } = broker
    const half = Math.floor(recordCount / 2)
    const common = { bootstrap, topic: TOPIC, partitions }
    const consume = (from, to) => run(client, 'consume', { ...common, group: GROUP, expect: `${client.name}:${from}:${to}:${client.flags}` })

    if (client.createsTopics === false) {
      check('has a topic auto-created', await run(client, 'produce', { ...common, topic: 'auto', partitions: 1, writer: client.name, ranges: 'none:0:10' }))
      await createTopic(port, TOPIC, partitions)
    } else {
      check('creates a topic', await run(client, 'create', common))
    }
    check('produces with every codec', await run(client, 'produce', { ...common, writer: client.name, ranges: rangesOf(client.codecs, 0, half) }))
    check('consumes in a group from the start, compares all', await consume(0, half))
    check('produces again', await run(client, 'produce', { ...common, writer: client.name, ranges: rangesOf(client.codecs, half, recordCount) }))
    check('codecs as stored', await storedCodecs(port, partitions, client.codecs, recordCount))

    const before = await metadata(port)
    await broker.kill()
    const ms = await broker.restart()
    const after = await metadata(port)
    const same = before.clusterId === after.clusterId && before.topics[TOPIC]?.id === after.topics[TOPIC]?.id && before.nodes[0].id === after.nodes[0].id
    check('broker killed and started again, same ids', { ok: same && ms < broker.restartMsMax, ms, problems: [JSON.stringify({ before, after })] })
    check('goes on from its commit', await consume(half, recordCount))
    if (client.extras) {
      const { checks, ...failure } = await run(client, 'extras', { ...common, group: GROUP, count: recordCount })
      for (const one of checks ?? [{ name: 'extras', ...failure }]) check(one.name, one)
    }
  } finally {
    if (failures > 0) console.log(`# ${client.name}: broker's log ends: ${await broker.logTail(600)}`)
    const folder = await broker.stop({ keep: context.keep })
    if (context.keep) console.log(`# ${client.name}: ${folder}`)
  }
}

/** The range from..to cut into one part per codec: `none:0:100,gzip:100:200`. */
export function rangesOf (codecs, from, to) {
  const cut = (at) => from + Math.floor(((to - from) * at) / codecs.length)
  return codecs.map((codec, at) => `${codec}:${cut(at)}:${cut(at + 1)}`).join(',')
}

async function storedCodecs (port, partitions, codecs, recordCount) {
  const stored = await recordsPerCodec(port, TOPIC, partitions)
  const half = Math.floor(recordCount / 2)
  const wanted = {}
  for (const range of `${rangesOf(codecs, 0, half)},${rangesOf(codecs, half, recordCount)}`.split(',')) {
    const [codec, from, to] = range.split(':')
    wanted[codec] = (wanted[codec] ?? 0) + Number(to) - Number(from)
  }
  const total = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0)
  const ok = codecs.every((codec) => stored[codec] >= wanted[codec] * SHARE_MIN) && total(stored) === recordCount
  return { ok, problems: [`stored ${JSON.stringify(stored)}, written ${JSON.stringify(wanted)}`] }
}
