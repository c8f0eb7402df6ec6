import t from 'tap'
import { FrameDecoder } from '../../src/protocol/frame-decoder.js'

const frame = (text: string): Buffer => {
  const prefix = Buffer.alloc(4)
  prefix.writeInt32BE(text.length)
  return Buffer.concat([prefix, Buffer.from(text)])
}

t.test('every split of a stream gives the same frames', async (t) => {
  const stream = Buffer.concat([frame('a'), frame('bcdefgh'), frame('ij')])
  for (let first = 0; first <= stream.length; first++) {
    for (let second = first; second <= stream.length; second++) {
      const decoder = new FrameDecoder(100)
      const frames = [stream.subarray(0, first), stream.subarray(first, second), stream.subarray(second)].flatMap((part) => decoder.push(part))
      t.same(frames.map(String), ['a', 'bcdefgh', 'ij'], `split at ${first} and ${second}`)
      t.equal(decoder.bytesPending, 0)
    }
  }
})

t.test('one byte at a time', async (t) => {
  const decoder = new FrameDecoder(100)
  const frames = [...Buffer.concat([frame('hello'), frame('there')])].flatMap((byte) => decoder.push(Buffer.from([byte])))
  t.same(frames.map(String), ['hello', 'there'])
})

t.test('a whole frame is a view, not a copy', async (t) => {
  const chunk = frame('abc')
  const [whole] = new FrameDecoder(100).push(chunk)
  t.equal(whole!.buffer, chunk.buffer)
})

t.test('a promised length allocates nothing', async (t) => {
  const decoder = new FrameDecoder(2 ** 30)
  const prefix = Buffer.alloc(5)
  prefix.writeInt32BE(2 ** 30)
  t.same(decoder.push(prefix), [])
  t.equal(decoder.bytesPending, 5)
})

for (const [name, bytes, message] of [
  ['zero', [0, 0, 0, 0], /a frame of 0 bytes announced/],
  ['negative', [0xff, 0xff, 0xff, 0xff], /a frame of -1 bytes/],
  ['over the limit', [0, 0, 0, 101], /socket\.request\.max\.bytes allows 100/],
  ['largest', [0x7f, 0xff, 0xff, 0xff], /socket\.request\.max\.bytes/],
  ['HTTP', [...Buffer.from('GET / HTTP/1.1\r\n')], /looks like HTTP/],
  ['TLS', [0x16, 0x03, 0x01, 0x02, 0x00, 0x01], /looks like a TLS handshake/]
] as const) {
  t.test(`refuses a length that is ${name}`, async (t) => {
    t.throws(() => new FrameDecoder(100).push(Buffer.from(bytes)), { name: 'ProtocolError', message })
  })
}
