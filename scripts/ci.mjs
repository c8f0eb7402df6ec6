/**
 * Runs every layer of the tests from a clean clone, one step after the other, and ends with the sum of what they counted.
 * A step that prints its own counts ("N passed, N failed", or tap's summary) adds those; any other counts as one test.
 * `node scripts/ci.mjs NAME...` runs only the named steps. A step that hangs ends at its own deadline, and all of them at that of the whole run;
 * together they take about 22 minutes, and on a machine that has nothing yet 4 more.
 */
import { runStep } from './ci-step.mjs'

const MINUTES = 60_000
const RUN_MS = 29 * MINUTES

const steps = [
  { name: 'setup', command: 'scripts/setup', timeoutMs: 5 * MINUTES },
  { name: 'test', command: 'npm test', timeoutMs: 8 * MINUTES },
  { name: 'schemas', command: 'npm run --silent check:schemas', timeoutMs: 1 * MINUTES },
  { name: 'model', command: 'npm run --silent check:model', timeoutMs: 3 * MINUTES },
  { name: 'native', command: 'npm run --silent test:native', timeoutMs: 14 * MINUTES },
  { name: 'package', command: 'npm run --silent test:package', timeoutMs: 2 * MINUTES },
  { name: 'segments', command: 'npm run --silent test:segments', timeoutMs: 1 * MINUTES },
  { name: 'bench', command: 'npm run --silent bench -- --no-kafka --only produce wire --seconds 1 --repetitions 1', timeoutMs: 2 * MINUTES },
  { name: 'kernel', command: 'npm run --silent test:kernel', timeoutMs: 4 * MINUTES },
  { name: 'compat', command: 'npm run --silent test:compat', timeoutMs: 8 * MINUTES }
]

const names = process.argv.slice(2)
const totals = { passed: 0, failed: 0, skipped: 0 }
const ending = new AbortController()
// A step's processes are in a group of their own, which Ctrl-C does not reach.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => ending.abort(signal))
for (const step of steps.filter(({ name }) => names.length === 0 || names.includes(name))) {
  if (ending.signal.aborted) break
  console.log(`\n--- ${step.name}: ${step.command}`)
  const startedAtMs = performance.now()
  const deadlineMs = Math.max(0, Math.min(step.timeoutMs, RUN_MS - performance.now()))
  const { output, exitCode, isLate } = await runStep(step.command, deadlineMs, (chunk) => process.stdout.write(chunk), { ending: ending.signal })
  if (isLate) console.log(`--- took longer than ${(deadlineMs / MINUTES).toFixed(1)} minutes: ended`)
  const counts = countsOf(output, exitCode)
  for (const key of Object.keys(totals)) totals[key] += counts[key]
  const seconds = Math.round((performance.now() - startedAtMs) / 1000)
  console.log(`--- ${step.name}: exit code ${exitCode}; passed ${counts.passed}, failed ${counts.failed}; ${seconds} s`)
}
if (ending.signal.aborted) console.log(`ended by ${ending.signal.reason}: not every step was run`)
if (totals.skipped > 0) console.log(`${totals.skipped} skipped: each said why`)
console.log(`${totals.passed} passed, ${totals.failed} failed`)
process.exitCode = ending.signal.aborted ? 130 : totals.failed > 0 ? 1 : 0

function countsOf (output, exitCode) {
  const counts = lastPlainCounts(output) ?? lastTapCounts(output) ?? { passed: exitCode === 0 ? 1 : 0, failed: 0, skipped: 0 }
  if (exitCode !== 0 && counts.failed === 0) counts.failed = 1
  return counts
}

function lastPlainCounts (output) {
  const match = [...output.matchAll(/^(?:\w+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/gm)].at(-1)
  return match && { passed: Number(match[1]), failed: Number(match[2]), skipped: Number(match[3] ?? 0) }
}

function lastTapCounts (output) {
  const match = [...output.matchAll(/^\s*# \{ total: .*\}$/gm)].at(-1)
  if (!match) return undefined
  const count = (name) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(match[0])?.[1] ?? 0)
  return { passed: count('pass'), failed: count('fail'), skipped: count('skip') + count('todo') }
}
