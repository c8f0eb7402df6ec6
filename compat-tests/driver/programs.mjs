/** Finds the clients (every folder with a client.mjs) and runs the verbs of their programs. */
import { spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const folder = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const running = new Set()
process.on('exit', () => running.forEach(endGroup))

/** All clients: what a folder's client.mjs exports, one object or several (versions of one program). */
export async function loadClients () {
  const clients = []
  for (const entry of readdirSync(folder).sort()) {
    const file = path.join(folder, entry, 'client.mjs')
    if (!existsSync(file)) continue
    const { default: exported } = await import(pathToFileURL(file))
    clients.push(...[exported].flat().map((client) => ({ flags: '', notes: [], folder: path.dirname(file), ...client })))
  }
  return clients
}

/** Runs a verb to its end. Resolves to what it printed last, `{ ok, ms, ... }`; a crash or a time-out is `ok: false`, too. */
export async function run (client, verb, options, timeoutMs = 180_000) {
  const startedAtMs = performance.now()
  const { child, output } = start(client, verb, options)
  child.stdin.end()
  const timer = setTimeout(() => endGroup(child), timeoutMs)
  const exitCode = await output.ended
  clearTimeout(timer)
  const ms = Math.round(performance.now() - startedAtMs)
  const last = output.stdout.trimEnd().split('\n').at(-1)
  try {
    return { ...JSON.parse(last), ms }
  } catch {
    return { ok: false, ms, problems: [`${verb} ended with ${exitCode} and without a result: ${(output.stdout + output.stderr).slice(-1500)}`] }
  }
}

/** Kills a program with the tools that it started itself: each has a process group of its own. */
export function endGroup (child) {
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch (error) {
    if (error.code !== 'ESRCH') throw error
  }
}

/** Starts a verb and leaves it running; `onLine` is given every line of its stdout. */
export function start (client, verb, options, onLine) {
  const [command, ...args] = client.command
  const flags = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])
  const child = spawn(command, [...args, verb, ...flags], { stdio: ['pipe', 'pipe', 'pipe'], cwd: client.folder, detached: true })
  running.add(child)
  const output = { stdout: '', stderr: '', ended: undefined }
  let line = ''
  child.stdout.setEncoding('utf8').on('data', (text) => {
    if (onLine) {
      const lines = (line + text).split('\n')
      line = lines.pop()
      lines.forEach(onLine)
    }
    output.stdout = (output.stdout + text).slice(-100_000)
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    output.stderr = (output.stderr + text).slice(-20_000)
  })
  child.stdin.on('error', () => {})
  output.ended = new Promise((resolve) => {
    child.on('error', (error) => {
      output.stderr += error.message
      resolve(error.code)
    })
    child.on('close', (code, signal) => {
      running.delete(child)
      resolve(code ?? signal)
    })
  })
  return { child, output }
}
