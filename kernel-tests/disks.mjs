/**
 * Disks that fail, made of what the kernel has: file systems in images of their own, on loop devices and on zram, whose power can be cut.
 * Everything that is made here is in a scratch folder and on devices that were free; `Disks.close` takes all of it away again.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'

export const MIB = 1024 * 1024

/** Why a case cannot run here: an environment that lacks something, and not a failure. */
export class Skip extends Error {}

export function run (command, ...args) {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim()
}

export function needs (...commands) {
  for (const command of commands) {
    if (spawnSync('sh', ['-c', `command -v ${command}`]).status !== 0) throw new Skip(`${command} is not installed`)
  }
}

function needsFileSystem (kind) {
  const known = readFileSync('/proc/filesystems', 'latin1').split('\n').map((line) => line.split('\t')[1])
  // Where modules are loaded on demand the kernel may not have it yet.
  if (!known.includes(kind)) spawnSync('modprobe', [kind])
  if (!readFileSync('/proc/filesystems', 'latin1').split('\n').some((line) => line.split('\t')[1] === kind)) throw new Skip(`the kernel has no ${kind}`)
}

/**
 * ioctl EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are one number. 1: log flushed first, 2: not even that. Prints how long a file was just
 * before: what was acknowledged in it was acknowledged before the cut.
 */
const SHUTDOWN = `import fcntl, os, struct, sys
disk = os.open(sys.argv[1], os.O_RDONLY)
flags = struct.pack("I", int(sys.argv[2]))
bytes = os.path.getsize(sys.argv[3]) if len(sys.argv) > 3 else 0
fcntl.ioctl(disk, 0x8004587D, flags)
print(bytes)`

export class Disks {
  scratch = mkdtempSync('/var/tmp/haulout-kernel-')
  #undo = []
  #count = 0

  /** Runs `undo` at the end, whatever happens; the last one first. */
  later (undo) {
    this.#undo.push(undo)
    return undo
  }

  async close () {
    for (const undo of this.#undo.reverse()) {
      try {
        await undo()
      } catch (error) {
        console.log(`# could not clean up: ${String(error.message).split('\n')[0]}`)
      }
    }
    // What is still mounted is left alone.
    try {
      rmSync(this.scratch, { recursive: true, force: true })
    } catch (error) {
      console.log(`# left behind: ${firstLine(error)}`)
    }
  }

  folder (name) {
    const folder = path.join(this.scratch, `${name}-${this.#count++}`)
    mkdirSync(folder)
    return folder
  }

  /** An image with a file system in it, mounted by a loop device. `in`: the folder of the image. */
  image (kind, { mib, make = [], folder = this.scratch }) {
    const file = path.join(folder, `${kind}-${this.#count++}.img`)
    writeFileSync(file, '')
    truncateSync(file, mib * MIB)
    const device = this.loop(file)
    return this.fileSystem(kind, device, make)
  }

  loop (file) {
    let device
    try {
      device = run('losetup', '--find', '--show', file)
    } catch (error) {
      throw new Skip(`no loop device: ${firstLine(error)}`)
    }
    this.later(() => run('losetup', '--detach', device))
    return device
  }

  fileSystem (kind, device, make = []) {
    needsFileSystem(kind)
    needs(`mkfs.${kind}`)
    run(`mkfs.${kind}`, '-q', ...(kind === 'xfs' ? ['-f'] : ['-F']), ...make, device)
    return new FileSystem(this, kind, device, this.folder(kind))
  }

  tmpfs (options) {
    const folder = this.folder('tmpfs')
    run('mount', '-t', 'tmpfs', '-o', options, 'haulout-test', folder)
    this.later(() => run('umount', folder))
    return folder
  }

  /** A device in memory that answers writes with EIO when it has used `limitMib`. */
  zram (mib) {
    const control = '/sys/class/zram-control/hot_add'
    if (!existsSync(control)) spawnSync('modprobe', ['zram'])
    if (!existsSync(control)) throw new Skip('the kernel has no zram')
    const id = readFileSync(control, 'latin1').trim()
    this.later(() => writeFileSync('/sys/class/zram-control/hot_remove', id))
    writeFileSync(`/sys/block/zram${id}/disksize`, `${mib}M`)
    return { device: `/dev/zram${id}`, limit: (limitMib) => writeFileSync(`/sys/block/zram${id}/mem_limit`, `${limitMib}M`) }
  }
}

export class FileSystem {
  #mounted = false

  constructor (disks, kind, device, folder) {
    this.kind = kind
    this.device = device
    this.folder = folder
    this.mount()
    disks.later(() => { if (this.#mounted) this.unmount() })
  }

  mount () {
    run('mount', '-t', this.kind, this.device, this.folder)
    this.#mounted = true
  }

  unmount () {
    for (let tries = 0; ; tries++) {
      const { status, stderr } = spawnSync('umount', [this.folder], { encoding: 'utf8' })
      if (status === 0) break
      if (tries === 50) throw new Error(stderr)
      spawnSync('sleep', ['0.05'])
    }
    this.#mounted = false
  }

  remount (options) {
    run('mount', '-o', `remount,${options}`, this.folder)
  }

  /** From now on nothing reaches the disk, and everything fails. `flushed`: the journal is written first. Returns the bytes of `witness` before. */
  cutPower (flushed, ...witness) {
    needs('python3')
    return Number(run('python3', '-c', SHUTDOWN, this.folder, flushed ? '1' : '2', ...witness))
  }

  /** The machine comes back: the journal is replayed. */
  restart () {
    this.unmount()
    this.mount()
  }
}

export function firstLine (error) {
  return String(error.stderr ?? error.message ?? error).trim().split('\n')[0]
}
