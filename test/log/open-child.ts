/** Opens every log of a folder and prints how many bytes that read. Arguments: folder, backend. */
import { readFileSync } from 'node:fs'
import { RECORD_BATCH_LAYOUT } from '../../src/log/log.js'
import { openStore, type BackendChoice } from '../../src/log/open-store.js'

const [folder, backend] = process.argv.slice(2)
const bytesRead = (): number => Number(/^rchar: (\d+)$/m.exec(readFileSync('/proc/self/io', 'latin1'))![1])

const store = await openStore({ dataDir: folder!, backend: backend as BackendChoice })
const before = bytesRead()
for (const name of await store.names()) await store.open(name, { layout: RECORD_BATCH_LAYOUT })
console.log(bytesRead() - before)

await store.close()
