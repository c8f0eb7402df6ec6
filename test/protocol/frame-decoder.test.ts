import fc from 'fast-check'
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

for (const [name, bytes, message, bytesMax = 100] of [
  ['zero', [0, 0, 0, 0], /a frame of 0 bytes announced/],
  ['negative', [0xff, 0xff, 0xff, 0xff], /a frame of -1 bytes/],
  ['over the limit', [0, 0, 0, 101], /socket\.request\.max\.bytes allows 100/],
  ['largest', [0x7f, 0xff, 0xff, 0xff], /socket\.request\.max\.bytes/],
  ['HTTP', [...Buffer.from('GET / HTTP/1.1\r\n')], /looks like HTTP/],
  ['HTTP, with a limit that would allow it', [...Buffer.from('POST /topics')], /looks like HTTP/, 2 ** 31 - 1],
  ['SSH', [...Buffer.from('SSH-2.0-OpenSSH_9.2')], /looks like SSH/],
  ['TLS', [0x16, 0x03, 0x01, 0x02, 0x00, 0x01], /looks like a TLS handshake/]
] as [string, number[], RegExp, number?][]) {
  t.test(`refuses a length that is ${name}`, async (t) => {
    t.throws(() => new FrameDecoder(bytesMax).push(Buffer.from(bytes)), { name: 'ProtocolError', message })
  })
}

t.test('what looks like another protocol in a later frame is a length', async (t) => {
  const decoder = new FrameDecoder(100)
  decoder.push(frame('a'))
  t.throws(() => decoder.push(Buffer.from('GET / HTTP/1.1')), { name: 'ProtocolError', message: /socket\.request\.max\.bytes allows 100/ })
})

t.test('random frames in random pieces: the same frames, views that nothing overwrites', async (t) => {
  fc.assert(fc.property(
    fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 12 }),
    fc.array(fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 5000 })), { minLength: 1, maxLength: 40 }),
    (lengths, pieces) => {
      const expected = lengths.map((length, index) => Buffer.alloc(length, `${index}-`))
      const stream = Buffer.concat(expected.map((body) => frame(body.toString())))
      const decoder = new FrameDecoder(5000)
      const frames: Buffer[] = []
      for (let at = 0, piece = 0; at < stream.length; piece++) {
        const bytes = pieces[piece % pieces.length]!
        frames.push(...decoder.push(Buffer.from(stream.subarray(at, at + bytes))))
        at += bytes
      }
      return frames.length === expected.length && frames.every((one, index) => one.equals(expected[index]!)) && decoder.bytesPending === 0
    }), { numRuns: Number(process.env.HAULOUT_PROPERTY_RUNS ?? 100) })
  t.pass()
})

t.test('a frame that trickles in byte by byte costs little more than its bytes, and time in proportion', async (t) => {
  const decoder = new FrameDecoder(2 ** 20)
  const prefix = Buffer.alloc(4)
  prefix.writeInt32BE(2 ** 20)
  decoder.push(prefix)
  const pieces = Array.from({ length: 256 }, (_, byte) => Buffer.from([byte]))
  const heapBefore = process.memoryUsage()
  const startedAtMs = performance.now()
  let frames: Buffer[] = []
  for (let index = 0; index < 2 ** 20 - 1; index++) decoder.push(pieces[index & 255]!)
  t.ok(process.memoryUsage().arrayBuffers - heapBefore.arrayBuffers < 2 ** 22)
  frames = decoder.push(pieces[255]!)
  t.ok(performance.now() - startedAtMs < 3000)
  t.equal(frames.length, 1)
  t.ok(frames[0]!.every((byte, index) => byte === (index & 255)))
})

t.test('a reader may put bytes where the frame is gathered, and memory is used again', async (t) => {
  fc.assert(fc.property(
    fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 12 }),
    fc.array(fc.integer({ min: 1, max: 6000 }), { minLength: 1, maxLength: 40 }),
    (lengths, pieces) => {
      const expected = lengths.map((length, index) => Buffer.alloc(length, `${index}-`))
      const stream = Buffer.concat(expected.map((body) => frame(body.toString())))
      const kept: Buffer[] = []
      const memory = {
        take: (bytes: number): Buffer => {
          const at = kept.findIndex(({ length }) => length >= bytes)
          return at < 0 ? Buffer.alloc(2 * bytes) : kept.splice(at, 1)[0]!
        },
        give: (buffer: Buffer): void => { kept.push(buffer.fill(0xee)) }
      }
      const shared = Buffer.alloc(4000)
      const decoder = new FrameDecoder(9000, memory)
      const found: string[] = []
      for (let at = 0, piece = 0; at < stream.length; piece++) {
        const room = decoder.room() ?? shared
        const bytes = stream.copy(room, 0, at, Math.min(stream.length, at + pieces[piece % pieces.length]!))
        at += bytes
        const frames = room === shared ? decoder.push(shared.subarray(0, bytes)) : decoder.arrived(bytes)
        found.push(...frames.map((each) => each.toString('latin1')))
        decoder.recycle()
        shared.fill(0xdd)
      }
      return found.length === expected.length && found.every((each, index) => each === expected[index]!.toString('latin1')) && decoder.bytesPending === 0
    }), { numRuns: Number(process.env.HAULOUT_PROPERTY_RUNS ?? 100) })
  t.pass()
})
