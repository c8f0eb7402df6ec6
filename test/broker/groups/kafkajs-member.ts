/** A member in a thread of its own, to be ended without a goodbye: tells the partitions that it got. */
import { parentPort, workerData } from 'node:worker_threads'
import kafkajs from 'kafkajs'

const { brokers, sessionTimeout } = workerData as { brokers: string[], sessionTimeout: number }
const client = new kafkajs.Kafka({ clientId: 'doomed', brokers, logLevel: kafkajs.logLevel.NOTHING })
const consumer = client.consumer({ groupId: 'g', sessionTimeout, heartbeatInterval: 200 })
consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => parentPort!.postMessage([...payload.memberAssignment['t'] ?? []].sort()))
await consumer.connect()
await consumer.subscribe({ topic: 't', fromBeginning: true })
await consumer.run({ eachMessage: async () => {} })
