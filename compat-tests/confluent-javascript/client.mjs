import path from 'node:path'
import { npmInstall, system } from '../driver/prepare.mjs'

const folder = path.dirname(new URL(import.meta.url).pathname)

export default {
  name: 'confluent-javascript',
  title: '@confluentinc/kafka-javascript 1.10.1 (librdkafka 2.15.1)',
  language: 'JavaScript',
  codecs: ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
  notes: ['its prebuilt binary lies outside the npm registry, so it is built from the sources in its package, linked to the system\'s libraries (a minute, once)'],
  async prepare () {
    const architecture = process.arch === 'arm64' ? 'aarch64' : 'x86_64'
    await system(
      { command: 'g++', package: 'g++' },
      { command: 'make', package: 'make' },
      { file: '/usr/include/zstd.h', package: 'libzstd-dev' },
      { file: '/usr/include/zlib.h', package: 'zlib1g-dev' },
      { file: '/usr/include/openssl/ssl.h', package: 'libssl-dev' },
      { file: `/usr/include/${architecture}-linux-gnu/curl/curl.h`, package: 'libcurl4-openssl-dev' }
    )
    await npmInstall(folder, { env: { CKJS_LINKING: 'dynamic' } })
    return [process.execPath, path.join(folder, 'program.mjs')]
  }
}
