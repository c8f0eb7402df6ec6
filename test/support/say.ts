/**
 * Says a line on standard output before it returns, so that who is killed afterwards has said it. A pipe whose reader is busy may be full (EAGAIN): then
 * this process waits.
 */
import { writeSync } from 'node:fs'

const WAIT_MS = 1

export function say (line: string): void {
  const bytes = Buffer.from(`${line}\n`)
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(1, bytes, at)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, WAIT_MS)
    }
  }
}
