import path from 'node:path'
import { pythonVenv } from '../driver/prepare.mjs'

const folder = path.dirname(new URL(import.meta.url).pathname)

export default {
  name: 'confluent-kafka',
  title: 'confluent-kafka 2.16.1 (librdkafka 2.16.0)',
  language: 'Python',
  codecs: ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
  cooperative: true,
  async prepare () {
    return [await pythonVenv(folder), path.join(folder, 'program.py')]
  }
}
