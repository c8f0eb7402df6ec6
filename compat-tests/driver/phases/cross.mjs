/** All clients write to one topic with all codecs; the broker is killed and started again; every client reads what all of them wrote. */
import { BrokerProcess } from '../brokers.mjs'
import { run } from '../programs.mjs'
import { createTopic } from '../wire.mjs'
import { rangesOf } from './solo.mjs'

const TOPIC = 'cross'
const RECORD_COUNT_MAX = 10_000

export async function cross (clients, context) {
  const broker = await BrokerProcess.start(context.broker)
  const recordCount = Math.min(RECORD_COUNT_MAX, context.recordCount)
  const common = { bootstrap: broker.bootstrap, topic: TOPIC, partitions: context.partitionCount }
  const report = (client, name, { ok, ms, problems = [], records }) => context.check(client.name, 'cross', name, ok, ok ? `${records} records` : problems.join('; '), ms)
  try {
    await createTopic(broker.port, TOPIC, context.partitionCount)
    const writers = []
    await context.forAll(clients, 'cross', async (client) => {
      const produced = await run(client, 'produce', { ...common, writer: client.name, ranges: rangesOf(client.codecs, 0, recordCount) })
      if (produced.ok) writers.push(client)
      else report(client, 'writes beside the others', produced)
    })
    await broker.kill()
    await broker.restart()
    const expect = writers.map(({ name, flags }) => `${name}:0:${recordCount}:${flags}`).join(',')
    await context.forAll(clients, 'cross', async (client) => {
      report(client, `reads what ${writers.length} clients wrote`, await run(client, 'consume', { ...common, group: `cross-${client.name}`, expect }))
    })
  } finally {
    await broker.stop({ keep: context.keep })
  }
}
