/** @platformatic/kafka; the verbs are those of ../records/README.md. */
import { Admin, Consumer, Producer } from '@platformatic/kafka'
import { memberOutput, expectRecords, runProgram, untilTold } from '../records/program.mjs'
import { indexHeaderOf, keyOf, parseRanges, valueOf } from '../records/records.mjs'

const BATCH_COUNT = 1000

const connection = ({ bootstrap }) => ({ clientId: 'compat-platformatic', bootstrapBrokers: bootstrap.split(',') })

async function create ({ topic, partitions, ...options }) {
  const admin = new Admin(connection(options))
  await admin.createTopics({ topics: [topic], partitions, replicas: 1 })
  await admin.close()
}

const bytesOrNull = (text) => text === null ? null : Buffer.from(text)

async function produce ({ topic, partitions, writer, ranges, ...options }) {
  const producer = new Producer({ ...connection(options), idempotent: true })
  let records = 0
  for (const { codec, from, to } of parseRanges(ranges)) {
    for (let start = from; start < to; start += BATCH_COUNT) {
      const messages = []
      for (let index = start; index < Math.min(to, start + BATCH_COUNT); index++) {
        messages.push({
          topic,
          partition: index % partitions,
          key: bytesOrNull(keyOf(writer, index)),
          value: bytesOrNull(valueOf(writer, index)),
          headers: new Map([[Buffer.from('writer'), Buffer.from(writer)], [Buffer.from('index'), indexHeaderOf(index)]])
        })
      }
      await producer.send({ messages, acks: -1, compression: codec })
      records += messages.length
    }
  }
  await producer.close()
  return { records }
}

async function consume ({ topic, group, ...options }) {
  const expected = expectRecords(options)
  const consumer = new Consumer({ ...connection(options), groupId: group, maxWaitTime: 200 })
  const stream = await consumer.consume({ topics: topic.split(','), autocommit: true, mode: 'committed', fallbackMode: 'earliest' })
  stream.on('data', ({ partition, offset, key, value, headers }) => {
    expected.take(partition, offset, key, value, [...headers].map(([name, bytes]) => [name.toString(), bytes]))
  })
  const broken = new Promise((resolve, reject) => stream.on('error', reject))
  await Promise.race([expected.finished, broken])
  await consumer.close(true)
  return expected.result()
}

/** The assignor `range`, which this client leaves to its plug-in interface. */
function rangeAssigner (current, members, topics, metadata) {
  const result = [...members.keys()].sort().map((memberId) => ({ memberId, assignments: new Map() }))
  for (const topic of topics) {
    const count = metadata.topics.get(topic).partitionsCount
    result.forEach(({ assignments }, at) => {
      const first = Math.ceil((at * count) / result.length)
      const end = Math.ceil(((at + 1) * count) / result.length)
      assignments.set(topic, { topic, partitions: Array.from({ length: end - first }, (_, step) => first + step) })
    })
  }
  return result
}

async function member ({ topic, group, sessiontimeout = '10000', ...options }) {
  const consumer = new Consumer({
    ...connection(options),
    groupId: group,
    maxWaitTime: 200,
    sessionTimeout: Number(sessiontimeout),
    rebalanceTimeout: Number(sessiontimeout) * 2,
    heartbeatInterval: 500,
    protocols: [{ name: 'range', version: 1 }],
    partitionAssigner: rangeAssigner
  })
  consumer.on('consumer:group:join', ({ assignments }) => {
    memberOutput.assigned((assignments ?? consumer.assignments ?? []).flatMap(({ partitions }) => partitions))
  })
  consumer.on('consumer:group:rebalance', () => memberOutput.assigned([]))
  const stream = await consumer.consume({ topics: [topic], autocommit: 200, mode: 'committed', fallbackMode: 'earliest' })
  stream.on('data', ({ partition, offset, key, value }) => memberOutput.record(partition, offset, key, value))
  await untilTold()
  await consumer.close(true)
}

runProgram({ create, produce, consume, member })
