/** Raw topics as programs use them: on every kind of store, across restarts, with mistakes. */
import { test } from 'tap'
import { Log, put, tombstone, type LogRecord, type SharedOptions } from '../../src/raw/index.js'
import { makeFolder } from '../log/native-support.js'

const values = (records: readonly LogRecord[]): string[] => records.map(({ value }) => String(value))

async function all (records: AsyncIterable<LogRecord>): Promise<LogRecord[]> {
  const found: LogRecord[] = []
  for await (const record of records) found.push(record)
  return found
}

for (const backend of ['io_uring', 'threads', 'node:fs', 'memory'] as const) {
  test(backend, async (t) => {
    const open = async (dataDir: string, options: SharedOptions = {}): Promise<Log> =>
      backend === 'memory' ? await Log.inMemory(options) : await Log.open({ dataDir, backend, ...options })

    t.test('what is appended in one turn has offsets without a gap and is read in order', async (t) => {
      await using log = await open(makeFolder(t))
      const topic = await log.topic('events')
      const appended = [topic.append('a'), topic.append(Buffer.from('b')), topic.append(put('k', 'c')), topic.append(tombstone('k'))]
      const batch = topic.appendBatch(['d', { key: 'x', value: 'e' }])
      t.same(appended.map(({ offset }) => offset), [0, 1, 2, 3])
      t.match(batch, { baseOffset: 4, count: 2 })
      t.equal(topic.endOffset, 6)
      await Promise.all([...appended, batch].map(({ committed }) => committed))
      t.equal(topic.committedEndOffset, 6)
      const { records, nextOffset } = await topic.read(0)
      t.equal(nextOffset, 6)
      t.same(records.map(({ offset, key, value }) => [offset, key?.toString() ?? null, value?.toString() ?? null]), [
        [0, null, 'a'], [1, null, 'b'], [2, 'k', 'c'], [3, 'k', null], [4, null, 'd'], [5, 'x', 'e']
      ])
      t.same(values(await all(topic.replay({ from: 4 }))), ['d', 'e'])
    })
  })
}
