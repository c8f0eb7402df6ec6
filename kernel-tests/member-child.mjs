/** A member of a group in a process, and a network, of its own: `member-child.mjs HOST:PORT`. */
import { Kafka, logLevel } from 'kafkajs'

const consumer = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.NOTHING }).consumer({ groupId: 'g', sessionTimeout: 1_000, heartbeatInterval: 200 })
consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => console.log(`has ${payload.memberAssignment.orders?.length}`))
await consumer.connect()
await consumer.subscribe({ topics: ['orders'], fromBeginning: true })
await consumer.run({ eachMessage: async () => {} })
