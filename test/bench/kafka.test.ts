import t from 'tap'
import { advantages, costBars, cumulative, growthLines, latencyBars, latencyDistribution, smoothed, throughputOverTime } from '../../bench/kafka/charts.js'
import { latencyWords, producerWords } from '../../bench/kafka/clients/java.js'
import { latencyMs } from '../../bench/kafka/clients/wire.js'
import { produceErrorAt, produceFrame, recordBatch, varint } from '../../bench/kafka/frames.js'
import { growths, pointByPoint } from '../../bench/kafka/growth.js'
import { costOf, fullDisk, type Turn, type Work } from '../../bench/kafka/load.js'
import { loads } from '../../bench/kafka/loads.js'
import { cpuSecondsOf } from '../../bench/kafka/process-figures.js'
import { output, settingsArguments } from '../../bench/kafka/programs.js'
import { htmlReport } from '../../bench/kafka/report.js'
import { cells } from '../../bench/kafka/table.js'
import { Bytes, Words } from '../../bench/kafka/words.js'
import { inTurn, judge, LeftOut } from '../../bench/store/measurement.js'
import { complaintOf, execute } from '../../bench/store/tools.js'
import { crc32c } from '../../src/crc32c.js'

t.test('processor time is read behind a name with spaces and parentheses, children included', async (t) => {
  t.equal(cpuSecondsOf('7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0 11 0 5'), 1.27)
})

t.test('a disk that is full is said, and what was measured on it is of no use', async (t) => {
  t.equal(fullDisk('/data', { bavail: 64 * 256, bsize: 4096 }), undefined)
  t.match(fullDisk('/data', { bavail: 256, bsize: 4096 }), /^the disk is full, 1 MiB are left for \/data .*: $/)
})

t.test('every second round goes backwards', async (t) => {
  t.same(inTurn(['a', 'b', 'c'], 1), ['a', 'b', 'c'])
  t.same(inTurn(['a', 'b', 'c'], 2), ['c', 'b', 'a'])
})

t.test('cost is per gigabyte moved, and per byte', async (t) => {
  const before = { cpuSeconds: 1, residentBytes: 0, residentBytesMax: 0, writtenBytes: 1e9, readBytes: 0 }
  const after = { cpuSeconds: 2, residentBytes: 0, residentBytesMax: 2 ** 20, writtenBytes: 3e9, readBytes: 1e9 }
  t.same(costOf(before, after, 2e9), { brokerCpuSecondsPerGigabyte: 0.5, bytesWrittenPerByte: 1, bytesReadPerByte: 0.5, residentMebibytesMax: 1 })
})

t.test('words are read as they were written, and a message that ends too early is refused', async (t) => {
  const frame = new Words().int16(7).int32(-2).string('topic').string(null).array([1, 2], () => {}).frame()
  t.equal(frame.readInt32BE(), frame.length - 4)
  const bytes = new Bytes(frame.subarray(4))
  t.equal(bytes.int16(), 7)
  t.equal(bytes.int32(), -2)
  t.equal(bytes.string(), 'topic')
  t.equal(bytes.string(), null)
  t.equal(bytes.int32(), 2)
  t.throws(() => bytes.int32(), { message: 'the message ends too early' })
})

t.test('what Kafka\'s tools say is read, and words that are not understood are refused', async (t) => {
  t.same(producerWords('5 records sent, 1 records/sec (0.00 MB/sec), 1 ms avg latency, 2 ms max latency.\n' +
    '1200000 records sent, 99000.5 records/sec (90.00 MB/sec), 3.50 ms avg latency, 99.00 ms max latency, 1 ms 50th, 3 ms 95th, 9 ms 99th, 9 ms 99.9th.\n' +
    '1000000 steady state records sent, 150000.5 records/sec (100.00 MB/sec), 2.50 ms avg latency, 99.00 ms max latency, 1 ms 50th, 3 ms 95th, 7 ms 99th, 9 ms 99.9th.\n'),
  { recordsPerSecond: 150000.5, megabytesPerSecond: 104.8576, latencyMsMean: 2.5, latencyMsP99: 7 })
  t.same(latencyWords('0\t1.2\nAvg latency: 0.9876 ms\nPercentiles: 50th = 0, 99th = 3, 99.9th = 11\n'),
    { latencyMsMean: 0.9876, latencyMsP50: 0, latencyMsP99: 3, latencyMsP999: 11 })
  t.throws(() => producerWords('nothing'), { message: /not understood/ })
  t.throws(() => latencyWords('nothing'), { message: /not understood/ })
})

t.test('an encoded batch is one that the broker accepts, and an answer\'s error stands where it is looked for', async (t) => {
  const batch = recordBatch({ recordBytes: 100, recordCount: 3 })
  t.equal(batch.readInt32BE(8), batch.length - 12)
  t.equal(batch.readUInt32BE(17), crc32c(batch.subarray(21)) >>> 0)
  const frame = produceFrame('topic', 2, -1, batch)
  t.equal(frame.readInt32BE(), frame.length - 4)
  t.ok(frame.subarray(-batch.length).equals(batch))
  const answer = new Words().int32(1).array(['topic'], () => {}).string('topic').array([0], () => {}).int32(2).int16(3).frame()
  t.equal(answer.readInt16BE(produceErrorAt('topic')), 3)
  t.same([...varint(-1)], [1])
  t.same([...varint(150)], [172, 2])
})

