/** Creates and deletes topics, patiently: a broker may need a while for thousands of partitions. */
import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs from 'kafkajs'

const MS_MAX = 120_000
const PARTITIONS_PER_TOPIC_MAX = 1000

/** Resolves when every partition answers: Kafka names their leaders before those know of it, and the wire load tries nothing twice. */
export async function createTopic (port: number, topic: string, partitions: number): Promise<void> {
  await withAdmin(port, async (admin) => {
    const first = Math.min(partitions, PARTITIONS_PER_TOPIC_MAX)
    await admin.createTopics({ timeout: MS_MAX, waitForLeaders: false, topics: [{ topic, numPartitions: first, replicationFactor: 1 }] })
    for (let count = first + PARTITIONS_PER_TOPIC_MAX; first < partitions && count <= partitions; count += PARTITIONS_PER_TOPIC_MAX) {
      await admin.createPartitions({ timeout: MS_MAX, topicPartitions: [{ topic, count }] })
    }
    await untilAnswered(admin, topic, partitions)
  })
}

async function untilAnswered (admin: kafkajs.Admin, topic: string, partitions: number): Promise<void> {
  const deadlineMs = performance.now() + MS_MAX
  for (;;) {
    const answered = await admin.fetchTopicOffsets(topic).then((offsets) => offsets.length, (error: unknown) => {
      if (performance.now() > deadlineMs) throw error
      return 0
    })
    if (answered >= partitions) return
    if (performance.now() > deadlineMs) throw new Error(`${answered} of ${partitions} partitions of ${topic} answer after ${MS_MAX / 1000} s`)
    await sleep(20)
  }
}

/** Those whose names begin so. */
export async function deleteTopics (port: number, prefix: string): Promise<void> {
  await withAdmin(port, async (admin) => {
    const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(prefix))
    if (topics.length > 0) await admin.deleteTopics({ topics, timeout: MS_MAX })
  })
}

async function withAdmin (port: number, use: (admin: kafkajs.Admin) => Promise<void>): Promise<void> {
  const kafka = new kafkajs.Kafka({ brokers: [`127.0.0.1:${port}`], logLevel: kafkajs.logLevel.NOTHING, requestTimeout: MS_MAX, retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 20 } })
  const admin = kafka.admin()
  await admin.connect()
  try {
    await use(admin)
  } finally {
    await admin.disconnect()
  }
}
