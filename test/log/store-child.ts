/** Appends until it is killed; prints `<log> <end offset>` for every acknowledged entry. Arguments: folder, backend, uncovered bytes. */
import { RECORD_BATCH_LAYOUT } from '../../src/log/log.js'
import { openStore, type BackendChoice } from '../../src/log/open-store.js'
import { childEntry, LOG_NAMES, SEGMENT_BYTES_MAX } from './store-child-entries.js'
import { say } from '../support/say.js'

const [folder, backend, uncoveredBytesMax] = process.argv.slice(2)
const store = await openStore({ dataDir: folder!, backend: backend as BackendChoice, ...(uncoveredBytesMax !== undefined && { uncoveredBytesMax: Number(uncoveredBytesMax) }) })
const logs = await Promise.all(LOG_NAMES.map(async (name) => await store.open(name, { layout: RECORD_BATCH_LAYOUT, segmentBytesMax: SEGMENT_BYTES_MAX })))
say('ready 0')
await Promise.all(logs.map(async (log, index) => {
  for (let round = 0; ; round++) {
    const pending = Array.from({ length: (round * 7 + index) % 9 + 1 }, async () => {
      const { baseOffset, committed } = log.append(childEntry(log.name, log.endOffset))
      await committed
      say(`${log.name} ${baseOffset + 1}`)
    })
    await Promise.all(pending)
    if (round % 40 === 39) await log.roll()
    if (round % 60 === 59) await log.truncateFront(Math.max(log.startOffset, log.committedEndOffset - 200))
  }
}))
