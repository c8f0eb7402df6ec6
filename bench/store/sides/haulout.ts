/** The store itself, one process a repetition. */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Task } from '../tasks.js'

const PROGRAM = path.join(path.dirname(fileURLToPath(import.meta.url)), '../haulout-process.js')

/** The figures of one task. */
export async function haulout (task: Task, nodeOptions: readonly string[] = []): Promise<Record<string, number>> {
  const { stdout } = await promisify(execFile)(process.execPath, [...nodeOptions, PROGRAM, JSON.stringify(task)]).catch((error: unknown) => {
    // A task that ends with a kill has written its figures before.
    const killed = error as { readonly signal?: string, readonly stdout: string }
    if (killed.signal === 'SIGKILL' && task.kind === 'fill' && task.thenKill) return killed
    throw error
  })
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, number>
}
