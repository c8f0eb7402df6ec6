/** A file system of the wanted kind in a sparse file, mounted through a loop device with direct I/O. Needs root. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { system } from './tools.js'

export type FilesystemKind = 'ext4' | 'xfs'
const MAKE = { ext4: { command: 'mkfs.ext4', package: 'e2fsprogs' }, xfs: { command: 'mkfs.xfs', package: 'xfsprogs' } } as const
const IMAGE_BYTES = 24 * 2 ** 30

export interface MountedFilesystem {
  readonly folder: string
  unmount (): void
}

/** `parent`: an empty folder for the image and the mount point. mkfs.ext4 makes a journal by default, as nearly every ext4 has one. */
export async function mountFilesystem (kind: FilesystemKind, parent: string): Promise<MountedFilesystem> {
  await system(MAKE[kind])
  const image = path.join(parent, `${kind}.image`)
  const folder = path.join(parent, 'mounted')
  writeFileSync(image, '')
  truncateSync(image, IMAGE_BYTES)
  run(MAKE[kind].command, '-q', image)
  const device = run('losetup', '--find', '--show', '--direct-io=on', image).trim()
  try {
    mkdirSync(folder)
    run('mount', device, folder)
  } catch (error) {
    run('losetup', '--detach', device)
    throw error
  }
  return {
    folder,
    unmount () {
      // Lazily: a process of a run that was interrupted may still have a file open.
      run('umount', '--lazy', folder)
      run('losetup', '--detach', device)
      rmSync(image)
    }
  }
}

function run (command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}
