/** What a reader has to know of the machine before believing a figure: hardware, kernel, file system, versions. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'

export interface Machine {
  readonly [fact: string]: string
}

export function describeMachine (dataFolder: string): Machine {
  const processors = cpus()
  return {
    processor: `${processors.length} x ${processors[0]?.model.trim() ?? 'unknown'}`,
    memory: `${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
    kernel: output('uname', '-sr'),
    fileSystem: fileSystemOf(dataFolder),
    load: readFirstLine('/proc/loadavg'),
    node: process.version,
    fio: output('fio', '--version'),
    rocksdb: output('dpkg-query', '-W', '-f', '${Package} ${Version}', 'rocksdb-tools')
  }
}

/** Type, device, options, and whether an ext4 has a journal. */
function fileSystemOf (folder: string): string {
  const found = output('findmnt', '-no', 'FSTYPE,SOURCE,OPTIONS', '--target', folder).replace(/\s+/g, ' ')
  const device = found.split(' ')[1]
  if (!found.startsWith('ext4') || device === undefined) return found
  const features = output('dumpe2fs', '-h', device)
  if (features === 'not here') return found
  return `${found}; ${/has_journal/.test(features) ? 'with' : 'without'} a journal`
}

function output (command: string, ...args: string[]): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return 'not here'
  }
}

function readFirstLine (path: string): string {
  try {
    return readFileSync(path, 'utf8').split('\n')[0]!
  } catch {
    return 'not here'
  }
}
