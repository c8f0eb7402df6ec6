/** The documented workloads: their settings by the guide's names, their charts, and one short run of what a user types. */
import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import t from 'tap'
import { fromCsv } from '../../bench/store/csv.js'
import { haulout } from '../../bench/store/sides/haulout.js'
import { CHARTS, optionOf, svgOf } from '../../bench/workloads/charts.js'
import { opener } from '../../bench/workloads/browser.js'
import { latenciesCsv } from '../../bench/workloads/latencies.js'
import { flushPolicyFrom, fsyncMode, secondsFrom, settingsFrom, threadCounts } from '../../bench/workloads/settings.js'
import { awaitEvery } from '../../bench/workloads/steps.js'
import { clientSettings, flushOption, kafkaProperties } from '../../bench/workloads/peers.js'
import { settingsInWords, stepsOf, WORKLOADS, type WorkloadName } from '../../bench/workloads/workloads.js'
import { testFolder } from '../contract/entries.js'
import { PLAIN_NODE } from '../support/plain-node.js'

const DIST = path.resolve(path.dirname(new URL(import.meta.url).pathname), '../..')
const DEFAULTS = { fsync: 'async', threads: '1,2', batch: '256' }

t.test('settings', async (t) => {
  for (const [text, mode] of [['sync-each', 'sync-each'], ['no-fsync', 'no-fsync'], ['none', 'no-fsync'], ['async', '1000ms'], ['500ms', '500ms'], ['250', '250ms']] as const) {
    t.equal(fsyncMode(flushPolicyFrom(text)!), mode, text)
  }
  t.same(threadCounts('THREADS', '8'), [8])
  t.same(threadCounts('THREADS', '2-5'), [2, 3, 4, 5])
  t.same(threadCounts('THREADS', '1,2,4'), [1, 2, 4])
  t.same(['30s', '2m', '1h', '45', '250ms'].map((text) => secondsFrom('WALRUS_DURATION', text)), [30, 120, 3600, 45, 0.25])
  const plain = settingsFrom({}, DEFAULTS)
  t.match(plain, { flushPolicies: [{ kind: 'interval', intervalMs: 1000 }], threads: [1, 2], batch: 256, bytesMin: 500, bytesMax: 1024, quiet: false, backend: 'auto' })
  t.match(settingsFrom({ WALRUS_DURATION: '3s', WALRUS_READ_DURATION: '1s', BATCH: '9', ENTRY_SIZE: '64', WALRUS_QUIET: '1', THREADS: '' }, DEFAULTS),
    { seconds: 3, writeSeconds: 3, readSeconds: 1, batch: 9, bytesMin: 64, bytesMax: 64, quiet: true, threads: [1, 2] })
  t.same([{}, { BACKEND: 'fd' }, { BACKEND: 'mmap' }].map((environment) => settingsFrom({ ...environment, WALRUS_DISABLE_IO_URING: '1' }, DEFAULTS).backend), ['threads', 'threads', 'mmap'])
  t.equal(settingsFrom({ WALRUS_DISABLE_IO_URING: 'false' }, DEFAULTS).backend, 'auto')
  t.match(settingsFrom({ FSYNC: 'async', WALRUS_FSYNC: 'sync-each', THREADS: '1', WALRUS_THREADS: '2', BACKEND: 'mmap', WALRUS_BACKEND: 'fd' }, DEFAULTS),
    { flushPolicies: [{ kind: 'each' }], threads: [2], backend: 'auto' }, 'the longer name wins, as in the library')
  t.match(settingsFrom({ WALRUS_FSYNC: 'no-fsync' }, DEFAULTS, 'analytics'), { flushPolicies: [{ kind: 'none' }] }, 'over a preset, too')
  t.same(settingsFrom({ FSYNC: 'no-fsync, 500ms' }, DEFAULTS).flushPolicies.map(fsyncMode), ['no-fsync', '500ms'], 'several schedules in one file')
  t.match(settingsFrom({ THREADS: '2' }, DEFAULTS, 'financial-transactions'), { flushPolicies: [{ kind: 'each' }], threads: [2], bytesMin: 512, bytesMax: 512 },
    'the environment wins over a preset')
})

