/** Creates topics, patiently: a broker may need a while for thousands of partitions. */
import kafkajs from 'kafkajs'

const MS_MAX = 120_000
const PARTITIONS_PER_TOPIC_MAX = 1000

export async function createTopic (port: number, topic: string, partitions: number): Promise<void> {
  await createTopics(port, [topic], partitions)
}

async function createTopics (port: number, topics: readonly string[], partitions: number): Promise<void> {
  const kafka = new kafkajs.Kafka({ brokers: [`127.0.0.1:${port}`], logLevel: kafkajs.logLevel.NOTHING, requestTimeout: MS_MAX })
  const admin = kafka.admin()
  await admin.connect()
  try {
    const first = Math.min(partitions, PARTITIONS_PER_TOPIC_MAX)
    await admin.createTopics({ timeout: MS_MAX, topics: topics.map((topic) => ({ topic, numPartitions: first, replicationFactor: 1 })) })
    for (let count = first + PARTITIONS_PER_TOPIC_MAX; first < partitions && count <= partitions; count += PARTITIONS_PER_TOPIC_MAX) {
      await admin.createPartitions({ timeout: MS_MAX, topicPartitions: topics.map((topic) => ({ topic, count })) })
    }
  } finally {
    await admin.disconnect()
  }
}
