import path from 'node:path'
import { npmInstall } from '../driver/prepare.mjs'

const folder = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname)

export default {
  name: 'kafkajs',
  title: 'kafkajs 2.2.4',
  language: 'JavaScript',
  codecs: ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
  extras: true,
  notes: ['snappy and lz4 through kafkajs-snappy and kafkajs-lz4; zstd through @bokuweb/zstd-wasm, because @kafkajs/zstd does not build on Node 20'],
  async prepare () {
    await npmInstall(folder)
    return [process.execPath, path.join(folder, 'program.mjs')]
  }
}