t.test('settings that are not understood are named', async (t) => {
  for (const environment of [
    { FSYNC: 'banana' }, { FSYNC: '0ms' }, { THREADS: '0' }, { THREADS: '4-2' }, { THREADS: '1,x' }, { WALRUS_DURATION: '0s' }, { WALRUS_DURATION: 'soon' },
    { FSYNC: '99999999999ms' }, { FSYNC: 'async,' }, { WALRUS_FSYNC: 'maybe' }, { WALRUS_THREADS: '1e2' }, { WALRUS_DURATION: '25h' }, { WALRUS_DURATION: '-1' },
    { BATCH: 'x' }, { WALRUS_BACKEND: 'tape' }, { WALRUS_BATCH_SIZE: '2001' }, { ENTRY_SIZE: '-1' }, { ENTRY_SIZE: '1.5' }, { BACKEND: 'tape' }
  ] as Record<string, string>[]) {
    const [[name, value]] = Object.entries(environment) as [[string, string]]
    t.throws(() => settingsFrom(environment, DEFAULTS), { message: new RegExp(`^${name}=${value.replace('.', '\\.')} is not understood: it takes `) }, `${name}=${value}`)
  }
})

t.test('what a run says of its settings is what its workload uses', async (t) => {
  const settings = settingsFrom({ WALRUS_WRITE_DURATION: '1s', WALRUS_READ_DURATION: '2s', ENTRY_SIZE: '64', WALRUS_BATCH_SIZE: '9' }, DEFAULTS)
  t.match(settingsInWords('reads', settings, 'io_uring'), { duration: '1 s of writing, 2 s of reading each', entries: '64 bytes', backend: 'io_uring', batch: undefined })
  t.match(settingsInWords('batch', settings, 'io_uring'), { duration: '10 s each', batch: '9 entries' })
})

t.test('large entries are waited for more often, so that what waits fits into memory', async (t) => {
  const every = (bytesMax: number, batch: number): number => awaitEvery({ flushPolicy: { kind: 'none' }, bytesMax }, batch)
  t.same([every(1024, 1), every(2 ** 20, 8), every(100 * 2 ** 20, 1)], [32, 8, 1])
  t.equal(awaitEvery({ flushPolicy: { kind: 'each' }, bytesMax: 1 }, 1), 1)
})

t.test('several schedules are a line each, where the columns can tell them apart', async (t) => {
  const settings = settingsFrom({ FSYNC: 'no-fsync,sync-each', THREADS: '1,2' }, DEFAULTS)
  t.same(stepsOf('writes', settings).map(({ title }) => title), ['no-fsync, 1 thread', 'no-fsync, 2 threads', 'sync-each, 1 thread', 'sync-each, 2 threads'])
  t.throws(() => stepsOf('scaling', settings), { message: /^FSYNC takes one schedule for bench-scaling/ })
})

t.test('everybody is measured, with and without fsync unless it is said, and brokers are told the same schedule', async (t) => {
  const titles = stepsOf('vs', settingsFrom({ THREADS: '2' }, WORKLOADS.vs.defaults)).map(({ title }) => title)
  t.same(titles.slice(0, 6), ['haulout', 'walrus', 'rocksdb', 'fio', 'haulout-broker', 'kafka'].map((system) => `no-fsync, ${system}, 2 threads`))
  t.equal(titles[11], 'sync-each, kafka, 2 threads')
  for (const [text, flush, properties] of [
    ['sync-each', 'each', { 'log.flush.interval.messages': '1' }], ['no-fsync', 'none', {}], ['500ms', '500ms', { 'log.flush.interval.ms': '500', 'log.flush.scheduler.interval.ms': '500' }]
  ] as const) {
    t.equal(flushOption(flushPolicyFrom(text)!), flush)
    t.same(kafkaProperties(flushPolicyFrom(text)!), properties)
  }
  const load = { seconds: 1, bytesMin: 500, bytesMax: 1024, batch: 1 }
  t.match(clientSettings({ ...load, flushPolicy: { kind: 'each' } }), { batchRecords: 1, inFlight: 1, recordBytes: 762 }, 'every write waits for its answer')
  t.match(clientSettings({ ...load, flushPolicy: { kind: 'none' } }), { batchRecords: undefined, inFlight: undefined, lingerMs: 5 }, 'as clients batch')
  t.match(clientSettings({ ...load, batch: 256, flushPolicy: { kind: 'none' } }), { batchRecords: 256, inFlight: undefined })
})

