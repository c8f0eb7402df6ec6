/**
 * `node compat-tests/segments/run.mjs`: Apache Kafka's own DumpLogSegments reads the segments of a store, written by each backend and sealed.
 * The batches are those that real clients wrote (test/protocol/fixtures), in every codec.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { KAFKA_ARTIFACTS, mavenClasspath } from '../../scripts/kafka-fetch.mjs'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const { openStore } = await import(path.join(root, 'dist/src/log/open-store.js'))
const { RECORD_BATCH_LAYOUT } = await import(path.join(root, 'dist/src/log/log.js'))
const RECORDS_PER_BATCH = 100
const BACKENDS = ['io_uring', 'threads', 'node:fs']

const fixtures = path.join(root, 'test/protocol/fixtures/batches')
const names = (await readdir(fixtures)).filter((name) => name.endsWith('.bin'))
const batches = await Promise.all(names.map(async (name) => await readFile(path.join(fixtures, name))))
const classpath = await mavenClasspath('kafka', KAFKA_ARTIFACTS)
let failures = 0

for (const backend of BACKENDS) {
  const folder = await mkdtemp(path.join(tmpdir(), 'haulout-segments-'))
  try {
    const store = await openStore({ dataDir: folder, backend })
    const log = await store.open('topic-0', { layout: RECORD_BATCH_LAYOUT, segmentBytesMax: 200_000 })
    for (const batch of batches) await log.append(batch).committed
    await store.close()
    const files = (await readdir(path.join(folder, 'topic-0'))).filter((name) => name.endsWith('.log')).sort()
    const printed = await dump(files.map((name) => path.join(folder, 'topic-0', name)))
    const offsets = [...printed.matchAll(/^\| offset: (\d+) /gm)].map(([, offset]) => Number(offset))
    const valid = [...printed.matchAll(/isvalid: (\w+)/g)].map(([, word]) => word)
    const expected = Array.from({ length: batches.length * RECORDS_PER_BATCH }, (_, index) => index)
    const ok = JSON.stringify(offsets) === JSON.stringify(expected) && valid.length === batches.length && valid.every((word) => word === 'true')
    if (!ok) failures++
    console.log(`${ok ? 'ok' : 'not ok'} - ${store.backend.name}: DumpLogSegments reads ${offsets.length} records in ${valid.length} valid batches of ${files.length} segments`)
    if (!ok) console.log(printed.slice(0, 2_000))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
console.log(`${BACKENDS.length - failures} passed, ${failures} failed`)
process.exitCode = failures === 0 ? 0 : 1

async function dump (files) {
  const { stdout, stderr } = await promisify(execFile)('java', ['-Xmx256m', '-XX:TieredStopAtLevel=1', '-cp', classpath,
    'org.apache.kafka.tools.DumpLogSegments', '--deep-iteration', '--files', files.join(',')], { maxBuffer: 100_000_000 })
  return stdout + stderr
}
