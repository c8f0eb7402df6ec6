/** Folders that were written when their format was made (golden/README.md): whoever changes how a folder is read must still open them. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliDecompressSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { loadBinding } from '../../src/binding.js'
import { RECORD_BATCH_LAYOUT as layout } from '../../src/log/log.js'
import { openStore, type BackendChoice } from '../../src/log/open-store.js'
import { verifyStore } from '../../src/log/verify.js'
import { emptyBatch } from '../../src/protocol/empty-batch.js'
import { lackOfAny } from '../contract/compression-contract.js'
import { entriesOf, entry, testFolder } from '../contract/entries.js'

const golden = fileURLToPath(new URL('../../../test/log/golden/', import.meta.url))
const layouts = [{ name: 'record-batch', layout, emptyEntry: emptyBatch }]
const backends: readonly BackendChoice[] = 'binding' in loadBinding() ? ['node:fs', 'io_uring', 'threads'] : ['node:fs']

const whole = (end: number): Offsets => ({ start: 0, end })
interface Offsets {
  readonly start: number
  readonly end: number
}
/** Of each log. */
const expected: Readonly<Record<string, Readonly<Record<string, Offsets>>>> = {
  'version-1-closed': { full: { start: 70, end: 150 }, short: whole(5) },
  'version-1-killed': { worn: { start: 70, end: 190 }, later: whole(40), a: whole(40), b: whole(40), c: whole(40), d: whole(40), e: whole(40) },
  'version-2-closed': { zstd: whole(100), lz4: whole(100) }
}

function unpack (t: Test, name: string): string {
  const folder = testFolder(t, 'memory')
  for (const file of readdirSync(path.join(golden, name), { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.br')) continue
    const to = path.join(folder, file.slice(0, -3))
    mkdirSync(path.dirname(to), { recursive: true })
    writeFileSync(to, brotliDecompressSync(readFileSync(path.join(golden, name, file))))
  }
  return folder
}

t.test('every folder is here, and this is every folder', async (t) => {
  t.same(readdirSync(golden).filter((name) => name.startsWith('version-')).sort(), Object.keys(expected).sort())
})

for (const [name, logs] of Object.entries(expected)) {
  t.test(name, async (t) => {
    const lackOf = async (backend: BackendChoice): Promise<string | false> =>
      name.startsWith('version-2') && await lackOfAny(async () => await openStore({ dataDir: testFolder(t, 'memory'), backend }))
    // What looks at every byte has the codecs of node:fs.
    const isVerified = await lackOf('node:fs') === false
    for (const backend of backends) {
      const lack = await lackOf(backend)
      if (lack !== false) {
        t.comment(`${backend}: ${lack}`)
        continue
      }
      const folder = unpack(t, name)
      if (isVerified) t.equal((await verifyStore(folder, { layouts })).damageCount, 0)
      for (const life of [0, 1]) {
        const store = await openStore({ dataDir: folder, backend })
        t.same([...await store.names()].sort(), Object.keys(logs).sort())
        for (const [logName, { start, end }] of Object.entries(logs)) {
          const log = await store.open(logName, { layout, segmentBytesMax: 20_000 })
          t.same([log.startOffset, log.endOffset], [start, end + life], `${backend}: ${logName}`)
          const read = entriesOf(await log.read(start, { bytesMax: 1e9 }))
          t.same(read.map(({ id, baseOffset, intact }) => intact && id === baseOffset ? id : 'wrong'), Array.from({ length: end + life - start }, (_, at) => start + at))
          t.same(await log.entryAtTimestamp(1_000 + end - 1), { baseOffset: end - 1, timestampMaxMs: 999 + end })
          await log.append(entry({ id: log.endOffset, bytes: 300, timestampMs: 1_000 + log.endOffset })).committed
        }
        await store.close()
      }
      if (isVerified) t.equal((await verifyStore(folder, { layouts })).damageCount, 0)
    }
  })
}
