/**
 * `node kernel-tests/run.mjs [--seed N] [PART OF A NAME]`: the store on real file systems of this kernel, with power cuts, bad, full and slow
 * disks. Needs root; what the kernel or the machine lacks is skipped with the reason, each case alone. Works on images that it makes
 * itself, and takes everything away again. docs/reliability.md tells what each case shows.
 */
import { Disks, firstLine, Skip } from './disks.mjs'

const CASE_TIMEOUT_MS = 40_000
/** What has not begun by then is skipped: whoever ends this process by force leaves file systems mounted. */
const RUN_TIMEOUT_MS = 190_000
const given = process.argv.slice(2)
const seedAt = given.indexOf('--seed')
const seed = seedAt === -1 ? Date.now() % 1_000_000 : Number(given.splice(seedAt, 2)[1])
const counts = { passed: 0, failed: 0, skipped: 0 }
/** Of the case that runs. */
let disks

if (process.platform !== 'linux' || process.getuid() !== 0) {
  console.log('skipped - all of it: mounting file systems needs root on Linux')
  counts.skipped++
} else {
  console.log(`# seed ${seed}; again with: node kernel-tests/run.mjs --seed ${seed}`)
  const { powerCuts } = await import('./power-cuts.mjs')
  const { failingDisks } = await import('./failing-disks.mjs')
  const { brokers } = await import('./brokers.mjs')
  const cases = [...powerCuts, ...failingDisks, ...brokers].filter(({ name }) => given.every((part) => name.includes(part)))
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => { void disks?.close().finally(() => process.exit(1)) })
  for (const one of cases) await runCase(one)
}
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`)
process.exit(counts.failed > 0 ? 1 : 0)

async function runCase ({ name, run }) {
  disks = new Disks()
  const startedAtMs = performance.now()
  let outcome
  try {
    if (startedAtMs > RUN_TIMEOUT_MS) throw new Skip('no time is left')
    let timer
    const late = new Promise((resolve, reject) => { timer = setTimeout(() => reject(new Error(`took longer than ${CASE_TIMEOUT_MS} ms`)), CASE_TIMEOUT_MS) })
    const said = await Promise.race([run(disks, seed), late]).finally(() => clearTimeout(timer))
    outcome = `ok - ${name} (${said}; ${Math.round(performance.now() - startedAtMs)} ms)`
    counts.passed++
  } catch (error) {
    const isSkipped = error instanceof Skip
    outcome = isSkipped ? `skipped - ${name}: ${error.message}` : `not ok - ${name}: ${error.stderr === undefined ? error.stack : firstLine(error)}`
    counts[isSkipped ? 'skipped' : 'failed']++
  } finally {
    await disks.close()
  }
  console.log(outcome)
}
