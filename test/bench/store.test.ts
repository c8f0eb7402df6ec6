/** The parts of bench/store that are functions of their input: a wrong median or a wrong verdict would make every figure wrong. */
import t from 'tap'
import { fromCsv, toCsv } from '../../bench/store/csv.js'
import { judge, LeftOut, MeasurementRun, orLeftOut, type Measurement, type Row, type Sample } from '../../bench/store/measurement.js'
import { quantile, summarize } from '../../bench/store/statistics.js'
import { formatNumber, markdownTable, terminalTable, withSpread } from '../../bench/store/table.js'

t.test('median and spread', async (t) => {
  t.equal(summarize([]), undefined)
  t.same(summarize([3]), { count: 1, median: 3, min: 3, max: 3 })
  t.same(summarize([10, 9, 1]), { count: 3, median: 9, min: 1, max: 10 }, 'sorted as numbers, not as text')
  t.equal(summarize([4, 1, 2, 3])?.median, 2.5)
  t.equal(quantile([0, 10], 0.99), 9.9)
  t.ok(Number.isNaN(quantile([], 0.5)))
})

t.test('CSV', async (t) => {
  const text = toCsv(['a', 'b'], [['x', 1.23456789], ['with, comma and "quotes"', 2], ['two\nlines', 0]])
  t.equal(text, 'a,b\nx,1.23457\n"with, comma and ""quotes""",2\n"two\nlines",0\n')
  t.same(fromCsv(text), [{ a: 'x', b: '1.23457' }, { a: 'with, comma and "quotes"', b: '2' }, { a: 'two\nlines', b: '0' }])
  t.same(fromCsv('a,b\r\n1,\r\n'), [{ a: '1', b: '' }])
  t.same(fromCsv(''), [])
  t.throws(() => fromCsv('a,b\n1\n'), /line 2 has 1 fields, the header 2/)
})

t.test('numbers for readers', async (t) => {
  t.equal(formatNumber(1234567.8), '1,234,568')
  t.equal(formatNumber(0.98765), '0.988')
  t.equal(formatNumber(0), '0')
  t.equal(withSpread(undefined), 'left out')
  t.equal(withSpread(summarize([5])), '5')
  t.equal(withSpread(summarize([1000, 3000, 2000])), '2,000 (1,000 to 3,000)')
})

const row: Row = {
  title: 'writes', unit: 'writes/s', better: 'higher', figure: 'perSecond', side: 'Haulout', others: ['walrus'],
  floor: { text: '2x walrus', value: (median) => { const walrus = median('walrus', 'perSecond'); return walrus === undefined ? undefined : walrus * 2 } },
  aim: { text: '1,000', value: () => 1000 }
}
const samplesOf = (own: number[], walrus: number[]): Sample[] => [['Haulout', own] as const, ['walrus', walrus] as const].flatMap(([side, values]) =>
  values.map((value, at) => ({ measurement: 'writes', side, repetition: at + 1, figure: 'perSecond', value })))

t.test('verdicts', async (t) => {
  const verdict = (own: number[], walrus: number[], changed: Partial<Row> = {}): string => judge({ ...row, ...changed }, samplesOf(own, walrus)).verdict
  t.equal(verdict([100, 1, 300], [100]), 'not held', 'the median counts, not the best')
  t.equal(verdict([200], [100]), 'floor held')
  t.equal(verdict([1000], [100]), 'aim held')
  t.equal(verdict([1000], [900]), 'aim held, not the floor')
  t.equal(verdict([999], []), 'unknown', 'without the peer there is no floor')
  t.equal(verdict([1000], []), 'aim held')
  t.equal(verdict([], [100]), 'unknown')
  t.equal(judge({ ...row, better: 'lower' }, samplesOf([100], [100])).toFloor, 2, 'half of what is allowed')
  t.equal(verdict([1001], [400], { better: 'lower' }), 'not held')
})

t.test('sides take turns, every second round backwards, and one that cannot be had is left out with its reason', async (t) => {
  const order: string[] = []
  const side = (name: string, run: () => number) => ({ name, async run () { order.push(name); return { perSecond: run() } } })
  const measurement: Measurement = {
    id: 'writes', method: '', rows: [row],
    sides: [side('Haulout', () => 10), side('walrus', () => 20), side('RocksDB', () => { throw new LeftOut('no db_bench') })]
  }
  const outcome = new MeasurementRun(measurement)
  await outcome.run(3, () => {})
  t.same(order, ['Haulout', 'walrus', 'RocksDB', 'walrus', 'Haulout', 'Haulout', 'walrus'])
  t.same([...outcome.leftOut], [['RocksDB', 'no db_bench']])
  t.equal(outcome.samples.length, 6)
  const broken = new MeasurementRun({ ...measurement, sides: [side('walrus', () => 20), side('Haulout', () => { throw new Error('broken') })] })
  await t.rejects(broken.run(1, () => {}), /broken/, 'a failure is no absence')
  t.equal(broken.samples.length, 1, 'what was finished before is there')
})

t.test('who is left out says why in one line', async (t) => {
  const said = async (work: () => Promise<unknown>): Promise<string> => await orLeftOut('fio cannot be had here', work).then(() => 'nothing', (error: LeftOut) => error.message)
  t.equal(await said(async () => { throw new Error('missing: fio\nat one\nat two') }), 'fio cannot be had here: missing: fio')
  t.equal(await said(async () => { throw Object.assign(new Error('fio --a ended with 1: x\ny'), { complaint: 'no route' }) }), 'fio cannot be had here: no route')
  t.equal(await said(async () => { throw new LeftOut('as it is') }), 'as it is')
})

t.test('tables', async (t) => {
  const judged = [judge(row, samplesOf([100, 300, 200], [100]))]
  t.equal(markdownTable(judged).split('\n')[2], '| writes, writes/s | 200 (100 to 300) | walrus 100 | 2x walrus: 200 | 1,000 | 1.00 | floor held |')
  t.match(terminalTable(judged), /floor held/)
})
