/**
 * `haulout start`: a broker until a signal ends it. SIGTERM and SIGINT finish the requests in work and close cleanly; a second one stops
 * at once, which costs nothing that was acknowledged.
 */
import os from 'node:os'
import { pino, type Logger } from 'pino'
import type { Broker } from '../broker/broker.js'
import type { BrokerOptions } from '../broker/options.js'
import type { FlushPolicy } from '../log/log.js'
import { gatherSettings, UsageError, type GivenOptions } from './settings.js'

export interface StartArguments extends GivenOptions {
  readonly logLevel?: string
}

const EXIT_CODE_REFUSED = 1
const EXIT_CODE_SIGNAL = 128

export async function start (given: StartArguments & { readonly version: string }): Promise<void> {
  // Written at once: a line must not come after what happened later, nor be lost with a process that is killed.
  const logger = pino({ level: levelOf(given.logLevel ?? process.env['HAULOUT_LOG_LEVEL'] ?? 'info'), base: null }, pino.destination({ fd: 1, sync: true }))
  let options: BrokerOptions = {}
  try {
    const { Broker } = await import('../broker/broker.js')
    const gathered = gatherSettings(given, process.env)
    options = gathered.options
    if (gathered.passedOver.length > 0) logger.info(`passed over, because there is one process here: ${gathered.passedOver.join(', ')}`)
    for (const warning of gathered.warnings) logger.warn(warning)
    const broker = await Broker.start({ ...options, logger, keepsProcessAlive: true })
    stopOnSignals(broker, logger)
    process.stdout.write(`${startMessage(broker, options, given.version)}\n`)
  } catch (error) {
    process.stderr.write(`haulout: ${explain(error, options)}\n`)
    process.exitCode = EXIT_CODE_REFUSED
  }
}

function startMessage (broker: Broker, options: BrokerOptions, version: string): string {
  const { storage } = broker
  const lines = [
    `Haulout ${version}, up after ${Math.round(process.uptime() * 1000)} ms`,
    `  clients      ${broker.bootstrapServers}`,
    `  cluster      ${broker.clusterId}, node ${broker.nodeId}`,
    `  data         ${broker.dataDir ?? 'in memory: nothing is kept'}`,
    `  storage      ${storage.name}${storage.direct ? ' with O_DIRECT' : ''}: ${storage.reason}`
  ]
  if (broker.dataDir !== undefined) lines.push(`  acknowledged ${durability(options.flushPolicy ?? { kind: 'each' })}`)
  lines.push(`Try it:  echo hello | kcat -b ${broker.brokers[0]} -P -t test && kcat -b ${broker.brokers[0]} -C -t test -e`)
  return lines.join('\n')
}

function durability (policy: FlushPolicy): string {
  switch (policy.kind) {
    case 'each': return 'means on stable storage'
    case 'interval': return `means accepted; on stable storage ${policy.intervalMs} ms later at the latest`
    case 'bytes': return `means accepted; on stable storage after ${policy.bytes} bytes at the latest`
    case 'none': return 'means accepted; the operating system decides when it is on stable storage'
  }
}

function stopOnSignals (broker: Broker, logger: Logger): void {
  let stopping = false
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) process.exit(EXIT_CODE_SIGNAL + os.constants.signals[signal])
    stopping = true
    logger.info(`${signal}: finishing the requests in work; a second signal stops at once`)
    broker.close().then(() => {
      logger.info('closed')
    }, (error: unknown) => {
      logger.error({ err: error }, 'did not close cleanly')
      process.exitCode = EXIT_CODE_REFUSED
    })
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}

function levelOf (level: string): string {
  return level === 'silent' || level in pino.levels.values ? level : 'info'
}

/** What went wrong and what to do, without a stack, for everything that a user can cause. */
function explain (error: unknown, options: BrokerOptions): string {
  const { code, message, stack, name, address, port } = error as NodeJS.ErrnoException & { address?: string, port?: number }
  const wanted = `${address ?? options.host ?? '127.0.0.1'}:${port ?? options.port ?? ''}`
  const option = port !== undefined && port === options.metricsPort ? '--metrics-port' : '--port'
  switch (code) {
    case 'EADDRINUSE': return `port taken: something else listens on ${wanted}.\nChoose another port with ${option}, or a free one with ${option} 0.`
    case 'EACCES': return `not allowed to listen on ${wanted}: ports below 1024 need a privilege.\nChoose another port with ${option}.`
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND': return `cannot listen on ${options.host ?? wanted}: ${message}.\nChoose an address of this machine with --host.`
    case 'locked': return `the data folder is in use: ${message}\nStop the other broker, or choose another folder with --data-dir.`
    case 'denied': return `the data folder cannot be used: ${message}\nChoose another folder with --data-dir, or, where permission is missing, run as the user who owns this one.`
  }
  if (name === 'LogError') return `the data folder cannot be opened: ${message}`
  if (error instanceof UsageError || name === 'ConfigError' || name === 'OptionError') return message
  return stack ?? String(error)
}
