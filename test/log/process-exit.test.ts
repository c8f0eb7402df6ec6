/** What was accepted is there when a process or a thread ended in the same turn, however it ended, as long as nobody killed it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { loadBinding } from '../../src/binding.js'
import { RECORD_BATCH_LAYOUT } from '../../src/log/log.js'
import { openStore } from '../../src/log/open-store.js'
import { Log } from '../../src/raw/index.js'
import { testFolder } from '../contract/entries.js'
import { PLAIN_NODE } from '../support/plain-node.js'
import { BATCH_COUNT, ENTRY_COUNT, LOG_NAMES, STORES, type End, type ExitStore } from './exit-child.js'

const CHILD = fileURLToPath(new URL('./exit-child.js', import.meta.url))
const ENDS: readonly End[] = ['exit', 'throw', 'exit-listener', 'worker-ends', 'worker-exits', 'worker-is-terminated', 'beside-a-worker']

const loaded = loadBinding()
if ('reason' in loaded) {
  t.pass('no addon here', { skip: loaded.reason })
  process.exit()
}

async function endOffsets (dataDir: string, raw: boolean): Promise<readonly number[]> {
  if (raw) {
    await using log = await Log.open({ dataDir })
    return [(await log.topic('topic')).endOffset]
  }
  const store = await openStore({ dataDir })
  const logs = await Promise.all(LOG_NAMES.map(async (name) => await store.open(name, { layout: RECORD_BATCH_LAYOUT })))
  const ends = logs.map(({ endOffset }) => endOffset)
  await store.close()
  return ends
}

/** Records that were appended in a turn are handed to the store at its end, which a thread that is stopped from outside does not reach. */
function isExpected (how: End, { raw }: ExitStore): boolean {
  return !raw || !(how === 'worker-is-terminated' || how === 'beside-a-worker')
}

for (const how of ENDS) {
  t.test(how, async (t) => {
    const dir = testFolder(t, 'disk')
    const child = spawn('env', [...PLAIN_NODE, CHILD, dir, how], { stdio: ['ignore', 'ignore', how === 'throw' ? 'ignore' : 'inherit'] })
    t.strictSame(await once(child, 'close'), [how === 'throw' ? 1 : 0, null])
    for (const [index, store] of STORES.entries()) {
      if (!isExpected(how, store)) continue
      const { flushPolicy, backend, shared, raw } = store
      t.strictSame(await endOffsets(join(dir, String(index)), raw), raw ? [ENTRY_COUNT + BATCH_COUNT + 1] : LOG_NAMES.map(() => ENTRY_COUNT),
        `${raw ? 'topic' : 'logs'}, ${flushPolicy.kind}, ${backend}${shared ? ', shared' : ''}`)
    }
  })
}