t.test('reads are in batches and single, in both consistency modes', async (t) => {
  const titles = stepsOf('reads', settingsFrom({ THREADS: '1,8' }, WORKLOADS.reads.defaults)).map(({ title }) => title)
  t.same(titles, ['write phase, 8 threads', ...['', 'strictly at once, ', 'single, ', 'single strictly at once, '].flatMap((how) => [`read phase, ${how}1 thread`, `read phase, ${how}8 threads`])])
})

t.test('charts draw every column that they name', async (t) => {
  for (const name of Object.keys(WORKLOADS) as WorkloadName[]) {
    const { columns } = WORKLOADS[name]
    const chart = CHARTS[name]
    for (const column of [...chart.across, ...chart.panels.map(({ column }) => column), ...(chart.series === undefined ? [] : [chart.series])]) {
      t.ok((columns as readonly string[]).includes(column), `${name}: ${column}`)
    }
  }
  const records = fromCsv('threads,fsync_mode,ops_per_sec,mb_per_sec,avg_latency_us\n1,no-fsync,10,1,5\n2,no-fsync,20,2,6\n1,sync-each,3,0.3,7\n')
  t.same((optionOf('writes', records).series as { data: unknown }[]).map(({ data }) => data), [[10, 20], [3, null], [1, 2], [0.3, null], [5, 6], [7, null]])
  t.match(optionOf('writes', records).yAxis, [{ type: 'value', min: 0 }, { type: 'value' }, { type: 'value' }])
  t.match(optionOf('writes', fromCsv('threads,fsync_mode,ops_per_sec,mb_per_sec,avg_latency_us\n1,no-fsync,900000,1,5\n1,sync-each,300,0.3,7\n')).yAxis,
    [{ type: 'log', min: 100, startValue: 100, name: 'entries per second, logarithmic' }, { type: 'value' }, { type: 'value' }], 'small values beside large ones are seen')
  const systems = 'system,threads,fsync_mode,ops_per_sec,mb_per_sec,avg_latency_us\nhaulout,4,no-fsync,9,1,5\nwalrus,4,no-fsync,8,1,5\n'
  t.match(optionOf('vs', fromCsv(systems)).xAxis, [{ data: ['haulout', 'walrus'], name: 'system, 4 threads' }, {}, {}], 'what is the same everywhere is said once')
  t.match(optionOf('vs', fromCsv(`${systems}haulout,8,500ms,7,1,5\n`)), {
    xAxis: [{ data: ['haulout, 4 threads', 'walrus, 4 threads', 'haulout, 8 threads'], name: 'system and threads' }, {}, {}], series: [{ data: [9, 8, null] }, { data: [null, null, 7] }]
  })
  t.match(optionOf('reads', fromCsv('phase,threads,ops_per_sec,mb_per_sec,avg_latency_us\nwrite,8,9,1,5\nread,1,8,1,5\nread,8,7,1,5\n')), { xAxis: [{ data: ['1', '8'] }], series: [{ data: [null, 9] }, { data: [8, 7] }] })
  const rotated = (labels: string): unknown => (optionOf('vs', fromCsv(labels.split(' ').reduce((text, name) => `${text}${name},4,no-fsync,8,1,5\n`, 'system,threads,fsync_mode,ops_per_sec,mb_per_sec,avg_latency_us\n')))
    .xAxis as { axisLabel: { rotate?: number } }[])[0]!.axisLabel.rotate
  t.equal(rotated('haulout walrus rocksdb'), undefined)
  t.equal(rotated('haulout walrus rocksdb fio haulout-broker kafka'), 35, 'where a word does not fit below its point')
  const svg = svgOf('writes', records, 'on a small machine')
  t.match(svg, /^<svg[^]*sync-each[^]*<\/svg>$/)
  t.match(svg, 'on a small machine')
})

