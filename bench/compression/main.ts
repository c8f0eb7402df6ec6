/**
 * What compressed segments save and cost here: `npm run bench:compression`. One log of 64 MiB of JSON records in batches of 16 KiB is written
 * three times, plain and with each codec; then it is read from its files from the front to the back, and at random places.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { crc32c } from '../../src/crc32c.js'
import { RECORD_BATCH_LAYOUT as layout, SEGMENT_COMPRESSIONS, type Log, type SegmentCompression } from '../../src/log/log.js'
import { openStore } from '../../src/log/open-store.js'

const ENTRY_BYTES = 16 * 1024
const ENTRY_COUNT = 4096
const SEGMENT_BYTES_MAX = 16 * 1024 * 1024
const RANDOM_READS = 2_000
const MIB = 1024 * 1024

/** Orders as a shop would log them: some fields repeat, some are random. */
function batch (id: number): Buffer {
  const records: string[] = []
  let bytes = layout.headerBytes
  for (let at = 0; bytes < ENTRY_BYTES; at++) {
    const order = { orderId: crypto.randomUUID(), customer: Math.floor(Math.random() * 100_000), status: ['created', 'paid', 'shipped'][at % 3], amountCents: Math.floor(Math.random() * 1e6), at: new Date(1.8e12 + id * 1000 + at).toISOString() }
    records.push(JSON.stringify(order))
    bytes += records.at(-1)!.length + 1
  }
  const entry = Buffer.alloc(ENTRY_BYTES)
  entry.write(records.join('\n'), layout.headerBytes, 'latin1')
  entry.writeInt32BE(ENTRY_BYTES - layout.lengthExtraBytes, layout.lengthAt)
  entry.writeInt8(layout.magic, layout.magicAt)
  entry.writeUInt32BE(crc32c(entry.subarray(layout.checksumFrom)), layout.checksumAt)
  return entry
}

async function readAll (log: Log): Promise<number> {
  const begunMs = performance.now()
  for (let offset = 0; offset < log.endOffset;) {
    const read = await log.read(offset, { bytesMax: MIB, atLeastOneEntry: true })
    offset = read.nextOffset
    read.release?.()
  }
  return log.bytes / MIB / (performance.now() - begunMs) * 1000
}

async function readRandom (log: Log): Promise<number> {
  const times: number[] = []
  for (let reads = 0; reads < RANDOM_READS; reads++) {
    const begunMs = performance.now()
    const read = await log.read(Math.floor(Math.random() * log.endOffset), { bytesMax: 1, atLeastOneEntry: true })
    times.push(performance.now() - begunMs)
    read.release?.()
  }
  return times.sort((a, b) => a - b)[RANDOM_READS / 2]!
}

async function measure (segmentCompression: SegmentCompression, entries: readonly Buffer[]): Promise<Readonly<Record<string, string>>> {
  const dataDir = mkdtempSync(path.join(process.env['BENCH_DIR'] ?? tmpdir(), 'haulout-compression-'))
  try {
    let store = await openStore({ dataDir, flushPolicy: { kind: 'none' } })
    let log = await store.open('orders', { layout, segmentBytesMax: SEGMENT_BYTES_MAX })
    for (const entry of entries) log.append(entry)
    await log.roll()
    await store.close()
    store = await openStore({ dataDir, segmentCompression })
    const { user, system } = process.cpuUsage()
    const begunMs = performance.now()
    log = await store.open('orders', { layout })
    while (segmentCompression !== 'none' && log.segments().some(({ compression }) => compression === 'none')) await sleep(1)
    const tookMs = performance.now() - begunMs
    const cpu = process.cpuUsage({ user, system })
    const stored = log.segments().reduce((sum, { storedBytes }) => sum + storedBytes, 0)
    const result = {
      'MiB on disk': (stored / MIB).toFixed(1),
      'of plain': `${(100 * stored / log.bytes).toFixed(0)} %`,
      'made at MiB/s': segmentCompression === 'none' ? '-' : (log.bytes / MIB / tookMs * 1000).toFixed(0),
      'CPU ms per MiB': segmentCompression === 'none' ? '-' : ((cpu.user + cpu.system) / 1000 / (log.bytes / MIB)).toFixed(1),
      'read at MiB/s': (await readAll(log)).toFixed(0),
      'random read, median us': ((await readRandom(log)) * 1000).toFixed(0)
    }
    await store.close()
    return result
  } finally {
    rmSync(dataDir, { recursive: true })
  }
}

const entries = Array.from({ length: ENTRY_COUNT }, (_, id) => batch(id))
const table: Record<string, Readonly<Record<string, string>>> = {}
for (const compression of SEGMENT_COMPRESSIONS) table[compression] = await measure(compression, entries)
console.table(table)
