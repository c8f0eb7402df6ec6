/**
 * The store's folder: who may use it (`.lock`), which format it has, and how files in it are replaced so that a crash leaves the old
 * or the new one. docs/storage.md has the format.
 */
import { closeSync, constants, existsSync, fstatSync, openSync, readFileSync, statSync, writeSync } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, unlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { LogError } from './log.js'

/** That of a new folder, and the newest that is known: one with compressed segments. */
const FORMAT_VERSION = 1
const FORMAT_VERSION_COMPRESSED = 2
export const FORMAT_NAME = 'haulout.format'
const LOCK_NAME = '.lock'
const LOCK_GUARD_NAME = '.lock~'
/** The line in it is filled up, and blanked in place: who opens a folder on a full disk has no other space for it. */
const LOCK_BYTES = 64
const LOCK_GUARD_WAITS_MAX = 40
const LOCK_GUARD_WAIT_MS = 25
const DELETED_PREFIX = '~deleted.'

/** A failed system call as the error that the contract knows. */
export function fileError (what: string, error: unknown): LogError {
  if (error instanceof LogError) return error
  const { code, message } = error as NodeJS.ErrnoException
  const denied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS' || code === 'ENOTDIR'
  return new LogError(denied ? 'denied' : isFull(error) ? 'full' : 'failed', `cannot ${what}: ${message}`, { cause: error })
}

export const isFull = (error: unknown): boolean => ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '')
export const isOutOfDescriptors = (error: unknown): boolean => ['EMFILE', 'ENFILE'].includes((error as NodeJS.ErrnoException | undefined)?.code ?? '')
export const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT'

