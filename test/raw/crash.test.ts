/** kill -9 at any moment: a batch is there or not, what was acknowledged is, and cursors stand where their consistency says. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { test } from 'tap'
import { Log, type BackendChoice } from '../../src/raw/index.js'
import { makeFolder } from '../log/native-support.js'
import { PLAIN_NODE } from '../support/plain-node.js'

const CHILD = path.join(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), 'child.js')
const ROUNDS = 4
const BACKENDS: readonly BackendChoice[] = process.platform === 'linux' ? ['io_uring', 'node:fs'] : ['node:fs']

/** Runs the child until it is killed, after so many lines; returns what it said. */
async function runAndKill (dataDir: string, backend: BackendChoice, lineCount: number): Promise<readonly string[]> {
  const child = spawn('env', [...PLAIN_NODE, CHILD, dataDir, backend], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  let lines = 0
  child.stdout.on('data', (bytes: Buffer) => {
    text += String(bytes)
    for (const byte of bytes) if (byte === 10) lines++
    if (lines >= lineCount) child.kill('SIGKILL')
  })
  await once(child, 'close')
  return text.slice(0, text.lastIndexOf('\n')).split('\n')
}

for (const backend of BACKENDS) {
  test(`${backend}: killed ${ROUNDS} times`, async (t) => {
    const dataDir = makeFolder(t)
    const acknowledged: Array<readonly [offset: number, count: number]> = []
    const strict: number[] = []
    let looseMax = -1
    for (let round = 0; round < ROUNDS; round++) {
      const lines = await runAndKill(dataDir, backend, 30 + round * 211)
      t.equal(lines[0], 'ready')
      for (const line of lines) {
        const [what, first, second] = line.split(' ')
        if (what === 'batch') acknowledged.push([Number(first), Number(second)])
        if (what === 'strict') strict.push(Number(first))
        if (what === 'loose') looseMax = Number(first)
      }
      await using log = await Log.open({ dataDir, backend, segmentBytesMax: 600_000 })
      const topic = await log.topic('batches')
      const { offsets, broken } = await check(topic)
      t.same(broken, [], `no batch in pieces; ${topic.endOffset - offsets.size} offsets of batches that were cut off`)
      t.ok(acknowledged.every(([offset, count]) => offsets.has(offset) && offsets.has(offset + count - 1)), `${acknowledged.length} acknowledged batches are there`)
      t.ok(strict.every((offset, index) => index === 0 || offset > strict[index - 1]!), 'no record was handed out twice')
      t.ok(topic.cursor('strict').position > (strict.at(-1) ?? -1), 'strictly at once')
      t.ok(topic.cursor('loose').position >= looseMax - 50 && topic.cursor('loose').position <= topic.endOffset, 'at least once: at most 50 again')
    }
    t.ok(acknowledged.length > ROUNDS)
  })
}

/** All offsets that are there, and batches of which some records are there and others are not. */
async function check (topic: Awaited<ReturnType<Log['topic']>>): Promise<{ readonly offsets: ReadonlySet<number>, readonly broken: readonly string[] }> {
  const offsets = new Set<number>()
  const broken: string[] = []
  let expected: { readonly batch: string, readonly count: number, readonly index: number } | undefined
  for await (const { offset, value } of topic.replay()) {
    const [batch, count, index] = value!.subarray(0, 40).toString().split(' ')
    offsets.add(offset)
    if (expected !== undefined ? batch !== expected.batch || Number(index) !== expected.index : index !== '0') broken.push(`${offset}: ${batch} ${index}`)
    expected = Number(index) + 1 < Number(count) ? { batch: batch!, count: Number(count), index: Number(index) + 1 } : undefined
  }
  if (expected !== undefined) broken.push(`end: ${expected.batch}`)
  return { offsets, broken }
}
