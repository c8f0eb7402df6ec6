import t from 'tap'
import { MemoryLogStore } from '../../src/log/memory-log.js'
import { logContract } from '../contract/log-contract.js'

await logContract(t, { name: 'memory', reopens: false, open: async () => new MemoryLogStore() })
