/** The wire load generator, through the C program beside this file: it replays encoded requests with hardly any processor time of its own. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { compiled, output, settingsArguments } from '../programs.js'

export interface WireSettings {
  readonly port: number
  readonly connections: number
  /** Requests on the way per connection. */
  readonly depth: number
  readonly seconds: number
  readonly warmupSeconds: number
  /** Where an answer's error code stands; negative when there is none to look at. */
  readonly errorAt: number
}

export interface WireFigures {
  readonly requests: number
  readonly bytesOut: number
  readonly bytesIn: number
  readonly wholeBytesOut: number
  readonly wholeBytesIn: number
  readonly seconds: number
  readonly clientCpuSeconds: number
  readonly slotMs: number
  readonly slotRequests: readonly number[]
  /** From so many microseconds on: count. */
  readonly latencyUs: readonly (readonly [us: number, count: number])[]
}

export async function replay (folder: string, frames: readonly Buffer[], settings: WireSettings): Promise<WireFigures> {
  const place = mkdtempSync(path.join(folder, 'frames-'))
  try {
    const file = path.join(place, 'frames')
    writeFileSync(file, Buffer.concat(frames))
    return JSON.parse(await output(await compiled('wire'), ['load', ...settingsArguments({ frames: file, ...settings })])) as WireFigures
  } finally {
    rmSync(place, { recursive: true, force: true })
  }
}

/** Opens connections that have had one answer each, calls `work` while they are idle, and closes them. */
export async function withIdleConnections<T> (folder: string, frame: Buffer, port: number, connections: number, work: () => Promise<T>): Promise<T> {
  const place = mkdtempSync(path.join(folder, 'frames-'))
  const file = path.join(place, 'frames')
  writeFileSync(file, frame)
  const child = spawn(await compiled('wire'), ['idle', ...settingsArguments({ port, frames: file, connections })], { stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  try {
    const ready = new Promise<boolean>((resolve) => child.stdout.once('data', () => resolve(true)))
    if (await Promise.race([ready, exited.then(() => false)]) !== true) throw new Error(`${connections} connections could not be opened`)
    return await work()
  } finally {
    child.stdin.end()
    await exited
    rmSync(place, { recursive: true, force: true })
  }
}

/** The latency below which the fraction `q` of the answers lies. */
export function latencyMs (buckets: WireFigures['latencyUs'], q: number): number {
  const all = buckets.reduce((sum, [, count]) => sum + count, 0)
  let seen = 0
  for (const [us, count] of buckets) {
    seen += count
    if (seen >= all * q) return us / 1000
  }
  return Number.NaN
}
