/** Metrics and health as an operator sees them, of a broker on a disk that fails: faults are put into the file handles of this process. */
import { open, type FileHandle } from 'node:fs/promises'
import http from 'node:http'
import path from 'node:path'
import { test, type Test } from 'tap'
import { Broker } from '../../src/index.js'
import { AppendStatistics } from '../../src/broker/append-statistics.js'
import type { Health } from '../../src/broker/health.js'
import { MetricsServer } from '../../src/broker/metrics-server.js'
import { SILENT_LOGGER } from '../../src/broker/silent-logger.js'
import { ErrorCode } from '../../src/protocol/error-codes.js'
import { produce } from '../../src/protocol/schemas/00-produce.js'
import { fetch as fetchApi } from '../../src/protocol/schemas/01-fetch.js'
import { offsetCommit } from '../../src/protocol/schemas/08-offset-commit.js'
import { findCoordinator } from '../../src/protocol/schemas/10-find-coordinator.js'
import { fetchRequest, makeTopic, produceRequest, RememberingLogger, until } from '../hostile/support.js'
import { connect } from '../support/raw-client.js'
import { plainBatch } from './support/batches.js'
import { ManualClock } from './support/manual-clock.js'
import { fixedTopics } from './support/partitions.js'

async function get (port: number | undefined, route: string, method = 'GET'): Promise<{ status: number, body: string }> {
  return await new Promise((resolve, reject) => {
    http.request({ port, path: route, method, agent: false }, (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (text: string) => { body += text }).on('end', () => resolve({ status: response.statusCode!, body }))
    }).on('error', reject).end()
  })
}

/** One series' value. */
async function metric (port: number | undefined, series: string): Promise<number> {
  const { body } = await get(port, '/metrics')
  const line = body.split('\n').find((line) => line.startsWith(`${series} `))
  if (line === undefined) throw new Error(`there is no ${series} in\n${body}`)
  return Number(line.slice(series.length + 1))
}

/** Until `broken` is false again, nothing that this process writes reaches a disk. */
async function failingDisk (t: Test): Promise<{ broken: boolean }> {
  const disk = { broken: false }
  const probe = await open('/dev/null', 'r')
  const handles = Object.getPrototypeOf(probe) as Record<string, (this: FileHandle, ...parameters: any[]) => Promise<any>>
  await probe.close()
  for (const name of ['write', 'writev', 'datasync', 'sync']) {
    const real = handles[name]!
    handles[name] = async function (...parameters) {
      if (disk.broken) throw Object.assign(new Error('EIO: i/o error, injected'), { code: 'EIO' })
      return await real.apply(this, parameters)
    }
    t.teardown(() => { handles[name] = real })
  }
  return disk
}

