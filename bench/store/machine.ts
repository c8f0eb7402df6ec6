/** What a reader has to know of the machine before believing a figure: hardware, kernel, file system, versions. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import path from 'node:path'
import { ROOT } from './tools.js'

export interface Machine {
  readonly [fact: string]: string
}

/** Versions of those beside us, where they are on this machine. */
const PEERS = {
  fio: () => output('fio', '--version'),
  java: () => output('java', '--version').split('\n')[0]!,
  librdkafka: () => output('dpkg-query', '-W', '-f', '${Version}', 'librdkafka-dev'),
  rocksdb: () => output('dpkg-query', '-W', '-f', '${Package} ${Version}', 'rocksdb-tools'),
  'walrus-rust': () => /^walrus-rust = "=(.+)"$/m.exec(read('bench/store/walrus/Cargo.toml'))?.[1] ?? 'not here'
} as const

export function describeMachine (dataFolder: string, peers: readonly (keyof typeof PEERS)[]): Machine {
  const processors = cpus()
  const fileSystem = fileSystemOf(dataFolder)
  return {
    date: new Date().toISOString(),
    haulout: `${(JSON.parse(read('package.json')) as { readonly version: string }).version}, commit ${output('git', '-C', ROOT, 'describe', '--always', '--dirty')}`,
    processor: `${processors.length} x ${processors[0]?.model.trim() ?? 'unknown'}`,
    memory: `${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
    disk: output('lsblk', '--noheadings', '--nodeps', '--raw', '--output', 'NAME,SIZE,MODEL', fileSystem.split(' ')[1] ?? ''),
    fileSystem,
    system: /^PRETTY_NAME="?([^"\n]*)/m.exec(read('/etc/os-release'))?.[1] ?? 'unknown',
    kernel: output('uname', '-sr'),
    load: read('/proc/loadavg').split('\n')[0] || 'not here',
    node: process.version,
    ...Object.fromEntries(peers.map((peer) => [peer, PEERS[peer]()]))
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

/** A file of the repository, or an absolute path; empty where there is none. */
function read (file: string): string {
  try {
    return readFileSync(path.resolve(ROOT, file), 'utf8')
  } catch {
    return ''
  }
}
