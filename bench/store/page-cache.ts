/** What was read or written before is dropped from memory, so that the device is what is read. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { LeftOut } from './measurement.js'

export const CACHES_OF_ROOT = 'the page cache can be dropped by root only'

export function mayDropCaches (): boolean {
  return process.getuid?.() === 0
}

/** Throws `LeftOut`. */
export function checkMayDropCaches (): void {
  if (!mayDropCaches()) throw new LeftOut(CACHES_OF_ROOT)
}

/** Throws `LeftOut` where it is not allowed. */
export function dropCaches (): void {
  checkMayDropCaches()
  execFileSync('sync')
  writeFileSync('/proc/sys/vm/drop_caches', '3')
}