t.test('the distribution of latencies is a file of its own, and a panel with the most threads', async (t) => {
  const { columns } = WORKLOADS.writes
  const outcome = (threads: number, latencyUsP50: number) => ({ row: [threads, 'no-fsync', 9, 9, 9], figures: { latencyUsP50, latencyUsP99: 900, seconds: 1 } })
  const text = latenciesCsv(columns, [outcome(1, 4), outcome(2, 5)])
  t.equal(text, 'threads,fsync_mode,percentile,latency_us\n1,no-fsync,50,4\n1,no-fsync,99,900\n2,no-fsync,50,5\n2,no-fsync,99,900\n')
  const records = fromCsv(`${columns.join()}\n1,no-fsync,9,9,9\n2,no-fsync,9,9,9\n`)
  const { series, title, xAxis } = optionOf('writes', records, '', fromCsv(text)) as { series: { data: unknown }[], title: { text: string }[], xAxis: unknown[] }
  t.same(series.at(-1)!.data, [[5, 50], [900, 99]])
  t.equal(title.at(-1)!.text, 'Latency distribution, 2 threads')
  t.match(xAxis.at(-1), { type: 'log', min: 1 })
  t.equal((optionOf('writes', records).xAxis as unknown[]).length, 3, 'without the file, none')
})

t.test('a picture is opened where somebody sits in front of a screen', async (t) => {
  t.equal(opener('linux', { DISPLAY: ':0' }, true), 'xdg-open')
  t.equal(opener('linux', { WAYLAND_DISPLAY: 'wayland-0' }, true), 'xdg-open')
  t.equal(opener('darwin', {}, true), 'open')
  t.equal(opener('linux', {}, true), undefined)
  t.equal(opener('linux', { DISPLAY: ':0' }, false), undefined, 'not in a script')
})

t.test('a store under every task of bench/store', async (t) => {
  const folder = testFolder(t)
  const common = { api: 'store', logs: 3, bytesMin: 500, bytesMax: 1024, flushPolicy: { kind: 'each' } } as const
  const filled = await haulout({ kind: 'fill', ...common, dataDir: path.join(folder, 'killed'), mebibytes: 4, thenKill: true })
  const recovered = await haulout({ kind: 'recover', ...common, dataDir: path.join(folder, 'killed') })
  t.ok(recovered.bytes! >= filled.bytes!, 'every acknowledged byte is there after the kill')
  const read = await haulout({ kind: 'read', ...common, dataDir: path.join(folder, 'killed'), readers: 2, batchBytes: 2 ** 20, dropCaches: false })
  t.equal(read.bytes, recovered.bytes)
  const tail = await haulout({ kind: 'read-tail', ...common, dataDir: path.join(folder, 'tail'), batchBytes: 2 ** 20, mebibytes: 2, seconds: 0.05 })
  t.ok(tail.bytes! >= 2 * 2 ** 20)
  const topics = await haulout({ kind: 'read-tail', ...common, api: 'topics', dataDir: path.join(folder, 'topics'), batchBytes: 2 ** 20, mebibytes: 2, seconds: 0.05 })
  t.ok(topics.bytes! >= 2 * 2 ** 20)
  for (const [records, persistEvery] of [['batches', 1], ['batches', 100], ['single', 1], ['single', 100]] as const) {
    const through = await haulout({ kind: 'read', ...common, api: 'topics', dataDir: path.join(folder, 'topics'), readers: 2, batchBytes: 2 ** 20, dropCaches: false, seconds: 0.05, reading: { records, persistEvery } })
    t.ok(through.entries! > 0 && through.bytes! >= 500 * through.entries!, `through a cursor, ${records}, stored after ${persistEvery}`)
    if (records === 'single') t.equal(through.operations, through.entries)
  }
  const idle = await haulout({ kind: 'idle', ...common, dataDir: path.join(folder, 'idle'), thenWrite: true })
  t.ok(idle.residentMebibytes! > 10)
})