t.test('latencies become percentiles and a distribution', async (t) => {
  const buckets = [[100, 90], [1000, 9], [50_000, 1]] as const
  t.equal(latencyMs(buckets, 0.5), 0.1)
  t.equal(latencyMs(buckets, 0.99), 1)
  t.same(cumulative(buckets), [[0.1, 90], [1, 99], [50, 100]])
  t.same(smoothed([0, 3, 6]), [1.5, 3, 4.5])
})

t.test('the report stands alone, and says what was left out', async (t) => {
  const [load] = loads()
  const samples = [['Haulout', 300], ['Kafka', 100]].map(([side, value]) =>
    ({ measurement: load!.id, side: side as string, repetition: 1, figure: 'megabytesPerSecond', value: value as number }))
  const outcome = {
    load: load!, samples, latencies: new Map(), leftOut: new Map([['drops the records', 'no <compiler>']]), failed: new Set<string>(),
    series: [{ side: 'Haulout', slotMs: 100, slotBytes: [1e6, 2e6, 3e6, 4e6, 5e6] }]
  }
  const rows = load!.rows.map((row) => judge(row, samples))
  const html = htmlReport({ title: 'A & B', command: 'npm run bench', machine: { kernel: 'Linux' }, outcomes: [outcome], rows })
  t.match(html, /aim held/)
  t.match(html, 'no &lt;compiler&gt;')
  t.match(html, '<svg')
  t.notMatch(html, /(src|href)=/)
  t.match(html, '<td data-name="ratio">3x</td>', 'on a phone every cell says what it is')
  t.match(html, load!.settings, 'below the title of a picture')
  t.equal(cells(rows[0]!)[3], '3x')
  const nothing = samples.map((sample) => ({ ...sample, value: 0 }))
  t.equal(cells(judge(load!.rows[0]!, nothing))[3], '', 'nothing beside nothing has no ratio')
})

t.test('a point that fails costs no other one, while the broker is there', async (t) => {
  let ended: string | undefined
  const turn = { broker: { ended: () => ended }, repetition: 1, topic: 'growth', seconds: 1 } as unknown as Turn
  const work = async ({ topic }: Turn, point: string): Promise<Work> => {
    if (point === '10') throw new Error('refused')
    return { figures: { length: topic.length } }
  }
  t.same(await pointByPoint(turn, 'partitions', ['1', '10', '100'], work), { figures: { '1.length': 8, '100.length': 10 }, failed: new Map([['partitions 10', 'refused']]) })
  const cannotBeHad = async (): Promise<Work> => { throw new LeftOut('no compiler') }
  await t.rejects(pointByPoint(turn, 'partitions', ['1', '10'], cannotBeHad), { message: 'no compiler' }, 'what no point can have is said once')
  ended = 'Kafka ended with 137'
  await t.rejects(pointByPoint(turn, 'partitions', ['1', '10'], work), { message: 'refused' })
})

t.test('every axis of a picture says what it shows', async (t) => {
  const [growth] = growths()
  const outcome = { load: loads()[0]!, samples: [], series: [], latencies: new Map(), leftOut: new Map(), failed: new Set<string>() }
  const options = [
    throughputOverTime('produce', [{ side: 'Haulout', slotMs: 100, slotBytes: [1, 2] }]), latencyDistribution('wire', new Map()), latencyBars('latency', outcome),
    growthLines(growth!, [], 'Throughput', 'MB/s', 'megabytesPerSecond')
  ]
  for (const { xAxis, yAxis } of options) {
    t.match(xAxis, { name: /./ })
    t.match(yAxis, { name: /./ })
  }
  t.match(advantages([]), { xAxis: { name: /ahead/ } })
  t.match(costBars('Memory', 's', '', []), { yAxis: { name: 'seconds' } })
})

t.test('every id of a load is used once', async (t) => {
  const ids = [...loads(), ...growths()].map(({ id }) => id)
  t.equal(new Set(ids).size, ids.length)
})

t.test('settings of a program', async (t) => {
  t.same(settingsArguments({ acks: -1, codec: 'none' }), ['acks=-1', 'codec=none'])
})

t.test('a program that is missing is said, and does not keep the process', async (t) => {
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  await t.rejects(execute('no-such-program', []), { message: 'no-such-program is missing on this machine' })
  await t.rejects(output('no-such-program', []), { code: 'ENOENT' })
  t.equal(timers(), before)
  await t.rejects(output('sh', ['-c', 'echo "{}"; echo "no record was acknowledged" >&2; exit 1']), { message: /^sh ended with 1: no record was acknowledged\n/ })
  await t.rejects(output('sh', ['-c', 'echo first; echo last; exit 2']), { message: /^sh ended with 2: last\n/ })
  await t.rejects(execute('sh', ['-c', 'echo first; echo "error: no route"; echo last; exit 3']), { message: /^sh .* ended with 3: error: no route\n/ })
  t.equal(complaintOf('one\n\ntwo\n'), 'two')
  t.equal(complaintOf('\x1b[0m\x1b[0m[ERROR] No plugin found for prefix\n[ERROR] Re-run Maven\n'), 'No plugin found for prefix')
  t.equal(complaintOf('npm error code 1\nnpm error path /x\nnpm error gyp info it worked if it ends with ok\nnpm error gyp ERR! find Python\n'), 'gyp ERR! find Python')
})