test('what clients do is counted under the names that dashboards know', async (t) => {
  const broker = await Broker.start({ metricsPort: 0, config: { 'num.partitions': 2 } })
  t.teardown(() => broker.close())
  const { metricsPort } = broker
  const client = await connect(broker.port)
  await makeTopic(client, 'seals')
  const batch = plainBatch(3)
  for (let sent = 0; sent < 2; sent++) await client.send(produce, 9, produceRequest('seals', batch))
  const spoilt = Buffer.from(batch)
  spoilt[70]! ^= 1
  await client.send(produce, 9, produceRequest('seals', spoilt))
  await client.send(fetchApi, 11, fetchRequest('seals', 0))
  while ((await client.send(findCoordinator, 2, { key: 'g', keyType: 0 } as never)).errorCode !== 0) await new Promise(setImmediate)
  await client.send(offsetCommit, 7, { groupId: 'g', generationIdOrMemberEpoch: -1, memberId: '', topics: [{ name: 'seals', partitions: [{ partitionIndex: 0, committedOffset: 4, committedLeaderEpoch: 0, committedMetadata: null }] }] } as never)
  const expected: Readonly<Record<string, number>> = {
    'kafka_server_brokertopicmetrics_messagesin_total{topic="seals"}': 6,
    'kafka_server_brokertopicmetrics_bytesin_total{topic="seals"}': 2 * batch.length,
    'kafka_server_brokertopicmetrics_bytesout_total{topic="seals"}': 2 * batch.length,
    'kafka_server_brokertopicmetrics_failedproducerequests_total{topic="seals"}': 1,
    'kafka_network_requestmetrics_requests_total{request="Produce"}': 3,
    'kafka_topic_partitions{topic="seals"}': 2,
    'kafka_topic_partition_current_offset{topic="seals",partition="0"}': 6,
    'kafka_topic_partition_current_offset{topic="seals",partition="1"}': 0,
    'kafka_topic_partition_oldest_offset{topic="seals",partition="0"}': 0,
    'kafka_consumergroup_members{consumergroup="g"}': 0,
    'kafka_consumergroup_current_offset{consumergroup="g",topic="seals",partition="0"}': 4,
    'kafka_consumergroup_lag{consumergroup="g",topic="seals",partition="0"}': 2,
    haulout_store_failed_logs: 0,
    'haulout_store_append_failures_total{code="failed"}': 0,
    haulout_connections: 1,
    haulout_request_memory_bytes: 0,
    haulout_health: 0
  }
  for (const [series, value] of Object.entries(expected)) t.equal(await metric(metricsPort, series), value, series)
  t.ok(await metric(metricsPort, 'haulout_store_bytes') > 2 * batch.length)
  t.ok(await metric(metricsPort, 'haulout_store_append_seconds_count') > 2)
  t.equal(await metric(metricsPort, 'haulout_store_append_seconds_bucket{le="+Inf"}'), await metric(metricsPort, 'haulout_store_append_seconds_count'))
  t.ok(await metric(metricsPort, 'process_resident_memory_bytes') > 0)
  const { body } = await get(metricsPort, '/metrics')
  t.notMatch(body, /haulout_store_free_bytes \d/, 'memory has no such limit')
  t.equal(body.match(/^# TYPE kafka_topic_partitions gauge$/gm)?.length, 1)
  client.close()
})

test('EIO: health, metrics and one line say so, other partitions go on, and all is well when the disk is', async (t) => {
  const disk = await failingDisk(t)
  const clock = new ManualClock()
  const log = new RememberingLogger()
  const dataDir = path.join(t.testdir(), 'data')
  const broker = await Broker.start({ dataDir, storageBackend: 'node:fs', metricsPort: 0, clock, logger: log.logger })
  const { metricsPort } = broker
  const client = await connect(broker.port)
  const send = async (topic: string): Promise<number> => (await client.send(produce, 9, produceRequest(topic, plainBatch()))).responses[0]!.partitionResponses[0]!.errorCode
  for (const topic of ['bad', 'good']) {
    await makeTopic(client, topic)
    t.equal(await send(topic), ErrorCode.NONE)
  }
  t.same(await get(metricsPort, '/healthz'), { status: 200, body: '{"status":"ok","reasons":[]}\n' })
  disk.broken = true
  t.equal(await send('bad'), ErrorCode.KAFKA_STORAGE_ERROR)
  disk.broken = false
  for (let tries = 0; tries < 20; tries++) t.equal(await send('bad'), ErrorCode.KAFKA_STORAGE_ERROR)
  t.equal(await send('good'), ErrorCode.NONE, 'the other partition goes on')
  for (const route of ['/healthz', '/readyz']) {
    const { status, body } = await get(metricsPort, route)
    t.equal(status, 200, 'degraded is no reason to take it away')
    const { status: said, reasons } = JSON.parse(body) as Health
    t.equal(said, 'degraded')
    t.match(reasons, [/^bad-0 takes no records \(.*EIO.*\), so producers are refused there: mend the disk with .*data; /])
  }
  t.equal(await metric(metricsPort, 'haulout_health'), 1)
  t.equal(await metric(metricsPort, 'haulout_store_failed_logs'), 1)
  t.equal(await metric(metricsPort, 'haulout_store_append_failures_total{code="failed"}'), 1)
  t.equal(await metric(metricsPort, 'kafka_server_brokertopicmetrics_failedproducerequests_total{topic="bad"}'), 21)
  t.same(log.lines.filter(({ level }) => level !== 'info').map(({ message }) => message), ['a write to bad-0 failed; it takes no records until its log is open again'])
  disk.broken = true
  t.equal(await send('good'), ErrorCode.KAFKA_STORAGE_ERROR)
  t.equal((await get(metricsPort, '/healthz')).status, 503, 'nothing can be written any more')
  t.equal((await get(metricsPort, '/readyz')).status, 503)
  t.equal(await metric(metricsPort, 'haulout_health'), 2)
  disk.broken = false
  clock.advance(1_000)
  await until(() => broker.health().status === 'ok', 'the logs are open again')
  for (const topic of ['bad', 'good']) t.equal(await send(topic), ErrorCode.NONE)
  t.same(await get(metricsPort, '/readyz'), { status: 200, body: '{"status":"ok","reasons":[]}\n' })
  t.equal(await metric(metricsPort, 'haulout_store_failed_logs'), 0)
  t.equal(log.matching(/takes records again/).length, 2)
  client.close()
  const closing = broker.close()
  t.match(broker.health(), { status: 'degraded', reasons: [/is closing/] })
  await closing
  t.match(broker.health(), { status: 'failed', reasons: [/is closed/] })
  await t.rejects(get(metricsPort, '/healthz'), { code: 'ECONNREFUSED' })
})

test('routes, methods, a broker that is closing, and a source that throws', async (t) => {
  const log = new RememberingLogger()
  const state = { health: { status: 'ok', reasons: [] } as Health, isServing: true }
  const server = await MetricsServer.open({
    topics: fixedTopics(),
    ownLogs: [],
    groups: { groups: () => [], offsets: () => undefined },
    dispatcher: { requestCounts: [] },
    listeners: { get connectionCount (): number { throw new Error('a mistake') }, requestBytes: 0 },
    statistics: new AppendStatistics(SILENT_LOGGER),
    store: { bytesFree: () => { throw new Error('nobody can say') } },
    health: () => state.health,
    isServing: () => state.isServing,
    host: '127.0.0.1',
    port: 0,
    keepsProcessAlive: false,
    logger: log.logger
  })
  t.teardown(() => server.close())
  const status = async (route: string, method?: string): Promise<number> => (await get(server.port, route, method)).status
  t.equal(await status('/healthz?verbose'), 200)
  t.equal(await status('/'), 404)
  t.equal(await status('/metrics', 'POST'), 405)
  t.same(await get(server.port, '/readyz', 'HEAD'), { status: 200, body: '' })
  t.equal(await status('/metrics'), 500)
  t.equal(log.matching(/metrics cannot be read/).length, 1)
  state.isServing = false
  state.health = { status: 'degraded', reasons: ['the broker is closing'] }
  t.equal(await status('/readyz'), 503, 'no more clients, please')
  t.equal(await status('/healthz'), 200, 'but nothing is wrong with it')
})
