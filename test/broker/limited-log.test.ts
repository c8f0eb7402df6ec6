import { test } from 'tap'
import { LimitedLog } from '../../src/broker/limited-log.js'
import { RememberingLogger } from '../hostile/support.js'
import { ManualClock } from './support/manual-clock.js'

test('ten lines of a cause a minute, then a count; other causes are not held back', async (t) => {
  const clock = new ManualClock()
  const remembered = new RememberingLogger()
  const log = new LimitedLog(remembered.logger, clock)
  for (let line = 0; line < 25; line++) log.warn('malformed request', { line }, `line ${line}`)
  log.error('bug in the broker', {}, 'another cause')
  t.equal(remembered.lines.length, 11)
  t.match(remembered.lines[10], { level: 'error', message: 'another cause' })
  log.tellHeldBack()
  t.equal(remembered.lines.length, 11, 'the minute is not over')
  clock.advance(60_000)
  log.tellHeldBack()
  t.same(remembered.matching(/more of this kind/), ['15 more of this kind in the minute before: malformed request'])
  log.warn('malformed request', {}, 'a new minute')
  t.equal(remembered.lines.at(-1)!.message, 'a new minute')
  log.tellHeldBack(true)
  t.equal(remembered.matching(/more of this kind/).length, 1, 'nothing was held back')
})
