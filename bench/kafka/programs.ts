/** Runs the client programs: compiled once into the cache, or fetched; what they print is a line of JSON or Kafka's own words. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { orLeftOut } from '../store/measurement.js'
import { cached, complaintOf, execute, ROOT, system, tied } from '../store/tools.js'

const CLIENTS = path.join(ROOT, 'bench/kafka/clients')
const MS_MAX = 180_000

/** A C program of bench/kafka/clients; resolves to the binary. */
export async function compiled (name: string, libraries: readonly string[] = []): Promise<string> {
  const source = path.join(CLIENTS, `${name}.c`)
  const needs = libraries.map((library) => ({ file: `/usr/include/lib${library}/${library}.h`, package: `lib${library}-dev` }))
  return await orLeftOut(`${name}.c cannot be compiled here`, async () => {
    await system({ command: 'cc', package: 'gcc' }, ...needs)
    const folder = await cached(`bench-${name}`, [source, path.join(CLIENTS, 'program.h')].map((file) => readFileSync(file, 'utf8')).join(), async (target) => {
      await execute('cc', ['-O2', '-D_GNU_SOURCE', '-o', path.join(target, name), source, ...libraries.map((library) => `-l${library}`), '-lpthread'])
    })
    return path.join(folder, name)
  })
}

/** Runs to the end; rejects when the program fails: its complaint in the first line, all that it printed in the others. Resolves to its standard output. */
export async function output (command: string, args: readonly string[]): Promise<string> {
  const child = tied(spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] }))
  // Not spawn's own: it goes on, and keeps the process, where the command is missing.
  const timer = setTimeout(() => child.kill('SIGKILL'), MS_MAX)
  let printed = ''
  let complaints = ''
  child.stdout.on('data', (chunk: Buffer) => { printed += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { complaints = (complaints + chunk.toString()).slice(-4000) })
  const ended = await new Promise<number | string>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(code ?? signal ?? 'nothing'))
  }).finally(() => clearTimeout(timer))
  if (ended !== 0) {
    const said = complaints.trim() === '' ? printed.slice(-2000) : complaints
    throw new Error(`${path.basename(command)} ended with ${ended}: ${complaintOf(said)}\n${args.join(' ')}\n${complaints}${printed.slice(-2000)}`)
  }
  return printed
}

/** `{ acks: -1 }` as `acks=-1`. */
export function settingsArguments (settings: Readonly<Record<string, string | number>>): string[] {
  return Object.entries(settings).map(([name, value]) => `${name}=${value}`)
}
