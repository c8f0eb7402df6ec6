import t from 'tap'
import { openFileStore } from '../../src/log/file-log-store.js'
import { logContract } from '../contract/log-contract.js'

await logContract(t, {
  name: 'node:fs',
  reopens: true,
  open: async (folder, flushPolicy) => await openFileStore(folder, flushPolicy === undefined ? {} : { flushPolicy })
})
