/** @confluentinc/kafka-javascript through its promise API; the verbs are those of ../records/README.md. */
import confluent from '@confluentinc/kafka-javascript'
import { memberOutput, expectRecords, runProgram, untilTold } from '../records/program.mjs'
import { indexHeaderOf, keyOf, parseRanges, valueOf } from '../records/records.mjs'

const { Kafka, logLevel, PartitionAssigners } = confluent.KafkaJS
const BATCH_COUNT = 1000

const connect = ({ bootstrap }) => new Kafka({ kafkaJS: { clientId: 'compat-confluent', brokers: bootstrap.split(','), logLevel: logLevel.NOTHING } })

async function create ({ topic, partitions, ...options }) {
  const admin = connect(options).admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: partitions, replicationFactor: 1 }] })
  await admin.disconnect()
}

async function produce ({ topic, partitions, writer, ranges, ...options }) {
  let records = 0
  for (const { codec, from, to } of parseRanges(ranges)) {
    const producer = connect(options).producer({ kafkaJS: { idempotent: true, acks: -1, compression: codec }, 'linger.ms': 5 })
    await producer.connect()
    for (let start = from; start < to; start += BATCH_COUNT) {
      const messages = []
      for (let index = start; index < Math.min(to, start + BATCH_COUNT); index++) {
        messages.push({ partition: index % partitions, key: keyOf(writer, index), value: valueOf(writer, index), headers: { writer, index: indexHeaderOf(index) } })
      }
      await producer.send({ topic, messages })
      records += messages.length
    }
    await producer.disconnect()
  }
  return { records }
}

async function consume ({ topic, group, ...options }) {
  const expected = expectRecords(options)
  const consumer = connect(options).consumer({ kafkaJS: { groupId: group, fromBeginning: true, autoCommit: true, maxWaitTimeInMs: 100 } })
  await consumer.connect()
  await consumer.subscribe({ topics: topic.split(',') })
  await consumer.run({
    eachBatch: async ({ batch }) => {
      for (const { offset, key, value, headers } of batch.messages) expected.take(batch.partition, offset, key, value, Object.entries(headers ?? {}))
    }
  })
  await expected.finished
  await consumer.commitOffsets()
  await consumer.disconnect()
  return expected.result()
}

async function member ({ topic, group, sessiontimeout = '10000', ...options }) {
  const consumer = connect(options).consumer({
    kafkaJS: {
      groupId: group, fromBeginning: true, autoCommit: true, autoCommitInterval: 200, sessionTimeout: Number(sessiontimeout), heartbeatInterval: 500,
      partitionAssigners: [PartitionAssigners.range]
    },
    rebalance_cb: (error, assignment) => {
      memberOutput.assigned(error.code === confluent.CODES.ERRORS.ERR__ASSIGN_PARTITIONS ? assignment.map(({ partition }) => partition) : [])
    }
  })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic] })
  await consumer.run({ eachMessage: async ({ partition, message }) => memberOutput.record(partition, message.offset, message.key, message.value) })
  await untilTold()
  await consumer.disconnect()
}

runProgram({ create, produce, consume, member })
