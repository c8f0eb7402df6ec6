/**
 * Appends until it is killed or everything failed, and prints what happens, one line each: `ack <log> <end offset>`, `failed <log> <code>`.
 * Arguments: folder, backend, seed. Entries are those of test/log/store-child-entries.ts: they follow from log and offset.
 */
import { writeSync } from 'node:fs'
import { childEntry, LOG_NAMES, openStore, RECORD_BATCH_LAYOUT, SEGMENT_BYTES_MAX } from './store.mjs'

const [folder, backend, seedText] = process.argv.slice(2)
const seed = Number(seedText)
const store = await openStore({ dataDir: folder, backend, uncoveredBytesMax: 200_000 })
const logs = await Promise.all(LOG_NAMES.map(async (name) => await store.open(name, { layout: RECORD_BATCH_LAYOUT, segmentBytesMax: SEGMENT_BYTES_MAX })))
writeSync(1, `ready ${store.backend.name} ${store.backend.direct}\n`)
await Promise.all(logs.map(async (log, index) => {
  try {
    for (let round = 0; ; round++) {
      const pending = Array.from({ length: (round * 7 + index + seed) % 9 + 1 }, async () => {
        const { baseOffset, committed } = log.append(childEntry(log.name, log.endOffset))
        await committed
        writeSync(1, `ack ${log.name} ${baseOffset + 1}\n`)
      })
      await Promise.all(pending)
      if (round % 40 === 39) await log.roll()
      if (round % 60 === 59) await log.truncateFront(Math.max(log.startOffset, log.committedEndOffset - 400))
    }
  } catch (error) {
    writeSync(1, `failed ${log.name} ${error.code ?? error.message}\n`)
  }
}))
// Nothing more can be done; whoever cut the power ends this process.
setInterval(() => {}, 1_000)
