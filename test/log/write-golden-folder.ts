/** `node dist/test/log/write-golden-folder.js NAME FOLDER`: writes a folder of test/log/golden (its README.md says what is in each). */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { brotliCompressSync } from 'node:zlib'
import { readJournal } from '../../src/log/journal.js'
import { RECORD_BATCH_LAYOUT as layout, type Log } from '../../src/log/log.js'
import { openStore } from '../../src/log/open-store.js'
import { untilCompressed } from '../contract/compression-contract.js'
import { entry } from '../contract/entries.js'

async function append (log: Log, count: number): Promise<void> {
  for (const end = log.endOffset + count; log.endOffset < end;) {
    const id = log.endOffset
    await log.append(entry({ id, bytes: 300 + id * 37 % 500, timestampMs: 1_000 + id })).committed
  }
}

/** A copy of the folder as a kill would leave it. */
const copy = (from: string, to: string): void => cpSync(from, to, { recursive: true, filter: (file) => !file.endsWith('.lock') })

async function until (condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(2)
}

const writers: Readonly<Record<string, (folder: string, to: string) => Promise<void>>> = {
  async 'version-1-closed' (folder, to) {
    const store = await openStore({ dataDir: folder, backend: 'node:fs' })
    const log = await store.open('full', { layout, segmentBytesMax: 20_000 })
    await append(log, 150)
    await log.truncateFront(70)
    await append(await store.open('short', { layout }), 5)
    await store.close()
    copy(folder, to)
  },

  async 'version-1-killed' (folder, to) {
    const store = await openStore({ dataDir: folder, uncoveredBytesMax: 8_000 })
    const worn = await store.open('worn', { layout, segmentBytesMax: 20_000 })
    const later = await store.open('later', { layout, flushPolicy: { kind: 'none' } })
    await append(worn, 150)
    await worn.truncateFront(70)
    await append(worn, 40)
    await append(later, 40)
    await later.flush()
    const together = await Promise.all(['a', 'b', 'c', 'd', 'e'].map(async (name) => await store.open(name, { layout })))
    await until(async () => {
      await Promise.all(together.map(async (log) => await append(log, 10)))
      return existsSync(path.join(folder, 'haulout.journal')) && (await readJournal(folder)).size === together.length
    })
    copy(folder, to)
    await store.close()
  },

  async 'version-2-closed' (folder, to) {
    const store = await openStore({ dataDir: folder })
    for (const codec of ['zstd', 'lz4'] as const) {
      const log = await store.open(codec, { layout, segmentBytesMax: 20_000, segmentCompression: codec })
      await append(log, 100)
      await untilCompressed(log)
    }
    await store.close()
    copy(folder, to)
  }
}

/** Reserved space is zeros, so files are kept compressed. */
function pack (folder: string): void {
  for (const file of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!file.isFile()) continue
    const name = path.join(file.parentPath, file.name)
    writeFileSync(`${name}.br`, brotliCompressSync(readFileSync(name)))
    rmSync(name)
  }
}

const [name, to] = process.argv.slice(2) as [string, string]
const folder = mkdtempSync('/var/tmp/haulout-golden-')
mkdirSync(to, { recursive: true })
await writers[name]!(folder, to)
pack(to)
rmSync(folder, { recursive: true })
