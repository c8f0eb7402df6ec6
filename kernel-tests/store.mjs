/** The store as it was built, for tests that are no part of the package, and what they check of it. */
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const dist = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../dist')
const load = async (file) => await import(path.join(dist, file))

export const { openStore } = await load('src/log/open-store.js')
export const { RECORD_BATCH_LAYOUT } = await load('src/log/log.js')
export const { verifyStore } = await load('src/log/verify.js')
export const { emptyBatch } = await load('src/protocol/empty-batch.js')
export const { Broker } = await load('src/broker/broker.js')
export const { plainBatch } = await load('test/broker/support/batches.js')
export const { TestClient } = await load('test/broker/support/client.js')
export const { produce } = await load('src/protocol/schemas/00-produce.js')
export const { fetch } = await load('src/protocol/schemas/01-fetch.js')
export const { createTopics } = await load('src/protocol/schemas/19-create-topics.js')
export const { entry, entriesOf } = await load('test/contract/entries.js')
export const { childEntry, LOG_NAMES, SEGMENT_BYTES_MAX } = await load('test/log/store-child-entries.js')
export const layout = RECORD_BATCH_LAYOUT
/** Those whose I/O differs most. */
export const BACKENDS = ['io_uring', 'threads', 'node:fs']
export const ALL_BACKENDS = [...BACKENDS, 'io_uring-buffered', 'mmap']

export function ensure (condition, what) {
  if (!condition) throw new Error(what)
}

/** What a call rejects with or throws. */
export async function errorOf (call) {
  try {
    await call()
  } catch (error) {
    return error
  }
  return undefined
}

export async function errorCodeOf (call) {
  const error = await errorOf(call)
  return error === undefined ? 'no error' : error.code ?? error.message
}

/** Every entry of a log by its id, after checks that they are whole and in order. */
export async function idsOf (log) {
  const ids = []
  for (let offset = log.startOffset; offset < log.committedEndOffset;) {
    const read = await log.read(offset, { bytesMax: 1_000_000, atLeastOneEntry: true })
    for (const { intact, id, baseOffset } of entriesOf(read)) {
      ensure(intact, `${log.name}: the entry at offset ${baseOffset} is damaged`)
      ids.push(id)
    }
    ensure(read.nextOffset > offset, `${log.name}: a read at ${offset} goes nowhere`)
    offset = read.nextOffset
  }
  return ids
}

/** Opens a folder and checks that all that was acknowledged is there, and nothing but what was appended. */
export async function checkAcknowledged (folder, backend, acknowledged) {
  const store = await openStore({ dataDir: folder, backend })
  try {
    for (const name of LOG_NAMES) {
      const log = await store.open(name, { layout, segmentBytesMax: SEGMENT_BYTES_MAX })
      const least = acknowledged.get(name) ?? 0
      ensure(log.endOffset >= least, `${name} ends at ${log.endOffset}, ${least} was acknowledged`)
      const ids = await idsOf(log)
      const base = ids.length === 0 ? log.endOffset : ids[0]
      ensure(base <= log.startOffset && ids.every((id, at) => id === base + at) && base + ids.length === log.endOffset, `${name}: not what was appended`)
    }
  } finally {
    await store.close()
  }
}
