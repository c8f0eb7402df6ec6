import path from 'node:path'
import { goBuild } from '../driver/prepare.mjs'

const folder = path.dirname(new URL(import.meta.url).pathname)

export default {
  name: 'franz-go',
  title: 'franz-go 1.22.2',
  language: 'Go',
  codecs: ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
  cooperative: true,
  async prepare () {
    return [await goBuild(folder, ['main.go', 'go.mod', 'go.sum', '../records/records.go'])]
  }
}
