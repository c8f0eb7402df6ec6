/** How a run ends, also before its end (Ctrl-C, a kill, a closed terminal): what is finished is told, and nothing is left behind. */
import { accessSync, constants as access, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { constants } from 'node:os'
import path from 'node:path'

/** `tell` says what is finished. Then the process exits, and its children and folders go with it. */
export function whenInterrupted (tell: () => void): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      try {
        tell()
      } finally {
        process.exit(128 + constants.signals[signal])
      }
    })
  }
}

/** A new folder below `parent`, which is made where it is missing, for as long as this process lives. `name` is what the user called the parent by. */
export function passingFolder (parent: string, name: string): string {
  const folder = named(parent, name, () => {
    makeFolder(path.resolve(parent))
    return mkdtempSync(path.join(parent, 'haulout-bench-'))
  })
  // A child that was just killed may be in the middle of making a file.
  process.once('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
  return folder
}

/** Makes the folder of the results where it is missing. Before the run: a long one is not to end with nowhere to write. */
export function resultsFolder (folder: string, name: string): void {
  named(folder, name, () => {
    makeFolder(path.resolve(folder))
    // With the dot it is refused where it is a file.
    accessSync(`${folder}/.`, access.W_OK)
  })
}

/** One level at a time: Node.js 20's recursive way never comes back where the system knows no such folder, as below /proc. */
function makeFolder (folder: string): void {
  if (existsSync(folder)) return
  makeFolder(path.dirname(folder))
  try {
    mkdirSync(folder)
  } catch (error) {
    if (!existsSync(folder)) throw error
  }
}

function named<T> (folder: string, name: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw new Error(`${name}=${folder} cannot be written to: ${(error as Error).message}`)
  }
}
