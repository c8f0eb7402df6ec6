import path from 'node:path'
import { pythonVenv } from '../driver/prepare.mjs'

const folder = path.dirname(new URL(import.meta.url).pathname)

export default {
  name: 'kafka-python',
  title: 'kafka-python 3.0.12',
  language: 'Python',
  codecs: ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
  notes: ['is polled with 2 s: with a short time it forgets the assignment when a poll ends while it joins, whatever the broker'],
  async prepare () {
    return [await pythonVenv(folder), path.join(folder, 'program.py')]
  }
}
