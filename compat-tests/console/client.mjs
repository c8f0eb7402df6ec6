import path from 'node:path'
import { KAFKA_ARTIFACTS, KAFKA_VERSION, mavenClasspath } from '../../scripts/kafka-fetch.mjs'

const folder = path.dirname(new URL(import.meta.url).pathname)

export default {
  name: 'console-tools',
  title: `Apache Kafka's console tools ${KAFKA_VERSION}`,
  language: 'Java',
  codecs: ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
  flags: 'hp',
  extras: true,
  member: false,
  notes: ['kafka-console-producer chooses partitions by key and writes text only, so its records carry one header and no chosen partition'],
  async prepare () {
    return [process.execPath, path.join(folder, 'program.mjs'), await mavenClasspath('kafka', KAFKA_ARTIFACTS)]
  }
}
