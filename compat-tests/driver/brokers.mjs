/**
 * The broker under test as a process: started on a free port and a fresh data folder, killed, started again on the same two.
 * `haulout` is this repository's build, `kafka` is Apache Kafka, which the tests themselves are checked against.
 */
import { spawn } from 'node:child_process'
import { existsSync, openSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { formatKafka, freePort, spawnKafka } from '../../scripts/kafka-server.mjs'
import { untilAnswered } from './wire.mjs'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const main = path.join(root, 'dist/src/cli/main.js')
const running = new Set()

process.on('exit', () => { for (const child of running) child.kill('SIGKILL') })
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))

const kinds = {
  haulout: {
    restartMsMax: 2_000,
    format: async () => {
      if (!existsSync(main)) throw new Error(`${main} is missing: npm run build`)
    },
    spawn: ({ port, dataDir, stdio }) => spawn(process.execPath, [main, 'start', '--port', String(port), '--data-dir', dataDir], { stdio })
  },
  kafka: {
    restartMsMax: 30_000,
    format: formatKafka,
    spawn: ({ dataDir, stdio }) => spawnKafka({ dataDir, stdio, heap: '512M' })
  }
}

export class BrokerProcess {
  #kind
  #child
  #folder
  starts = []

  static async start (kind) {
    const broker = new BrokerProcess()
    broker.#kind = kinds[kind]
    broker.kind = kind
    broker.port = await freePort()
    broker.bootstrap = `127.0.0.1:${broker.port}`
    broker.#folder = await mkdtemp(path.join(process.env.HAULOUT_COMPAT_DATA ?? tmpdir(), 'haulout-compat-'))
    await broker.#kind.format({ port: broker.port, dataDir: broker.dataDir })
    await broker.restart()
    return broker
  }

  get dataDir () {
    return path.join(this.#folder, 'data')
  }

  get restartMsMax () {
    return this.#kind.restartMsMax
  }

  /** Starts the process again after kill(); resolves to the milliseconds until the first answered Metadata request. */
  async restart () {
    const log = openSync(path.join(this.#folder, 'broker.log'), 'a')
    const child = await this.#kind.spawn({ port: this.port, dataDir: this.dataDir, stdio: ['ignore', log, log] })
    this.#child = child
    running.add(child)
    let ended = false
    child.once('exit', () => {
      ended = true
      running.delete(child)
    })
    try {
      const { waitedMs } = await untilAnswered(this.port, 60_000, { stillThere: () => !ended })
      return Math.round(waitedMs)
    } catch (error) {
      throw new Error(`${this.kind}: ${error.message}; its log ends: ${await this.logTail()}`)
    }
  }

  get alive () {
    return running.has(this.#child)
  }

  async kill (signal = 'SIGKILL') {
    if (!this.alive) throw new Error(`the broker was gone before ${signal}; its log ends: ${await this.logTail()}`)
    const exited = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill(signal)
    const hurry = setTimeout(() => this.#child.kill('SIGKILL'), 20_000)
    await exited
    clearTimeout(hurry)
  }

  async logTail (characterCount = 1500) {
    return (await readFile(path.join(this.#folder, 'broker.log'), 'utf8').catch(() => '')).slice(-characterCount)
  }

  /** Ends the process and removes its data, unless `keep`. */
  async stop ({ keep = false } = {}) {
    if (this.alive) await this.kill('SIGTERM')
    if (!keep) await rm(this.#folder, { recursive: true, force: true })
    return this.#folder
  }
}
