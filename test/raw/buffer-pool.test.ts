import { test } from 'tap'
import { BufferPool } from '../../src/raw/buffer-pool.js'

test('the next size, or exactly so many bytes', async (t) => {
  const pool = new BufferPool([10, 100], 1_000)
  t.same([1, 10, 11, 100, 101, 5_000].map((bytes) => pool.take(bytes).length), [10, 10, 100, 100, 101, 5_000])
})

test('what was given back is taken again, so many bytes of each size', async (t) => {
  const pool = new BufferPool([10, 100], 200)
  const [small, large] = [pool.take(1), pool.take(50)]
  for (const buffer of [small, large, Buffer.alloc(101)]) pool.give(buffer)
  t.equal(pool.take(10), small)
  t.equal(pool.take(100), large)
  t.not(pool.take(10), small, 'nobody else has it')
  const given: Buffer[] = Array.from({ length: 30 }, () => Buffer.alloc(100))
  for (const buffer of given) pool.give(buffer)
  t.equal(Array.from({ length: 30 }, () => pool.take(100)).filter((buffer) => given.includes(buffer)).length, 2)
})
