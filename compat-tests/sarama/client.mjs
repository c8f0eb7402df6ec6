import path from 'node:path'
import { goBuild } from '../driver/prepare.mjs'

const folder = path.dirname(new URL(import.meta.url).pathname)

export default {
  name: 'sarama',
  title: 'sarama 1.61.1',
  language: 'Go',
  codecs: ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
  async prepare () {
    return [await goBuild(folder, ['main.go', 'go.mod', 'go.sum', '../records/records.go'])]
  }
}
