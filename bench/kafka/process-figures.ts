/** What the kernel knows of a process: processor time, memory, bytes read and written. */
import { readFileSync } from 'node:fs'

/** sysconf(_SC_CLK_TCK) of Linux. */
const TICKS_PER_SECOND = 100

export interface ProcessFigures {
  /** Of all its threads, and of children that have ended. */
  readonly cpuSeconds: number
  readonly residentBytes: number
  readonly residentBytesMax: number
  /** To the device, or to pages that will be written to it. */
  readonly writtenBytes: number
  /** From the device. */
  readonly readBytes: number
}

export function processFigures (pid: number): ProcessFigures {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const io = readFileSync(`/proc/${pid}/io`, 'utf8')
  return {
    cpuSeconds: cpuSecondsOf(readFileSync(`/proc/${pid}/stat`, 'utf8')),
    residentBytes: field(status, 'VmRSS') * 1024,
    residentBytesMax: field(status, 'VmHWM') * 1024,
    writtenBytes: field(io, 'write_bytes'),
    readBytes: field(io, 'read_bytes')
  }
}

/** A command's name may hold spaces and parentheses, so fields are counted from the last parenthesis. */
export function cpuSecondsOf (stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [user, system, childrenUser, childrenSystem] = fields.slice(11, 15).map(Number)
  return (user! + system! + childrenUser! + childrenSystem!) / TICKS_PER_SECOND
}

function field (text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? Number.NaN)
}
