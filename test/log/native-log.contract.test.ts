/** The contract on the native engine, with each of its backends; skipped, with the reason, where there is no addon. */
import t from 'tap'
import { loadBinding } from '../../src/binding.js'
import { openNativeStore } from '../../src/log/native-log.js'
import { logContract } from '../contract/log-contract.js'

const loaded = loadBinding()
const skip = 'reason' in loaded ? loaded.reason : false
for (const backend of ['io_uring', 'threads'] as const) {
  await t.test(backend, { skip }, async (t) => {
    await logContract(t, {
      name: backend,
      reopens: true,
      open: async (folder, flushPolicy) => await openNativeStore(folder, { backend, ...(flushPolicy !== undefined && { flushPolicy }) })
    })
  })
}
