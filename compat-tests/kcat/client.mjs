import path from 'node:path'
import { execute, system } from '../driver/prepare.mjs'

const folder = path.dirname(new URL(import.meta.url).pathname)

export default {
  name: 'kcat',
  title: 'kcat 1.7.1 (librdkafka 2.0.2)',
  language: 'C',
  codecs: ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
  flags: 'h',
  createsTopics: false,
  notes: ['cannot create topics itself: checked with auto-creation instead', 'gives all records of a run the same headers'],
  async prepare () {
    await system({ command: 'kcat', package: 'kcat' })
    await execute('kcat', ['-V'])
    return [process.execPath, path.join(folder, 'program.mjs')]
  }
}