t.test('bench-writes and show-writes', async (t) => {
  const folder = testFolder(t)
  const environment = { ...process.env, WALRUS_DATA_DIR: folder, WALRUS_DURATION: '100ms', THREADS: '2', FSYNC: 'sync-each', WALRUS_QUIET: '1' }
  const run = async (...args: string[]) => await promisify(execFile)('env', [...PLAIN_NODE, ...args], { cwd: folder, env: environment })
  await run(path.join(DIST, 'bench/workloads/main.js'), 'writes')
  const written = readdirSync(path.join(folder, 'benchmarks'))
  const csv = written.find((file) => /Z\.csv$/.test(file))
  const percentiles = fromCsv(readFileSync(path.join(folder, 'benchmarks', written.find((file) => file.endsWith('.latency.csv'))!), 'utf8')).map(({ percentile, latency_us: us }) => [Number(percentile), Number(us)])
  t.ok(percentiles.length > 10 && percentiles.every(([, us], at) => at === 0 || us! >= percentiles[at - 1]![1]!), 'of both threads together, ascending')
  t.match(csv, /^write_benchmark_.*\.csv$/)
  t.match(JSON.parse(readFileSync(path.join(folder, 'benchmarks', csv!.replace(/csv$/, 'machine.json')), 'utf8')), { haulout: /./, kernel: /./, fileSystem: /./, fsync: 'sync-each', threads: '2' })
  const records = fromCsv(readFileSync(path.join(folder, 'benchmarks', csv!), 'utf8'))
  t.same(Object.keys(records[0]!), ['threads', 'fsync_mode', 'ops_per_sec', 'mb_per_sec', 'avg_latency_us'])
  t.same(records.map(({ threads }) => threads), ['2'])
  for (const { ops_per_sec: operations, avg_latency_us: latency } of records) t.ok(Number(operations) > 0 && Number(latency) > 0)
  t.match((await run(path.join(DIST, 'bench/workloads/show.js'), 'writes')).stdout, /ops_per_sec[^]*\.svg\n$/)
  await t.rejects(run(path.join(DIST, 'bench/workloads/show.js'), 'reads'), /run bench-reads first/)
  t.same(readdirSync(folder), ['benchmarks'], 'nothing is left behind')
})

t.test('a run that is interrupted keeps what is finished, and leaves no process and no data behind', async (t) => {
  const folder = testFolder(t)
  const environment = { ...process.env, WALRUS_DATA_DIR: path.join(folder, 'made'), WALRUS_DURATION: '60s', WALRUS_WRITE_DURATION: '100ms', THREADS: '2' }
  const run = spawn('env', [...PLAIN_NODE, path.join(DIST, 'bench/workloads/main.js'), 'reads'], { cwd: folder, env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(run, 'exit')
  for await (const line of createInterface(run.stderr)) if (line.startsWith('read phase')) break
  const [child] = execFileSync('ps', ['-o', 'pid=', '--ppid', `${run.pid!}`], { encoding: 'utf8' }).trim().split('\n').map(Number)
  run.kill('SIGTERM')
  t.same(await ended, [143, null])
  t.same(readdirSync(path.join(folder, 'made')), [])
  t.match(readdirSync(path.join(folder, 'benchmarks')).sort(), [/Z\.csv$/, /\.latency\.csv$/, /\.machine\.json$/])
  await untilGone(child!)
})

t.test('a run that cannot go on says why in a sentence', async (t) => {
  const folder = testFolder(t)
  const fail = async (environment: Record<string, string>, ...args: string[]): Promise<string> => await promisify(execFile)('env', [...PLAIN_NODE, path.join(DIST, 'bench/workloads/main.js'), 'writes', ...args],
    { cwd: folder, env: { ...process.env, WALRUS_DATA_DIR: folder, WALRUS_QUIET: '1', WALRUS_DURATION: '100ms', ...environment } }).then(() => 'nothing', (error: { stderr: string }) => error.stderr)
  writeFileSync(path.join(folder, 'file'), '')
  t.match(await fail({ WALRUS_DATA_DIR: path.join(folder, 'file') }), /^WALRUS_DATA_DIR=.*file cannot be written to: [^\n]*\n$/)
  t.match(await fail({ WALRUS_DATA_DIR: '/proc/no/such' }), /^WALRUS_DATA_DIR=\/proc\/no\/such cannot be written to: [^\n]*\n$/)
  t.match(await fail({}, '--out', path.join(folder, 'file')), /^--out=.*file cannot be written to: [^\n]*\n$/, 'before anything is measured')
  t.match(await fail({ THREADS: 'abc' }), /^THREADS=abc is not understood: it takes [^\n]*\n$/)
})

/** A killed process is there until the kernel has taken it apart. */
async function untilGone (pid: number): Promise<void> {
  const there = (): boolean => /^State:\s+[^ZX]/m.test(statusOf(pid))
  for (let look = 0; there(); look++) {
    if (look === 100) throw new Error(`process ${pid} goes on`)
    await sleep(50)
  }
}

function statusOf (pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch {
    return ''
  }
}