/** Makes what was created, renamed or deleted in a folder durable. Windows has no such call: its file system keeps the order. */
export async function syncFolder (folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(folder, constants.O_RDONLY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** After a crash the file has the old content or the new one. */
export async function replaceFile (folder: string, name: string, content: string | Buffer): Promise<void> {
  const unfinished = path.join(folder, `${name}~`)
  const handle = await open(unfinished, 'w')
  try {
    await handle.writeFile(content)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(unfinished, path.join(folder, name))
  await syncFolder(folder)
}

/** Null for a file that is not there. */
export async function readIfThere (file: string): Promise<Buffer | null> {
  try {
    return await readFile(file)
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}

/** Folders that this process uses: a process id alone cannot tell two stores of one process apart. */
const inUse = new Set<string>()

export interface TakenFolder {
  /** Whoever had it before has given it back: what its logs show is on stable storage. */
  readonly wasReleased: boolean
  /** False when the path leads to another folder now, or to none. */
  readonly isInPlace: () => boolean
  readonly release: () => Promise<void>
}

/** Makes the folder if it is missing, takes it, checks its format. */
export async function takeFolder (folder: string): Promise<TakenFolder> {
  try {
    await makeFolder(folder)
    const taken = await lock(folder)
    try {
      await checkFormat(folder)
      // A process that was killed may have made, renamed or removed logs and not synced that: what is seen here must last.
      await syncFolder(folder)
      await deleteLeftovers(folder)
    } catch (error) {
      await taken.release()
      throw error
    }
    return taken
  } catch (error) {
    throw fileError(`open the folder ${folder}`, error)
  }
}

/** One level at a time: Node.js 20's recursive way never comes back where the system knows no such folder, as below /proc. */
async function makeFolder (folder: string): Promise<void> {
  if (existsSync(folder)) return
  await makeFolder(path.dirname(folder))
  await mkdir(folder).catch((error: unknown) => {
    if (!existsSync(folder)) throw error
  })
}

async function lock (folder: string): Promise<TakenFolder> {
  if (inUse.has(folder)) throw locked(folder, process.pid)
  inUse.add(folder)
  const file = path.join(folder, LOCK_NAME)
  const guard = path.join(folder, LOCK_GUARD_NAME)
  let wasReleased: boolean
  // Open as long as the folder is used: it is given back also where it has been moved to, and what lies in its place is left alone.
  let lockFile: number
  try {
    // Between looking at the owner and writing the line somebody else could do the same: one at a time.
    const isGuarded = await takeGuard(guard)
    try {
      const owner = ownerOf((await readIfThere(file))?.toString('latin1') ?? '')
      if (owner !== undefined && lives(owner)) throw locked(folder, owner.pid)
      wasReleased = owner === undefined
      lockFile = openSync(file, constants.O_RDWR | constants.O_CREAT)
      try {
        writeLine(lockFile, `${process.pid} ${startTimeOf(process.pid)} pid`)
      } catch (error) {
        closeSync(lockFile)
        throw error
      }
    } finally {
      if (isGuarded) await unlink(guard)
    }
  } catch (error) {
    inUse.delete(folder)
    throw error
  }
  const isInPlace = (): boolean => {
    const { dev, ino } = fstatSync(lockFile, { bigint: true })
    try {
      const found = statSync(file, { bigint: true })
      return found.dev === dev && found.ino === ino
    } catch {
      return false
    }
  }
  const release = async (): Promise<void> => {
    try {
      writeLine(lockFile, '')
    } finally {
      closeSync(lockFile)
      inUse.delete(folder)
    }
  }
  return { wasReleased, isInPlace, release }
}

const writeLine = (lockFile: number, line: string): number => writeSync(lockFile, `${line}\n`.padEnd(LOCK_BYTES), 0)

/** False on a full disk: it goes without. */
async function takeGuard (guard: string): Promise<boolean> {
  for (let waits = 0; ; waits++) {
    try {
      await writeFile(guard, '', { flag: 'wx' })
      return true
    } catch (error) {
      if (isFull(error)) return false
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      // Nobody holds it for longer than a few reads: its owner was killed.
      if (waits === LOCK_GUARD_WAITS_MAX) await rm(guard, { force: true })
      else await sleep(LOCK_GUARD_WAIT_MS)
    }
  }
}

/** The process that uses the folder; undefined when nobody does. Only looks. */
export async function userOf (folder: string): Promise<number | undefined> {
  const owner = ownerOf((await readIfThere(path.join(folder, LOCK_NAME)))?.toString('latin1') ?? '')
  return owner !== undefined && lives(owner) ? owner.pid : undefined
}

function locked (folder: string, pid: number): LogError {
  return new LogError('locked', `folder ${folder} is in use by process ${pid}`)
}

interface Owner {
  readonly pid: number
  readonly startTime: string
}

function ownerOf (line: string): Owner | undefined {
  const [, pid, startTime] = /^(\d+) (\d+) (?:flock|pid)$/m.exec(line) ?? []
  return pid === undefined ? undefined : { pid: Number(pid), startTime: startTime! }
}

function lives ({ pid, startTime }: Owner): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  const now = startTimeOf(pid)
  return startTime === '0' || now === '0' || now === startTime
}

/** Field 22 of /proc/<pid>/stat; '0' where there is none. The second field, a name in brackets, may hold anything. */
function startTimeOf (pid: number): string {
  const file = `/proc/${pid}/stat`
  if (!existsSync(file)) return '0'
  try {
    const text = readFileSync(file, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '0'
  } catch {
    return '0'
  }
}

/** The folder's format version; undefined where no file says one. Rejects with `LogError` 'corrupt', and 'denied' for a newer one. */
export async function readFormat (folder: string): Promise<number | undefined> {
  const file = path.join(folder, FORMAT_NAME)
  const content = (await readIfThere(file))?.toString('latin1')
  if (content === undefined) return undefined
  const version = Number(/^haulout-format (\d+)\n?$/.exec(content)?.[1] ?? 0)
  if (version < 1) throw new LogError('corrupt', `${file} is damaged at position 0: it does not hold a format version`)
  if (version <= FORMAT_VERSION_COMPRESSED) return version
  throw new LogError('denied', `folder ${folder} was written by a newer Haulout: it has format version ${version}, this one knows versions up to ${FORMAT_VERSION_COMPRESSED}`)
}

async function checkFormat (folder: string): Promise<void> {
  if (await readFormat(folder) !== undefined) return
  const foreign = (await readdir(folder)).find((name) => name !== LOCK_NAME && !name.endsWith('~') && name !== 'lost+found')
  if (foreign !== undefined) {
    throw new LogError('denied', `folder ${folder} is not empty and has no ${FORMAT_NAME} (there is ${foreign} in it): it is not a data folder of Haulout`)
  }
  await syncParents(folder)
  await replaceFile(folder, FORMAT_NAME, `haulout-format ${FORMAT_VERSION}\n`)
}

/** Before the first segment is compressed: an older Haulout would take what it does not see for lost. */
export async function allowCompressed (folder: string): Promise<void> {
  if ((await readFormat(folder) ?? 0) < FORMAT_VERSION_COMPRESSED) await replaceFile(folder, FORMAT_NAME, `haulout-format ${FORMAT_VERSION_COMPRESSED}\n`)
}

/**
 * The folder is new, and perhaps some of those above it: what is stored in it is only as durable as their names are. What cannot be
 * synced was not made by us.
 */
async function syncParents (folder: string): Promise<void> {
  for (let child = folder, parent = path.dirname(child); parent !== child; child = parent, parent = path.dirname(child)) {
    await syncFolder(parent).catch((error: unknown) => {
      if (!['EACCES', 'EPERM', 'EINVAL', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
    })
  }
}

async function deleteLeftovers (folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name.startsWith(DELETED_PREFIX)) await rm(path.join(folder, name), { recursive: true, force: true })
  }
}

let deletedCount = 0

/** Deletes a log's folder, durably. Missing is fine. */
export async function deleteLogFolder (folder: string, name: string): Promise<void> {
  let doomed: string
  try {
    doomed = await renameToUnused(folder, name)
  } catch (error) {
    if (isMissing(error)) return
    throw error
  }
  await syncFolder(folder)
  // Deleted for good already: what is left is space, and goes at the next start at the latest.
  await rm(doomed, { recursive: true, force: true }).catch(() => {})
}

/** A process with the same id may have left something of this name, as in containers. */
async function renameToUnused (folder: string, name: string): Promise<string> {
  for (;;) {
    const doomed = path.join(folder, `${DELETED_PREFIX}${process.pid}.${deletedCount++}`)
    try {
      await rename(path.join(folder, name), doomed)
      return doomed
    } catch (error) {
      if (!['ENOTEMPTY', 'EEXIST', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '') || !existsSync(doomed)) throw error
    }
  }
}
