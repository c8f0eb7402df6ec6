import { readdirSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { openFileStore } from '../../src/log/file-log-store.js'
import { RECORD_BATCH_LAYOUT as layout } from '../../src/log/log.js'
import { entriesOf, entry, testFolder } from '../contract/entries.js'
import { logContract } from '../contract/log-contract.js'

await logContract(t, {
  name: 'node:fs',
  reopens: true,
  open: async (folder, flushPolicy) => await openFileStore(folder, flushPolicy === undefined ? {} : { flushPolicy })
})

t.test('a folder that cannot be made is told, also where the system knows none of its names', { skip: process.platform !== 'linux' && 'looks at /proc' }, async t => {
  for (const folder of ['/proc/haulout-test', '/proc/haulout-test/below']) await t.rejects(openFileStore(folder), { code: 'failed', message: /open the folder \/proc\/haulout-test/ })
  const store = await openFileStore(`${testFolder(t)}/one/two`)
  await store.close()
})

t.test('logs that do nothing give their files back', { skip: process.platform === 'linux' ? false : 'the open files are read from /proc' }, async t => {
  const folder = testFolder(t, 'memory')
  const openFiles = (): number => readdirSync('/proc/self/fd').map((descriptor) => fileOf(descriptor)).filter((file) => file.startsWith(folder)).length
  const store = await openFileStore(folder)
  const logs = await Promise.all(Array.from({ length: 300 }, async (_, at) => await store.open(`log-${at}`, { layout })))
  for (let round = 0; round < 2; round++) {
    await Promise.all(logs.map(async (log) => await log.append(entry({ id: round, bytes: 200 })).committed))
    while (openFiles() > 260) await sleep(5)
    t.ok(openFiles() >= 256, 'those that had a turn last keep theirs')
  }
  const reads = await Promise.all(logs.map(async (log) => await log.read(0, { bytesMax: 1_000 })))
  t.ok(reads.every((read) => entriesOf(read).map(({ id }) => id).join() === '0,1'), 'all of it is there')
  await store.close()
  t.equal(openFiles(), 0)
})

function fileOf (descriptor: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`)
  } catch {
    return '' // closed meanwhile
  }
}
