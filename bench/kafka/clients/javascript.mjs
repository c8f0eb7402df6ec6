/**
 * A load of a JavaScript client: `node javascript.mjs kafkajs|platformatic produce|consume '{"port":..,"topic":..,...}'`, one line of JSON when it is
 * done. produce: `inFlight` sends of `batchCount` records each at a time, for `seconds` after `warmupSeconds`. consume: `records`, from the start.
 * The packages come from the folder that is the last argument.
 */
import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [client, verb, text, packages] = process.argv.slice(2)
const settings = JSON.parse(text)
const require = createRequire(pathToFileURL(path.join(packages, 'package.json')))
const value = Buffer.alloc(settings.recordBytes, 'abcdefghijklmnopqrstuvwxyz')

const clients = {
  async kafkajs () {
    const { Kafka, Partitioners, logLevel } = require('kafkajs')
    const kafka = new Kafka({ brokers: [`127.0.0.1:${settings.port}`], logLevel: logLevel.NOTHING })
    return {
      async producer () {
        const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
        await producer.connect()
        return (partition) => producer.send({ topic: settings.topic, acks: -1, messages: Array.from({ length: settings.batchCount }, () => ({ partition, value })) })
      },
      async consume (take) {
        const consumer = kafka.consumer({ groupId: settings.group, maxBytesPerPartition: 1 << 20, maxBytes: 16 << 20 })
        await consumer.connect()
        await consumer.subscribe({ topic: settings.topic, fromBeginning: true })
        await consumer.run({ autoCommit: false, eachBatch: async ({ batch }) => { for (const message of batch.messages) take(message.value.length) } })
      }
    }
  },

  async platformatic () {
    const { Producer, Consumer } = await import(pathToFileURL(require.resolve('@platformatic/kafka')).href)
    const connection = { clientId: 'bench', bootstrapBrokers: [`127.0.0.1:${settings.port}`] }
    return {
      async producer () {
        const producer = new Producer(connection)
        return (partition) => producer.send({ acks: -1, messages: Array.from({ length: settings.batchCount }, () => ({ topic: settings.topic, partition, value })) })
      },
      async consume (take) {
        const consumer = new Consumer({ ...connection, groupId: settings.group, maxWaitTime: 100, maxBytes: 16 << 20 })
        const stream = await consumer.consume({ topics: [settings.topic], autocommit: false, mode: 'earliest' })
        stream.on('data', (message) => take(message.value.length))
      }
    }
  }
}

const { producer, consume } = await clients[client]()
console.log(JSON.stringify(await (verb === 'produce' ? produceLoad(await producer()) : consumeLoad(consume))))
process.exit(0)

async function produceLoad (send) {
  const startedAtMs = performance.now()
  const fromMs = startedAtMs + settings.warmupSeconds * 1000
  const untilMs = fromMs + settings.seconds * 1000
  let [records, whole] = [0, 0]
  let next = 0
  await Promise.all(Array.from({ length: settings.inFlight }, async () => {
    while (performance.now() < untilMs) {
      await send(next++ % settings.partitions)
      whole += settings.batchCount
      const nowMs = performance.now()
      if (nowMs >= fromMs && nowMs <= untilMs) records += settings.batchCount
    }
  }))
  return { records, bytes: records * settings.recordBytes, wholeBytes: whole * settings.recordBytes, seconds: settings.seconds }
}

/** The clock starts with the first record, which is not counted. */
function consumeLoad (start) {
  return new Promise((resolve, reject) => {
    let [records, bytes, startedAtMs] = [0, 0, 0]
    const take = (length) => {
      if (records === 0) startedAtMs = performance.now()
      else bytes += length
      if (++records < settings.records) return
      resolve({ records: records - 1, bytes, wholeBytes: bytes, seconds: (performance.now() - startedAtMs) / 1000 })
    }
    start(take).catch(reject)
  })
}
