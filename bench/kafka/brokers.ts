/** The brokers that are compared: each a process of its own on a free port and a fresh data folder, started by the bench itself. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { appendFileSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { orLeftOut } from '../store/measurement.js'
import { ROOT, tied } from '../store/tools.js'
import { fetchKafka, formatKafka, freePort, spawnKafka, untilAnswered } from './tools.js'

interface Place {
  readonly port: number
  readonly dataDir: string
}

export interface BrokerKind {
  readonly name: string
  /** Its settings, for the report. */
  readonly settings: string
  /** Answers, but keeps nothing: nothing can be consumed from it, and topics need not be created. */
  readonly drops?: boolean
  /** Somebody else's: where it cannot be had, or fails, the rest goes on. */
  readonly peer?: boolean
  prepare (place: Place): Promise<void>
  spawn (place: Place, stdio: StdioOptions): Promise<ChildProcess>
}

export interface RunningBroker {
  readonly kind: BrokerKind
  readonly port: number
  readonly pid: number
  readonly dataDir: string
  /** From the start of the process to the first answered Metadata request; for a Kafka on a fresh folder with the formatting. */
  readonly startMs: number
  /** Why it is not there any more, and the end of what it printed; undefined while it runs. */
  ended (): string | undefined
  close (): Promise<void>
}

const START_MS_MAX = 60_000

export const HAULOUT: BrokerKind = hauloutBroker('default: an acknowledgement means on stable storage')
export const KAFKA: BrokerKind = kafkaBroker('Kafka', 'default: an acknowledgement means in the page cache; one KRaft node, heap of its start script (1 GiB)', {})
export const KAFKA_DURABLE: BrokerKind = kafkaBroker('Kafka, flush.messages=1', 'flush.messages=1: an acknowledgement means on stable storage', { 'log.flush.interval.messages': '1' })

/** A server that answers Produce without doing anything with the records: what the client can do at most. */
export const SINK: BrokerKind = {
  name: 'drops the records',
  settings: 'a Node.js server that parses Produce requests, drops the records and answers',
  drops: true,
  prepare: async () => {},
  spawn: async ({ port }, stdio) => spawn(process.execPath, [fileURLToPath(new URL('./sink.js', import.meta.url)), '--port', `${port}`], { stdio })
}

/** `flush` as `haulout start` takes it. */
export function hauloutBroker (settings: string, flush = 'each'): BrokerKind {
  return {
    name: 'Haulout',
    settings,
    prepare: async () => {},
    spawn: async ({ port, dataDir }, stdio) => spawn(process.execPath,
      [path.join(ROOT, 'dist/src/cli/main.js'), 'start', '--port', `${port}`, '--data-dir', dataDir, '--flush', flush, '--log-level', 'warn'], { stdio })
  }
}

/** One KRaft node with its default settings, but for `properties`. */
export function kafkaBroker (name: string, settings: string, properties: Readonly<Record<string, string>>): BrokerKind {
  return {
    name,
    settings,
    peer: true,
    async prepare (place) {
      await orLeftOut('Apache Kafka cannot be had here', fetchKafka)
      await formatKafka(place)
      const lines = Object.entries(properties).map(([key, value]) => `${key}=${value}\n`).join('')
      appendFileSync(path.join(place.dataDir, 'server.properties'), lines)
    },
    spawn: async ({ dataDir }, stdio) => await spawnKafka({ dataDir, stdio })
  }
}

/** A broker that answers, in a folder of its own below `parent` that goes with it. */
export async function startBroker (kind: BrokerKind, parent: string): Promise<RunningBroker> {
  const folder = mkdtempSync(path.join(parent, 'broker-'))
  const place = { port: await freePort(), dataDir: path.join(folder, 'data') }
  const logPath = path.join(folder, 'broker.log')
  const startedAtMs = performance.now()
  await kind.prepare(place)
  const log = openSync(logPath, 'a')
  const child = tied(await kind.spawn(place, ['ignore', log, log]))
  closeSync(log)
  let ended: string | undefined
  const logEnd = (): string => `its log ends: ${readFileSync(logPath, 'utf8').slice(-4000)}`
  const exited = new Promise<void>((resolve) => child.once('exit', (code, signal) => {
    ended = `${kind.name} ended with ${code ?? signal ?? 'nothing'}`
    resolve()
  }))
  const close = async (): Promise<void> => {
    child.kill('SIGKILL')
    await exited
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    if (kind.drops === true) await untilListening(place.port)
    else await untilAnswered(place.port, START_MS_MAX, { everyMs: 2, stillThere: () => ended === undefined })
  } catch (error) {
    const why = `${kind.name}: ${(error as Error).message}; ${logEnd()}`
    await close()
    throw new Error(why)
  }
  return { kind, port: place.port, pid: child.pid!, dataDir: place.dataDir, startMs: performance.now() - startedAtMs, close, ended: () => ended === undefined ? undefined : `${ended}; ${logEnd()}` }
}

async function untilListening (port: number): Promise<void> {
  const deadlineMs = performance.now() + START_MS_MAX
  for (;;) {
    const connected = await new Promise<boolean>((resolve) => {
      const socket = net.connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    })
    if (connected) return
    if (performance.now() > deadlineMs) throw new Error('it does not listen')
    await sleep(5)
  }
}
