import t from 'tap'
import { costOf, inTurn } from '../../bench/kafka/load.js'
import { cpuSecondsOf } from '../../bench/kafka/process-figures.js'
import { settingsArguments } from '../../bench/kafka/programs.js'
import { Bytes, Words } from '../../bench/kafka/words.js'

t.test('processor time is read behind a name with spaces and parentheses, children included', async (t) => {
  t.equal(cpuSecondsOf('7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0 11 0 5'), 1.27)
})

t.test('every second round goes backwards', async (t) => {
  t.same(inTurn(['a', 'b', 'c'], 1), ['a', 'b', 'c'])
  t.same(inTurn(['a', 'b', 'c'], 2), ['c', 'b', 'a'])
})

t.test('cost is per gigabyte moved, and per byte', async (t) => {
  const before = { cpuSeconds: 1, residentBytes: 0, residentBytesMax: 0, writtenBytes: 1e9 }
  const after = { cpuSeconds: 2, residentBytes: 0, residentBytesMax: 2 ** 20, writtenBytes: 3e9 }
  t.same(costOf(before, after, 2e9), { brokerCpuSecondsPerGigabyte: 0.5, bytesWrittenPerByte: 1, residentMebibytesMax: 1 })
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

t.test('settings of a program', async (t) => {
  t.same(settingsArguments({ acks: -1, codec: 'none' }), ['acks=-1', 'codec=none'])
})
