/**
 * Health and metrics over HTTP: `/metrics` for Prometheus, `/healthz` and `/readyz` for probes. Nothing here is authenticated, as in
 * other exporters, and nothing can be changed. Loaded only where it is asked for.
 */
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Health } from './health.js'
import { metricsOf, type MetricsSources } from './metrics.js'

const CONNECTIONS_MAX = 64
const REQUEST_DEADLINE_MS = 10_000

export interface MetricsServerOptions extends MetricsSources {
  readonly host: string
  readonly port: number
  /** Whether clients are served. */
  readonly isServing: () => boolean
  readonly keepsProcessAlive: boolean
  readonly logger: Logger
}

export class MetricsServer {
  /** That it is bound to. */
  port = 0
  readonly #server: http.Server
  readonly #options: MetricsServerOptions
  readonly #registry: ReturnType<typeof metricsOf>
  /** Those who ask while an answer is made share it. */
  #text: Promise<string> | undefined

  private constructor (options: MetricsServerOptions) {
    this.#options = options
    this.#registry = metricsOf(options)
    this.#server = http.createServer({ requestTimeout: REQUEST_DEADLINE_MS, headersTimeout: REQUEST_DEADLINE_MS }, (request, response) => { void this.#answer(request, response) })
    this.#server.maxConnections = CONNECTIONS_MAX
    if (options.keepsProcessAlive) return
    this.#server.unref()
    this.#server.on('connection', (socket) => socket.unref())
  }

  /** Rejects with the error of listen(2). */
  static async open (options: MetricsServerOptions): Promise<MetricsServer> {
    const server = new MetricsServer(options)
    const { host, port, logger } = options
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', reject)
      server.#server.listen({ host, port }, () => {
        server.#server.off('error', reject)
        resolve()
      })
    })
    server.#server.on('error', (error) => logger.error({ err: error }, 'cannot accept connections for metrics'))
    const { address, port: bound } = server.#server.address() as AddressInfo
    server.port = bound
    logger.info({ metricsPort: bound }, `metrics on http://${address.includes(':') ? `[${address}]` : address}:${bound}/metrics`)
    return server
  }

  async close (): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
  }

  async #answer ({ method, url = '' }: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    if (method !== 'GET' && method !== 'HEAD') {
      send(response, 405, 'text/plain', 'GET and HEAD only\n')
      return
    }
    const { health, isServing, logger } = this.#options
    switch (url.split('?')[0]) {
      case '/metrics': {
        try {
          send(response, 200, this.#registry.contentType, await this.#metrics())
        } catch (error) {
          logger.error({ err: error }, 'metrics cannot be read: this is a bug in the broker')
          send(response, 500, 'text/plain', 'metrics cannot be read; the log says why\n')
        }
        break
      }
      case '/healthz': sendHealth(response, health(), true); break
      case '/readyz': sendHealth(response, health(), isServing()); break
      default: send(response, 404, 'text/plain', 'There are /metrics, /healthz and /readyz\n')
    }
  }

  #metrics (): Promise<string> {
    return this.#text ??= this.#render().finally(() => { this.#text = undefined })
  }

  /** A metric a turn of the event loop: of some there is a line for each of thousands of partitions. */
  async #render (): Promise<string> {
    const texts: string[] = []
    for (const { name } of this.#registry.getMetricsAsArray()) {
      texts.push(await this.#registry.getSingleMetricAsString(name))
      await setImmediate()
    }
    return `${texts.join('\n\n')}\n`
  }
}

function sendHealth (response: http.ServerResponse, health: Health, isServing: boolean): void {
  send(response, isServing && health.status !== 'failed' ? 200 : 503, 'application/json', `${JSON.stringify(health)}\n`)
}

function send (response: http.ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body)
}
