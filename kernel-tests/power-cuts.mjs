/** The power of a file system is cut while a child appends; afterwards everything acknowledged is there. */
import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import { ALL_BACKENDS, BACKENDS, Broker, checkAcknowledged, ensure } from './store.mjs'
import { Skip } from './disks.mjs'

const CHILD = fileURLToPath(new URL('./append-child.mjs', import.meta.url))
const ROUNDS = 3

export const powerCuts = [
  { kind: 'ext4', mib: 96, make: ['-J', 'size=8'] },
  { kind: 'xfs', mib: 320, make: [] }
].flatMap(({ kind, mib, make }) => [
  ...ALL_BACKENDS.map((backend) => ({
    name: `power cuts on ${kind}, ${backend}, ${ROUNDS} times: everything acknowledged is there`,
    run: async (disks, seed) => await cutRounds(disks, disks.image(kind, { mib, make }), backend, seed)
  })),
  { name: `a power cut on ${kind} under a broker and kafkajs: what producers were told is there`, run: async (disks) => await cutBroker(disks.image(kind, { mib, make })) }
])

async function cutRounds (disks, disk, backend, seed) {
  const acknowledgements = `${disks.scratch}/acknowledgements`
  const folder = `${disk.folder}/data`
  const acknowledged = new Map()
  let count = 0
  for (let round = 0; round < ROUNDS; round++) {
    const { child, output, ended } = begin(`${disk.folder}/data`, backend, seed + round, acknowledgements)
    let bytes
    try {
      while (!output().includes('ready') && child.exitCode === null) await sleep(5)
      const opened = /^ready (\S+)/m.exec(output())?.[1]
      if (opened !== undefined && opened !== backend) throw new Skip(`${backend} is not to be had here`)
      ensure(opened !== undefined, `the child did not begin: ${output()}`)
      await sleep(50 + (seed * 31 + round * 97) % 250)
      bytes = disk.cutPower((seed + round) % 2 === 1, acknowledgements)
      await sleep(20)
    } finally {
      child.kill('SIGKILL')
      await ended
    }
    for (const [, name, endOffset] of output().slice(0, bytes).matchAll(/^ack (\S+) (\d+)$/gm)) {
      acknowledged.set(name, Math.max(acknowledged.get(name) ?? 0, Number(endOffset)))
      count++
    }
    disk.restart()
    // Whoever opens it next: every backend in turn.
    await checkAcknowledged(folder, BACKENDS[(seed + round) % BACKENDS.length], acknowledged)
  }
  ensure(count > ROUNDS * 10, `only ${count} acknowledged`)
  return `${count} acknowledged entries`
}

/** The child writes what is acknowledged into a file on a sound disk, so that it can be told what was there before the cut. */
function begin (folder, backend, seed, acknowledgements) {
  const file = openSync(acknowledgements, 'w')
  const child = spawn(process.execPath, [CHILD, folder, backend, String(seed)], { stdio: ['ignore', file, file] })
  closeSync(file)
  return { child, output: () => readFileSync(acknowledgements, 'latin1'), ended: new Promise((resolve) => child.once('close', resolve)) }
}

async function cutBroker (disk) {
  const dataDir = `${disk.folder}/data`
  const options = { port: 0, dataDir, config: { 'auto.create.topics.enable': true, 'num.partitions': 3 } }
  const acknowledged = new Map()
  const broker = await Broker.start(options)
  const kafka = new Kafka({ brokers: [...broker.brokers], logLevel: logLevel.NOTHING, retry: { retries: 0 }, requestTimeout: 2_000 })
  const producer = kafka.producer({ idempotent: false })
  await producer.connect()
  let isCut = false
  const produce = async () => {
    for (let id = 0; !isCut; id++) {
      const value = `message ${id}`
      const results = await producer.send({ topic: 'orders', messages: [{ value }] }).catch(() => [])
      for (const { partition, errorCode, baseOffset } of results) if (errorCode === 0) acknowledged.set(`${partition}/${baseOffset}`, value)
    }
  }
  const producing = produce()
  while (acknowledged.size < 150) await sleep(10)
  const told = new Map(acknowledged)
  disk.cutPower(false)
  isCut = true
  await producing
  await producer.disconnect().catch(() => {})
  await broker.close().catch(() => {})
  disk.restart()
  const again = await Broker.start(options)
  try {
    const found = await consumeAll(new Kafka({ brokers: [...again.brokers], logLevel: logLevel.NOTHING }), told.size)
    for (const [place, value] of told) ensure(found.get(place) === value, `${value}, acknowledged at ${place}, is ${found.get(place) ?? 'not there'}`)
  } finally {
    await again.close()
  }
  return `${told.size} acknowledged messages`
}

async function consumeAll (kafka, count) {
  // Closing waits for the last fetch.
  const consumer = kafka.consumer({ groupId: 'check', maxWaitTimeInMs: 100 })
  const found = new Map()
  await consumer.subscribe({ topics: ['orders'], fromBeginning: true })
  consumer.run({ eachMessage: async ({ partition, message }) => { found.set(`${partition}/${message.offset}`, message.value.toString()) } }).catch(() => {})
  for (let waits = 0; found.size < count && waits < 300; waits++) await sleep(20)
  await consumer.disconnect()
  return found
}
