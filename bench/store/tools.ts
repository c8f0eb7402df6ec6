/** The shared helpers of scripts and compat-tests, which are plain modules beside the compiled ones: the cache, and programs of others. */
import type { ChildProcess } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** The repository's folder. This file runs as dist/bench/store/tools.js. */
export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..')

interface Need {
  readonly command?: string
  /** Or a file that is there when it is: the headers of a library. */
  readonly file?: string
  /** Debian's package that has it. */
  readonly package: string
}

interface Tools {
  cached (name: string, ingredients: unknown, fill: (folder: string) => Promise<void>): Promise<string>
  execute (command: string, args: readonly string[], options?: { cwd?: string, env?: Record<string, string>, timeoutMs?: number }): Promise<string>
  system (...needs: readonly Need[]): Promise<void>
  complaintOf (output: string): string
  tied<T extends ChildProcess> (child: T): T
}

export const { cached, complaintOf, execute, system, tied } = await import(pathToFileURL(path.join(ROOT, 'compat-tests/driver/prepare.mjs')).href) as Tools
