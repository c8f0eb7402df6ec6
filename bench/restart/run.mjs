/**
 * How long `Broker.start` takes after a kill -9 under load. A child fills a broker over its own protocol (kafkajs), is killed while it
 * produces, and a second process starts a broker on the folder and says how long that took.
 *
 *   node bench/restart/run.mjs [--rounds 3] [--partitions 6] [--mebibytes 600] [--dir <folder>]
 *
 * --mebibytes: per partition. With many partitions: --partitions 1000 --mebibytes 1.
 */
import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    partitions: { type: 'string', default: '6' },
    mebibytes: { type: 'string', default: '600' },
    dir: { type: 'string', default: tmpdir() },
    root: { type: 'string', default: ROOT },
    role: { type: 'string' },
    folder: { type: 'string' }
  }
})
// Ctrl-C leaves nothing behind: the child ends when the channel to this process closes, and the folder under way goes with it.
let folder
process.once('SIGINT', () => process.exit(130))
process.once('SIGTERM', () => process.exit(143))
if (values.role === undefined) process.once('exit', () => { if (folder !== undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 5 }) })
else {
  process.once('disconnect', () => process.exit(1))
  // Listening keeps a process alive, which ends by itself when its work is done.
  process.channel.unref()
}

const partitionCount = Number(values.partitions)
const partitionBytes = Number(values.mebibytes) * 1024 * 1024
const CONNECTIONS = 4

if (values.role === 'load') await load()
else if (values.role === 'start') await start()
else await measure()

async function openBroker () {
  const { Broker } = await import(pathToFileURL(path.join(values.root, 'dist/src/index.js')).href)
  return await Broker.start({ port: 0, dataDir: values.folder })
}

/** Produces until it is killed; says when the amount is reached. */
async function load () {
  const broker = await openBroker()
  const { Kafka, logLevel } = (await import('kafkajs')).default
  const kafka = new Kafka({ brokers: [`127.0.0.1:${broker.port}`], logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic: 'load', numPartitions: partitionCount }] })
  await admin.disconnect()
  const recordBytes = Math.min(256 * 1024, Math.max(1024, partitionBytes / 4))
  const value = randomBytes(recordBytes)
  let bytes = 0
  let next = 0
  await Promise.all(Array.from({ length: CONNECTIONS }, async () => {
    const producer = kafka.producer()
    await producer.connect()
    for (;;) {
      const messages = Array.from({ length: Math.min(16, partitionCount) }, () => ({ partition: next++ % partitionCount, value }))
      await producer.send({ topic: 'load', messages })
      bytes += messages.length * recordBytes
      if (bytes >= partitionCount * partitionBytes) process.send('full')
    }
  }))
}

async function start () {
  const startMs = performance.now()
  const broker = await openBroker()
  process.send(performance.now() - startMs)
  await broker.close()
}

function child (role, folder) {
  return fork(fileURLToPath(import.meta.url), ['--role', role, '--folder', folder, '--root', values.root,
    '--partitions', values.partitions, '--mebibytes', values.mebibytes])
}

async function measure () {
  const figures = []
  for (let round = 0; round < Number(values.rounds); round++) {
    folder = mkdtempSync(path.join(values.dir, 'haulout-restart-'))
    try {
      const loading = child('load', folder)
      await new Promise((resolve, reject) => {
        loading.once('message', resolve)
        loading.once('exit', () => reject(new Error('the loading process ended')))
      })
      loading.removeAllListeners('exit')
      const ended = new Promise((resolve) => loading.once('exit', resolve))
      loading.kill('SIGKILL')
      await ended
      const starting = child('start', folder)
      const exited = new Promise((resolve) => starting.once('exit', resolve))
      figures.push(await new Promise((resolve, reject) => {
        starting.once('message', resolve)
        starting.once('exit', () => reject(new Error('the start failed')))
      }))
      await exited
      console.log(`round ${round + 1}: Broker.start took ${figures.at(-1).toFixed(0)} ms`)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
  figures.sort((a, b) => a - b)
  const median = figures[Math.floor(figures.length / 2)]
  console.log(`${partitionCount} partitions of ${values.mebibytes} MiB: median ${median.toFixed(0)} ms (${figures[0].toFixed(0)} to ${figures.at(-1).toFixed(0)})`)
}
