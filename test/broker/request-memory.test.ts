import { test } from 'tap'
import { RequestMemory, type RequestHolder } from '../../src/broker/request-memory.js'
import { ManualClock } from './support/manual-clock.js'

class Holder implements RequestHolder {
  paused = false
  givenUp = false

  constructor (private readonly memory: RequestMemory, public requestBytes = 0, public hasIncompleteFrame = false) {}

  setMemoryPaused (paused: boolean): void { this.paused = paused }
  giveUpForMemory (): void { this.givenUp = true }

  hold (bytes: number, hasIncompleteFrame = bytes > 0): this {
    this.requestBytes = bytes
    this.hasIncompleteFrame = hasIncompleteFrame
    this.memory.update(this)
    return this
  }
}

function setUp () {
  const clock = new ManualClock()
  const memory = new RequestMemory({ requestMemoryBytesMax: 1000, requestBytesFree: 10, stalledDeadlineMs: 2000 }, clock)
  const holders = Array.from({ length: 5 }, () => new Holder(memory))
  return { clock, memory, holders }
}

test('with enough memory nobody waits', async (t) => {
  const { memory, holders } = setUp()
  for (const holder of holders) holder.hold(200)
  t.equal(memory.bytesHeld, 1000)
  t.equal(memory.isShort, false)
  t.notOk(holders.some(({ paused }) => paused))
})

test('while memory is short, the oldest incomplete request is read, and small ones are', async (t) => {
  const { memory, holders: [inWork, oldest, younger, small, late] } = setUp()
  inWork!.hold(300, false)
  oldest!.hold(400)
  younger!.hold(400)
  small!.hold(5)
  late!.hold(50)
  t.equal(memory.isShort, true)
  t.same([inWork, oldest, younger, small, late].map((holder) => holder!.paused), [true, false, true, false, true])
  oldest!.hold(0)
  t.notOk([inWork, oldest, younger, small, late].some((holder) => holder!.paused), 'enough again')
})

test('a connection that is done with its requests is read again, even while others keep memory short', async (t) => {
  const { memory, holders: [hog, busy] } = setUp()
  hog!.hold(1500)
  busy!.hold(100, false)
  t.equal(busy!.paused, true)
  busy!.hold(0)
  t.equal(memory.isShort, true)
  t.equal(busy!.paused, false)
})

test('when the one that is read does not get on, the oldest are given up until a quarter is free', async (t) => {
  const { clock, memory, holders: [inWork, first, second, third] } = setUp()
  inWork!.hold(100, false)
  first!.hold(400)
  second!.hold(400)
  third!.hold(400)
  clock.advance(2000)
  memory.relieve(clock.monotonic())
  t.notOk(first!.givenUp, 'it has its time')
  first!.hold(405)
  clock.advance(1)
  memory.relieve(clock.monotonic())
  t.same([inWork, first, second, third].map((holder) => holder!.givenUp), [false, true, true, false], 'a trickle is no progress')
  memory.remove(first!)
  memory.remove(second!)
  t.equal(memory.bytesHeld, 500)
  t.notOk(third!.paused)
})

test('a large request that arrives steadily is waited for', async (t) => {
  const { clock, memory, holders: [first, second] } = setUp()
  first!.hold(600)
  second!.hold(600)
  for (let bytes = 620; bytes < 800; bytes += 20) {
    clock.advance(1500)
    first!.hold(bytes)
    memory.relieve(clock.monotonic())
  }
  t.notOk(first!.givenUp || second!.givenUp)
})
