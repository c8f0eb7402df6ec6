/** How many files and sockets the process may have open, and how many of them its clients may take. */
import { readFileSync } from 'node:fs'

/** The listeners, standard streams, and what is open for a moment only: an index, a folder that is synced, a module that is loaded. */
const OPEN_FILES_FOR_OTHERS = 32

/** Undefined where that cannot be told. */
export function openFilesMax (): number | undefined {
  try {
    const [, soft] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? []
    return soft === undefined ? undefined : Number(soft)
  } catch {
    return undefined
  }
}

/**
 * The segments of logs may take half of what may be open; connections beyond the other half would keep logs from being opened, and the
 * kernel would drop further ones without a word to anybody.
 */
export function connectionsWithin (connectionsMax: number, filesMax: number | undefined): number {
  if (filesMax === undefined) return connectionsMax
  return Math.min(connectionsMax, Math.max(1, Math.floor(filesMax / 2) - OPEN_FILES_FOR_OTHERS))
}
