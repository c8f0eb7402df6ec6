/** One repetition of the store's side, in a process of its own: the task is one JSON argument, the figures are the last line written. */
import { writeSync } from 'node:fs'
import { run, type Task } from './tasks.js'
import { isForThreads, runInThreads } from './threads.js'

const task = JSON.parse(process.argv[2]!) as Task
const figures = await (isForThreads(task) ? runInThreads(task) : run(task)).catch((error: unknown) => {
  // What the store or the system refuses is said in a sentence; of a mistake in this program, the place is wanted.
  const { code, message, stack } = error as NodeJS.ErrnoException
  writeSync(2, `${code === undefined ? stack ?? message : message}\n`)
  process.exit(1)
})
writeSync(1, `${JSON.stringify(figures)}\n`)
if (task.kind === 'fill' && task.thenKill) process.kill(process.pid, 'SIGKILL')
process.exit(0)
