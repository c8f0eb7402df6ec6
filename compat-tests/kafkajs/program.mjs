/** kafkajs 2.2.4. The verbs are those of ../records/README.md; `first-record` and `rejoin` are for kafkajs's own figures. */
import { createRequire } from 'node:module'
import { init, compress, decompress } from '@bokuweb/zstd-wasm'
import { memberOutput, expectRecords, runProgram, untilTold } from '../records/program.mjs'
import { indexHeaderOf, keyOf, parseRanges, valueOf } from '../records/records.mjs'

const require = createRequire(import.meta.url)
const { AssignerProtocol, CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = require('kafkajs')
const LZ4Codec = require('kafkajs-lz4')

const ZSTD_HEAP_BYTES = 16 * 1024 * 1024
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = new LZ4Codec().codec
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async ({ buffer }) => Buffer.from(compress(buffer, 3)),
  decompress: async (buffer) => Buffer.from(decompress(buffer, { defaultHeapSize: ZSTD_HEAP_BYTES }))
})

const CODECS = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy, lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD }
const BATCH_COUNT = 1000

function connect ({ bootstrap }) {
  return new Kafka({ clientId: 'compat-kafkajs', brokers: bootstrap.split(','), logLevel: process.env.COMPAT_DEBUG ? logLevel.DEBUG : logLevel.NOTHING })
}

async function create ({ topic, partitions, ...options }) {
  const admin = connect(options).admin()
  await admin.connect()
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: partitions, replicationFactor: 1 }] })
  await admin.disconnect()
}

async function produce ({ topic, partitions, writer, ranges, ...options }) {
  await init()
  const producer = connect(options).producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  let records = 0
  for (const { codec, from, to } of parseRanges(ranges)) {
    for (let start = from; start < to; start += BATCH_COUNT) {
      const messages = []
      for (let index = start; index < Math.min(to, start + BATCH_COUNT); index++) {
        messages.push({ partition: index % partitions, key: keyOf(writer, index), value: valueOf(writer, index), headers: { writer, index: indexHeaderOf(index) } })
      }
      await producer.send({ topic, acks: -1, compression: CODECS[codec], messages })
      records += messages.length
    }
  }
  await producer.disconnect()
  return { records }
}

async function consume ({ topic, group, ...options }) {
  await init()
  const expected = expectRecords(options)
  const consumer = connect(options).consumer({ groupId: group, maxWaitTimeInMs: 200 })
  await consumer.connect()
  await consumer.subscribe({ topics: topic.split(','), fromBeginning: true })
  await consumer.run({
    eachBatch: async ({ batch }) => {
      for (const { offset, key, value, headers } of batch.messages) expected.take(batch.partition, offset, key, value, Object.entries(headers))
    }
  })
  await expected.finished
  await consumer.stop()
  await consumer.disconnect()
  return expected.result()
}

/**
 * kafkajs calls its own assignor RoundRobinAssigner; to meet other clients in one group it must speak `range`, through its plug-in
 * interface. Version 0 of the subscription, because what kafkajs encodes has no field of a later one.
 */
const rangeAssigner = ({ cluster }) => ({
  name: 'range',
  version: 0,
  protocol: ({ topics }) => ({ name: 'range', metadata: AssignerProtocol.MemberMetadata.encode({ version: 0, topics, userData: Buffer.alloc(0) }) }),
  async assign ({ members }) {
    const subscriptions = members.map(({ memberId, memberMetadata }) => ({ memberId, topics: AssignerProtocol.MemberMetadata.decode(memberMetadata).topics }))
    const assignments = new Map(members.map(({ memberId }) => [memberId, {}]))
    for (const topic of new Set(subscriptions.flatMap(({ topics }) => topics))) {
      const takers = subscriptions.filter(({ topics }) => topics.includes(topic)).map(({ memberId }) => memberId).sort()
      const partitions = cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => partitionId).sort((a, b) => a - b)
      takers.forEach((memberId, at) => {
        const first = Math.ceil((at * partitions.length) / takers.length)
        assignments.get(memberId)[topic] = partitions.slice(first, Math.ceil(((at + 1) * partitions.length) / takers.length))
      })
    }
    return [...assignments].map(([memberId, assignment]) => ({
      memberId,
      memberAssignment: AssignerProtocol.MemberAssignment.encode({ version: 0, assignment, userData: Buffer.alloc(0) })
    }))
  }
})

