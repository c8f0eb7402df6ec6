/** One repetition of the store's side, in a process of its own: the task is one JSON argument, the figures are the last line written. */
import { writeSync } from 'node:fs'
import { run, type Task } from './tasks.js'
import { isForThreads, runInThreads } from './threads.js'

const task = JSON.parse(process.argv[2]!) as Task
const figures = isForThreads(task) ? await runInThreads(task) : await run(task)
writeSync(1, `${JSON.stringify(figures)}\n`)
if (task.kind === 'fill' && task.thenKill) process.kill(process.pid, 'SIGKILL')
process.exit(0)
