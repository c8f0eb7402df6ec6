/**
 * The times that users of kafkajs notice (first record of a new group, the group after a process died), and what a kill -9 under
 * load costs: how soon the broker answers again, and whether every record is there exactly once.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerProcess } from '../brokers.mjs'
import { endGroup, run, start } from '../programs.mjs'
import { createTopic, metadata, recordCount } from '../wire.mjs'

const FIRST_RECORD_MS_MAX = 500
const SESSION_TIMEOUT_MS = 6_000
const LOAD_WRITERS = ['kafkajs', 'confluent-kafka', 'java-4.4.0']

export async function figures (clients, context) {
  const kafkajs = clients.find(({ name }) => name === 'kafkajs')
  if (kafkajs) {
    const broker = await BrokerProcess.start(context.broker)
    try {
      await firstRecord(kafkajs, broker, context)
      await rejoin(kafkajs, broker, context)
    } finally {
      await broker.stop({ keep: context.keep })
    }
  }
  const able = clients.filter(({ member }) => member !== false)
  const preferred = able.filter(({ name }) => LOAD_WRITERS.includes(name))
  const writers = preferred.length > 0 ? preferred : able.slice(0, LOAD_WRITERS.length)
  if (writers.length > 0) await killUnderLoad(writers, context)
}

async function firstRecord (kafkajs, broker, context) {
  const options = { bootstrap: broker.bootstrap, topic: 'first', partitions: context.partitionCount }
  await createTopic(broker.port, options.topic, options.partitions)
  await run(kafkajs, 'produce', { ...options, writer: 'kafkajs', ranges: 'none:0:100' })
  const times = []
  for (let round = 0; round < 5; round++) {
    const { ok, firstRecordMs, problems } = await run(kafkajs, 'first-record', { ...options, group: `first-${round}` })
    if (!ok) return context.check('kafkajs', 'figures', 'first record of a new group', false, problems.join('; '))
    times.push(firstRecordMs)
  }
  times.sort((a, b) => a - b)
  context.check('kafkajs', 'figures', `first record of a new group within ${FIRST_RECORD_MS_MAX} ms of run()`, times.at(-1) <= FIRST_RECORD_MS_MAX, `five groups: ${times.join(', ')} ms`, times[2])
}

async function rejoin (kafkajs, broker, context) {
  const options = { bootstrap: broker.bootstrap, topic: 'first', group: 'rejoin', sessiontimeout: SESSION_TIMEOUT_MS }
  const first = startMember(kafkajs, options)
  await first.assigned
  await sleep(1000)
  const killedAtMs = performance.now()
  endGroup(first.child)
  const second = startMember(kafkajs, options)
  const assigned = await Promise.race([second.assigned.then(() => true), sleep(SESSION_TIMEOUT_MS * 3).then(() => false)])
  const ms = Math.round(performance.now() - killedAtMs)
  endGroup(second.child)
  context.check('kafkajs', 'figures', `after a killed process, the next has its partitions within the session timeout of ${SESSION_TIMEOUT_MS} ms`, assigned && ms <= SESSION_TIMEOUT_MS + 500, '', ms)
}

function startMember (client, options) {
  let resolveAssigned
  const assigned = new Promise((resolve) => { resolveAssigned = resolve })
  const { child } = start(client, 'member', options, (line) => { if (/^A \d/.test(line)) resolveAssigned() })
  return { child, assigned }
}

async function killUnderLoad (writers, context) {
  const broker = await BrokerProcess.start(context.broker)
  const names = writers.map(({ name }) => name).join(' + ')
  const check = (name, ok, detail, ms) => context.check('restart', 'figures', `${names}: ${name}`, ok, detail, ms)
  const count = context.recordCount
  const options = (client) => ({ bootstrap: broker.bootstrap, topic: `load-${client.name}`, partitions: context.partitionCount })
  try {
    for (const client of writers) await createTopic(broker.port, options(client).topic, context.partitionCount)
    const writing = writers.map((client) => run(client, 'produce', { ...options(client), writer: client.name, ranges: `none:0:${count}` }))
    await untilWritten(broker.port, writers.map((client) => options(client).topic), context)
    const before = await metadata(broker.port)
    await broker.kill()
    const ms = await broker.restart()
    check('killed under load, answers again', ms <= broker.restartMsMax, `limit ${broker.restartMsMax} ms`, ms)
    const after = await metadata(broker.port)
    const ids = ({ clusterId, nodes, topics }) => JSON.stringify([clusterId, nodes[0].id, writers.map((client) => topics[options(client).topic]?.id)])
    check('same cluster, node and topic ids', ids(before) === ids(after), ids(before) === ids(after) ? '' : `${ids(before)}, then ${ids(after)}`)
    for (const [at, client] of writers.entries()) {
      const produced = await writing[at]
      check(`${client.name} goes on writing`, produced.ok, produced.ok ? '' : produced.problems.join('; '), produced.ms)
      if (!produced.ok) continue
      const consumed = await run(client, 'consume', { ...options(client), group: 'load', expect: `${client.name}:0:${count}` })
      check(`${client.name}: each record exactly once`, consumed.ok, consumed.ok ? `${consumed.records} records` : consumed.problems.join('; '), consumed.ms)
    }
  } finally {
    await broker.stop({ keep: context.keep })
  }
}

/** Waits until every writer has got going. */
async function untilWritten (port, topics, context) {
  const deadlineMs = performance.now() + 60_000
  while (performance.now() < deadlineMs) {
    const counts = await Promise.all(topics.map((topic) => recordCount(port, topic, context.partitionCount).catch(() => 0)))
    if (counts.every((count) => count > 0)) return
    await sleep(20)
  }
  throw new Error('the writers did not get going within a minute')
}
