/** The contract on the native engine, with each of its backends, alone and shared between threads; skipped, with the reason, where there is no addon. */
import t from 'tap'
import { loadBinding } from '../../src/binding.js'
import { openNativeStore } from '../../src/log/native-log.js'
import { logContract } from '../contract/log-contract.js'

t.setTimeout(120_000)

const loaded = loadBinding()
const skip = 'reason' in loaded ? loaded.reason : false
for (const [backend, shared] of [
  ['io_uring', false], ['io_uring-buffered', false], ['threads', false], ['mmap', false], ['io_uring', true], ['threads', true]
] as const) {
  const name = shared ? `${backend}, shared` : backend
  await t.test(name, { skip }, async (t) => {
    await logContract(t, {
      name,
      reopens: true,
      shared,
      // The first and the last choice wait for a disk; what the others add has nothing to do with one.
      place: !shared && (backend === 'io_uring' || backend === 'threads') ? 'disk' : 'memory',
      open: async (folder, flushPolicy) => await openNativeStore(folder, { backend, shared, ...(flushPolicy !== undefined && { flushPolicy }) })
    })
  })
}