async function member ({ topic, group, sessiontimeout = '10000', ...options }) {
  await init()
  const consumer = connect(options).consumer({
    groupId: group, sessionTimeout: Number(sessiontimeout), heartbeatInterval: 500, maxWaitTimeInMs: 200, partitionAssigners: [rangeAssigner]
  })
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => memberOutput.assigned(payload.memberAssignment[topic] ?? []))
  consumer.on(consumer.events.REBALANCING, () => memberOutput.assigned([]))
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    autoCommitInterval: 200,
    eachMessage: async ({ partition, message }) => memberOutput.record(partition, message.offset, message.key, message.value)
  })
  await untilTold()
  await consumer.stop()
  await consumer.disconnect()
}

/** How long after the call of run() the first record of a new group arrives. */
async function firstRecord ({ topic, group, ...options }) {
  await init()
  const consumer = connect(options).consumer({ groupId: group })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  const startedAtMs = performance.now()
  const firstRecordMs = await new Promise((resolve, reject) => {
    consumer.run({ eachMessage: async () => resolve(performance.now() - startedAtMs) }).catch(reject)
  })
  await consumer.disconnect()
  return { firstRecordMs: Math.round(firstRecordMs) }
}

/** What applications and UIs do with kafkajs's admin client, on the topic and group that the checks before have left. */
async function extras ({ topic, group, partitions, count, ...options }) {
  const admin = connect(options).admin()
  await admin.connect()
  const checks = []
  const check = async (name, action, wanted) => {
    try {
      const got = JSON.stringify(await action())
      checks.push({ name: `admin.${name}`, ok: got === JSON.stringify(wanted), problems: [`got ${got}, wanted ${JSON.stringify(wanted)}`] })
    } catch (error) {
      checks.push({ name: `admin.${name}`, ok: false, problems: [error.message] })
    }
  }
  const sum = (offsets) => offsets.reduce((total, { offset }) => total + Number(offset), 0)
  const config = { type: ConfigResourceTypes.TOPIC, name: topic }
  const retention = async () => (await admin.describeConfigs({ resources: [{ ...config, configNames: ['retention.ms'] }] })).resources[0].configEntries[0].configValue
  await check('listTopics', async () => (await admin.listTopics()).includes(topic), true)
  await check('describeCluster', async () => (await admin.describeCluster()).brokers.length, 1)
  await check('fetchTopicMetadata', async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length, partitions)
  await check('fetchTopicOffsets', async () => sum(await admin.fetchTopicOffsets(topic)), Number(count))
  await check('fetchTopicOffsetsByTimestamp, from the first', async () => sum(await admin.fetchTopicOffsetsByTimestamp(topic, 0)), 0)
  await check('describeConfigs', retention, '604800000')
  await check('alterConfigs', async () => {
    await admin.alterConfigs({ validateOnly: false, resources: [{ ...config, configEntries: [{ name: 'retention.ms', value: '86400000' }] }] })
    return retention()
  }, '86400000')
  await check('createPartitions', async () => {
    await admin.createPartitions({ topicPartitions: [{ topic, count: partitions + 1 }] })
    return (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length
  }, partitions + 1)
  await check('listGroups', async () => (await admin.listGroups()).groups.map(({ groupId }) => groupId), [group])
  await check('describeGroups', async () => (await admin.describeGroups([group])).groups[0].state, 'Empty')
  await check('fetchOffsets', async () => sum((await admin.fetchOffsets({ groupId: group, topics: [topic] }))[0].partitions.filter(({ offset }) => offset !== '-1')), Number(count))
  await check('setOffsets', async () => {
    await admin.setOffsets({ groupId: group, topic, partitions: [{ partition: 0, offset: '3' }] })
    return (await admin.fetchOffsets({ groupId: group, topics: [topic] }))[0].partitions.find(({ partition }) => partition === 0).offset
  }, '3')
  await check('deleteTopicRecords', async () => {
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '5' }] })
    return (await admin.fetchTopicOffsets(topic)).find(({ partition }) => partition === 0).low
  }, '5')
  await check('deleteGroups', async () => {
    await admin.deleteGroups([group])
    return (await admin.listGroups()).groups.length
  }, 0)
  await check('deleteTopics', async () => {
    await admin.deleteTopics({ topics: [topic] })
    return (await admin.listTopics()).includes(topic)
  }, false)
  await admin.disconnect()
  return { checks }
}

runProgram({ create, extras, produce, consume, member, 'first-record': firstRecord })
