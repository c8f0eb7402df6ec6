/** Helpers of scripts and compat-tests, which are plain modules beside the compiled ones: Kafka itself, its protocol's first words. */
import type { ChildProcess, StdioOptions } from 'node:child_process'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { ROOT } from '../store/tools.js'

const load = async (file: string): Promise<unknown> => await import(pathToFileURL(path.join(ROOT, file)).href)

interface Fetching {
  readonly KAFKA_VERSION: string
  readonly KAFKA_ARTIFACTS: readonly string[]
  mavenClasspath (name: string, artifacts: readonly string[]): Promise<string>
}

interface Servers {
  freePort (): Promise<number>
  formatKafka (place: { readonly port: number, readonly dataDir: string }): Promise<void>
  spawnKafka (options: { readonly dataDir: string, readonly heap?: string, readonly stdio: StdioOptions }): Promise<ChildProcess>
}

interface Wire {
  untilAnswered (port: number, timeoutMs: number, options?: { readonly everyMs?: number, readonly stillThere?: () => boolean }): Promise<unknown>
}

interface Prepare {
  npmInstall (folder: string): Promise<string>
}

const fetching = await load('scripts/kafka-fetch.mjs') as Fetching
export const { KAFKA_VERSION } = fetching
export const { freePort, formatKafka, spawnKafka } = await load('scripts/kafka-server.mjs') as Servers
export const { untilAnswered } = await load('compat-tests/driver/wire.mjs') as Wire
export const { npmInstall } = await load('compat-tests/driver/prepare.mjs') as Prepare

/** The class path of Apache Kafka's server and tools, fetched once. */
export async function fetchKafka (): Promise<string> {
  return await fetching.mavenClasspath('kafka', fetching.KAFKA_ARTIFACTS)
}
