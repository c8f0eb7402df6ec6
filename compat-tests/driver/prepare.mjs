/**
 * Installs what clients need, once, into a cache that all clones of a user share: HAULOUT_CACHE, else ~/.cache/haulout.
 * A folder of the cache is named by the hash of what it was made from, made under a lock, and complete once it holds `.complete`.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, rmdirSync } from 'node:fs'
import { mkdir, readFile, readlink, rm, symlink, writeFile, rmdir, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'

export const cacheFolder = process.env.HAULOUT_CACHE ?? path.join(homedir(), '.cache/haulout')
const LOCK_STALE_MS = 10 * 60_000

const children = new Set()
const locks = new Set()
// Also after Ctrl-C, where a program makes an exit of it: a child would go on with its load, and the next run would wait for a lock that nobody holds.
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  for (const lock of locks) rmdirSync(lock)
})

/** A child that does not outlive this process. */
export function tied (child) {
  children.add(child)
  return child.once('exit', () => children.delete(child))
}

/** A folder of the cache, filled by `fill(folder)` unless some earlier run did. `ingredients`: all that its content depends on. */
export async function cached (name, ingredients, fill) {
  const hash = createHash('sha256').update(JSON.stringify(ingredients)).digest('hex').slice(0, 12)
  const folder = path.join(cacheFolder, `${name}-${hash}`)
  const mark = path.join(folder, '.complete')
  if (existsSync(mark)) return folder
  await locked(`${folder}.lock`, async () => {
    if (existsSync(mark)) return
    await rm(folder, { recursive: true, force: true })
    await mkdir(folder, { recursive: true })
    await fill(folder)
    await writeFile(mark, '')
  })
  return folder
}

async function locked (lock, action) {
  await mkdir(path.dirname(lock), { recursive: true })
  for (;;) {
    try {
      await mkdir(lock)
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
      const { mtimeMs } = await stat(lock).catch(() => ({ mtimeMs: Date.now() }))
      if (Date.now() - mtimeMs > LOCK_STALE_MS) await rmdir(lock).catch(() => {})
      await sleep(300)
    }
  }
  locks.add(lock)
  try {
    return await action()
  } finally {
    locks.delete(lock)
    await rmdir(lock)
  }
}

/** Runs a command to its end; the error's first line, and its `complaint`, says what it complained of, the others are the end of its output. */
export function execute (command, args, { cwd, env, timeoutMs = 9 * 60_000 } = {}) {
  return new Promise((resolve, reject) => {
    const child = tied(spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] }))
    // Not spawn's own: it goes on, and keeps the process, where the command is missing.
    const timer = setTimeout(() => child.kill(), timeoutMs)
    let output = ''
    child.stdout.on('data', (chunk) => { output += chunk })
    child.stderr.on('data', (chunk) => { output += chunk })
    child.on('error', (error) => {
      clearTimeout(timer)
      reject(error.code === 'ENOENT' ? new Error(`${command} is missing on this machine`) : error)
    })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      if (code === 0) resolve(output)
      else reject(Object.assign(new Error(`${command} ${args.join(' ')} ended with ${code ?? signal}: ${complaintOf(output)}\n${output.slice(-2000)}`), { complaint: complaintOf(output) }))
    })
  })
}

/** The first line that speaks of an error, else the last one, without colours and without what npm and Maven begin theirs with. */
export function complaintOf (output) {
  // npm begins with codes and folders, and gyp says that it worked.
  const lines = stripVTControlCharacters(output).split('\n').filter((line) => !/^npm error (code|path|command|errno|syscall|gyp (info|verb))\b/.test(line))
    .map((line) => line.replace(/^(npm error|npm ERR!|\[ERROR\])\s*/, '').trim()).filter((line) => line !== '')
  return (lines.find((line) => /\b(error|failed|cannot|could not|unable|ERR!|exception|no plugin|no such)/i.test(line)) ?? lines.at(-1) ?? 'it printed nothing').slice(0, 300)
}

/** Makes sure that commands or files (headers of libraries) are there; installs Debian's package for it where that is allowed. */
export async function system (...needs) {
  const missing = needs.filter(({ command, file }) => command ? !onPath(command) : !existsSync(file))
  if (missing.length === 0) return
  const packages = missing.map((need) => need.package)
  const sentence = `missing: ${packages.join(', ')} (apt-get install ${packages.join(' ')})`
  if (process.getuid() !== 0 || !onPath('apt-get')) throw new Error(sentence)
  await locked(path.join(cacheFolder, 'apt.lock'), async () => {
    const install = () => execute('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], { env: { DEBIAN_FRONTEND: 'noninteractive' } })
    await install().catch(async () => {
      await execute('apt-get', ['update', '-qq'])
      await install()
    }).catch((error) => { throw new Error(`${sentence}: ${error.message}`) })
  })
}

function onPath (command) {
  return process.env.PATH.split(':').some((folder) => existsSync(path.join(folder, command)))
}

/** Installs a folder's package.json into the cache and links it as the folder's node_modules. */
export async function npmInstall (folder, { env } = {}) {
  const manifest = await readFile(path.join(folder, 'package.json'), 'utf8')
  const installed = await cached(`npm-${path.basename(folder)}`, [manifest, process.versions.modules], async (target) => {
    await writeFile(path.join(target, 'package.json'), manifest)
    // Without a network npm would wait for more than a minute between its attempts.
    await execute('npm', ['install', '--no-audit', '--no-fund', '--no-package-lock', '--fetch-retry-mintimeout=1000', '--fetch-retry-maxtimeout=5000'], { cwd: target, env })
  })
  await link(path.join(installed, 'node_modules'), path.join(folder, 'node_modules'))
  return installed
}

async function link (target, at) {
  if (await readlink(at).catch(() => undefined) === target) return
  await rm(at, { recursive: true, force: true })
  await symlink(target, at).catch((error) => { if (error.code !== 'EEXIST') throw error })
}

/** A virtual environment with a folder's requirements.txt; resolves to its interpreter. */
export async function pythonVenv (folder) {
  const requirements = await readFile(path.join(folder, 'requirements.txt'), 'utf8')
  const venv = await cached(`venv-${path.basename(folder)}`, [requirements], async (target) => {
    await system({ command: 'python3', package: 'python3' })
    await execute('python3', ['-m', 'venv', target]).catch(async () => {
      await system({ file: '/usr/share/doc/python3-venv', package: 'python3-venv' })
      await execute('python3', ['-m', 'venv', target])
    })
    await execute(path.join(target, 'bin/pip'), ['install', '--quiet', '--disable-pip-version-check', ...requirements.trim().split('\n')])
  })
  return path.join(venv, 'bin/python')
}

/** A Go program of a folder, with its shared package; resolves to the binary. */
export async function goBuild (folder, sources) {
  const contents = await Promise.all(sources.map((source) => readFile(path.join(folder, source), 'utf8')))
  const built = await cached(`go-${path.basename(folder)}`, contents, async (target) => {
    await system({ command: 'go', package: 'golang-go' })
    await execute('go', ['build', '-o', path.join(target, 'program'), '.'], { cwd: folder })
  })
  return path.join(built, 'program')
}

/** Compiles Java sources against artifacts of Maven's; resolves to the class path. */
export async function javaBuild (name, sources, classpath) {
  const contents = await Promise.all(sources.map((source) => readFile(source, 'utf8')))
  const built = await cached(`java-${name}`, [contents, classpath], async (target) => {
    await system({ command: 'javac', package: 'openjdk-17-jdk-headless' })
    await execute('javac', ['-d', target, '-cp', classpath, ...sources])
  })
  return `${built}:${classpath}`
}
