/** A step of CI that takes too long: what it started is given the time to end in order, and nothing of it is left. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { until } from '../hostile/support.js'
import { PLAIN_NODE } from '../support/plain-node.js'

interface Ended { readonly output: string, readonly exitCode: number | string, readonly isLate: boolean }

const root = new URL('../../../', import.meta.url)
const { runStep } = await import(new URL('scripts/ci-step.mjs', root).href) as { runStep: (command: string, deadlineMs: number, onOutput?: (chunk: Buffer) => void, options?: { endingMs?: number, ending?: AbortSignal }) => Promise<Ended> }
const LONG_MS = 60_000

/** A killed process is there until the kernel has taken it apart. */
async function isGone (pid: number): Promise<void> {
  const there = (): boolean => {
    try {
      return /^State:\s+[^ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
    } catch {
      return false
    }
  }
  await until(() => !there(), `process ${pid} is gone`)
}

test('a step that ends by itself', { skip: process.platform !== 'linux' }, async (t) => {
  t.same(await runStep('echo out; echo error >&2; exit 3', LONG_MS), { output: 'out\nerror\n', exitCode: 3, isLate: false })
})

test('a step that is late is asked to end, with all of its group', { skip: process.platform !== 'linux' }, async (t) => {
  const { output, isLate } = await runStep('trap "echo in order; exit 0" TERM; sleep 1000 & echo $!; wait', 2_000, undefined, { endingMs: LONG_MS })
  t.ok(isLate)
  t.match(output, /^\d+\n(?:.*\n)?in order\n$/)
  await isGone(Number.parseInt(output))
})

test('a step that does not listen is killed, with all of its group', { skip: process.platform !== 'linux' }, async (t) => {
  const { output, exitCode, isLate } = await runStep('trap "" TERM; sleep 1000 & echo $!; wait', 500, undefined, { endingMs: 200 })
  t.match({ exitCode, isLate }, { exitCode: 'SIGKILL', isLate: true })
  await isGone(Number.parseInt(output))
})

test('a step that is not to go on is asked to end, too', { skip: process.platform !== 'linux' }, async (t) => {
  const ending = new AbortController()
  const { output, exitCode, isLate } = await runStep('trap "echo in order; exit 7" TERM; sleep 1000 & echo $!; wait', LONG_MS, () => ending.abort(), { endingMs: LONG_MS, ending: ending.signal })
  t.match({ exitCode, isLate }, { exitCode: 7, isLate: false })
  t.match(output, /in order\n$/)
  await isGone(Number.parseInt(output))
})

test('the compatibility tests, asked to end, take the programs of clients with them and what those started', { skip: process.platform !== 'linux' }, async (t) => {
  const driver = new URL('compat-tests/driver/', root).href
  const program = `import '${driver}brokers.mjs'
    const { start } = await import('${driver}programs.mjs')
    start({ command: ['bash', '-c', 'sleep 1000 & echo $$ $!; wait'], folder: '.' }, 'verb', {}, console.log)`
  const child = spawn('env', [...PLAIN_NODE, '--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(child.stdout, 'data') as [Buffer]
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  t.same(await ended, [130, null])
  for (const pid of line.toString().trim().split(' ')) await isGone(Number(pid))
})
