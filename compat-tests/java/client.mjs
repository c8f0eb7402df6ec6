import path from 'node:path'
import { mavenClasspath } from '../../scripts/kafka-fetch.mjs'
import { javaBuild, system } from '../driver/prepare.mjs'

const folder = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname)
const sources = [path.join(folder, 'Program.java'), path.join(folder, '../records/Records.java')]

const version = (kafkaClients) => ({
  name: `java-${kafkaClients}`,
  title: `Java kafka-clients ${kafkaClients}`,
  language: 'Java',
  codecs: ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
  cooperative: true,
  async prepare () {
    await system({ command: 'javac', package: 'openjdk-17-jdk-headless' })
    const libraries = await mavenClasspath(`kafka-clients-${kafkaClients}`, [`org.apache.kafka:kafka-clients:${kafkaClients}`, 'org.slf4j:slf4j-nop:1.7.36'])
    const classpath = await javaBuild(kafkaClients, sources, libraries)
    return ['java', '-Xmx256m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-cp', classpath, 'Program']
  }
})

export default [version('4.4.0'), version('3.9.2')]
