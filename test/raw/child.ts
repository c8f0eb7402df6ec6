/**
 * Appends to raw topics until it is killed, and tells on standard output what it was told. Arguments: folder, backend.
 * Every value says which batch it belongs to, how many records that has, and which one of them it is.
 */
import { Log, ReadConsistency, type BackendChoice } from '../../src/raw/index.js'
import { say } from '../support/say.js'

const [dataDir, backend] = process.argv.slice(2)
const log = await Log.open({ dataDir: dataDir!, backend: backend as BackendChoice, segmentBytesMax: 600_000 })
const topic = await log.topic('batches')
const strict = topic.cursor('strict')
const loose = topic.cursor('loose', { consistency: ReadConsistency.AtLeastOnce({ persistEvery: 50 }) })

/** Small ones, ones that fill an entry, and ones in parts: under this segment size from 600,000 bytes on. */
const SIZES = [[1, 50], [40, 700], [300, 900], [12, 90_000], [3, 10], [30, 60_000]] as const

async function write (): Promise<never> {
  for (let batch = topic.endOffset; ; batch++) {
    const [count, bytes] = SIZES[batch % SIZES.length]!
    const records = Array.from({ length: count }, (_, index) => `${batch} ${count} ${index} `.padEnd(bytes, 'x'))
    const { baseOffset, committed } = topic.appendBatch(records)
    const single = topic.append(`${batch}s 1 0 `)
    if (single.offset !== baseOffset + count) throw new Error('a single append stands where it should not')
    const told = committed.then(() => { say(`batch ${baseOffset} ${count}`) })
    if (batch % 3 === 0) await told
    await single.committed
  }
}

async function read (name: 'strict' | 'loose'): Promise<never> {
  const cursor = name === 'strict' ? strict : loose
  for (;;) {
    const record = await cursor.next()
    if (record === null) await new Promise((resolve) => setTimeout(resolve, 2))
    else say(`${name} ${record.offset}`)
  }
}

say('ready')
await Promise.all([write(), read('strict'), read('loose')])
