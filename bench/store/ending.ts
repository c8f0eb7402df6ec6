/** How a run ends, also before its end (Ctrl-C, a kill, a closed terminal): what is finished is told, and nothing is left behind. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
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
  try {
    mkdirSync(parent, { recursive: true })
    const folder = mkdtempSync(path.join(parent, 'haulout-bench-'))
    // A child that was just killed may be in the middle of making a file.
    process.once('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
    return folder
  } catch (error) {
    throw new Error(`${name}=${parent} cannot be written to: ${(error as Error).message}`)
  }
}
