/** The store itself, one process a repetition. */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Task } from '../tasks.js'
import { tied } from '../tools.js'

const PROGRAM = path.join(path.dirname(fileURLToPath(import.meta.url)), '../haulout-process.js')

/** The figures of one task. */
export async function haulout (task: Task, nodeOptions: readonly string[] = []): Promise<Record<string, number>> {
  const running = promisify(execFile)(process.execPath, [...nodeOptions, PROGRAM, JSON.stringify(task)])
  tied(running.child)
  const { stdout } = await running.catch((error: unknown) => {
    const ended = error as { readonly signal?: string, readonly stdout: string, readonly stderr: string, readonly message: string }
    // A task that ends with a kill has written its figures before.
    if (ended.signal === 'SIGKILL' && task.kind === 'fill' && task.thenKill) return ended
    throw new Error(ended.stderr.trim() || ended.message)
  })
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, number>
}
