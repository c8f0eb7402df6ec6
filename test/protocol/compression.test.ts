import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import zlib from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { checksum, checksummed } from '../../src/protocol/batch-header.js'
import { compress, decompress } from '../../src/protocol/compression.js'
import { crc32c } from '../../src/crc32c.js'
import { decodedBytes } from '../../src/protocol/lz4-block.js'
import { writeLz4 } from '../../src/protocol/lz4-frame.js'
import { ProtocolError } from '../../src/protocol/protocol-error.js'
import { CODEC_NAMES, decodeBatch } from '../../src/protocol/records.js'
import { xxhash32 } from '../../src/protocol/xxhash32.js'
import { PLAIN_NODE } from '../support/plain-node.js'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..')
const fixtures = path.join(root, 'test/protocol/fixtures')
const large = Buffer.from(Uint8Array.from({ length: 100_000 }, (_, j) => Math.floor(j * j / 2 ** 15) & 0x3f))
const MEBIBYTE = 1024 * 1024

t.test('batches of real clients, every codec', async (t) => {
  const files = readdirSync(path.join(fixtures, 'batches')).filter((name) => name.endsWith('.bin'))
  t.ok(files.length >= 13)
  for (const name of files) {
    const batch = readFileSync(path.join(fixtures, 'batches', name))
    t.equal(crc32c(checksummed(batch)), checksum(batch), `${name}: checksum`)
    const records = decodeBatch(batch, decompress, MEBIBYTE)
    t.equal(records.length, 100, name)
    records.forEach((record, i) => {
      const value = i === 50 ? large : i % 10 === 7 ? null : Buffer.from(`value ${i} `.repeat(i % 7))
      const key = i % 10 === 3 ? null : `key-${i}`
      const headers = i % 4 === 0 ? [{ key: 'n', value: Buffer.from(`${i}`) }] : []
      if (record.offset !== i || record.timestampMs !== 1_700_000_000_000 + i || (record.key?.toString() ?? null) !== key) t.fail(`${name}: record ${i}`)
      if (value === null ? record.value !== null : !value.equals(record.value!)) t.fail(`${name}: value ${i}`)
      t.same(record.headers, headers)
    })
  }
})

t.test('dependent lz4 blocks with all checksums; a bare snappy block', async (t) => {
  const text = Buffer.from('text of many words, '.repeat(20_000))
  const bytes = Buffer.concat([Buffer.from(Uint8Array.from({ length: 300_000 }, (_, j) => Math.floor(j * j / 2 ** 15) & 0x3f)), text])
  const linked = readFileSync(path.join(fixtures, 'linked.lz4'))
  t.ok(decompress('lz4', linked, bytes.length).equals(bytes))
  t.throws(() => decompress('lz4', linked, bytes.length - 1), ProtocolError)
  const skippable = Buffer.from([0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3])
  t.ok(decompress('lz4', Buffer.concat([skippable, linked, skippable, linked]), bytes.length * 2).equals(Buffer.concat([bytes, bytes])), 'frames in a row')
  const raw = readFileSync(path.join(fixtures, 'raw.snappy'))
  t.ok(decompress('snappy', raw, bytes.length).equals(bytes))
  t.throws(() => decompress('snappy', raw, bytes.length - 1), ProtocolError)
})

t.test('what goes in comes out', async (t) => {
  const samples = [Buffer.alloc(0), Buffer.from('a'), large, Buffer.alloc(300_000), Buffer.from(Uint8Array.from({ length: 70_000 }, (_, j) => (j * 2654435761 >>> 13) & 0xff))]
  for (const codec of CODEC_NAMES) {
    for (const sample of samples) {
      const packed = compress(codec, sample)
      t.ok(decompress(codec, packed, sample.length).equals(sample), `${codec}, ${sample.length} bytes`)
      if (sample.length > 1) t.throws(() => decompress(codec, packed, sample.length - 1), ProtocolError, `${codec}: one byte too many`)
    }
  }
  fc.assert(fc.property(fc.constantFrom(...CODEC_NAMES), fc.array(fc.constantFrom('a', 'bc', 'long words, ', '\u0000'), { maxLength: 4_000 }), (codec, words) => {
    const bytes = Buffer.from(words.join(''))
    return decompress(codec, compress(codec, bytes), bytes.length).equals(bytes)
  }), { numRuns: 200 })
})

t.test('lz4 blocks of the package without its compiled part', async (t) => {
  const { createRequire } = await import('node:module')
  const encoder = createRequire(import.meta.url)('lz4/lib/binding.js')
  t.ok(decompress('lz4', writeLz4(large, encoder), large.length).equals(large))
})

t.test('damaged, truncated and lying bytes are refused, and only that', async (t) => {
  const sample = Buffer.concat([large.subarray(0, 3_000), Buffer.from('abcabcabc'.repeat(300)), large.subarray(0, 500)])
  for (const codec of ['gzip', 'snappy', 'lz4', 'zstd'] as const) {
    const packed = compress(codec, sample)
    for (let end = 0; end < packed.length; end += 1 + Math.floor(end / 50)) {
      if (codec === 'snappy' && end === 16) continue // a container of no blocks is whole
      t.throws(() => decompress(codec, packed.subarray(0, end), MEBIBYTE), ProtocolError, `${codec}: ${end} bytes of ${packed.length}`)
    }
    for (let at = 0; at < packed.length; at++) {
      const damaged = Buffer.from(packed)
      damaged[at]! ^= 1 + at * 7 % 255
      try {
        if (decompress(codec, damaged, MEBIBYTE).length > MEBIBYTE) t.fail(`${codec}: limit`)
      } catch (error) {
        if (!(error instanceof ProtocolError)) t.fail(`${codec}, byte ${at}: ${String(error)}`)
      }
    }
  }
  fc.assert(fc.property(fc.constantFrom(...CODEC_NAMES), fc.uint8Array({ maxLength: 200 }), (codec, bytes) => {
    try {
      decompress(codec, Buffer.from(bytes), 1_000)
    } catch (error) {
      return error instanceof ProtocolError
    }
    return true
  }), { numRuns: 2_000 })
})

t.test('bombs cost no memory', async (t) => {
  const zeros = Buffer.alloc(64 * MEBIBYTE)
  const bombs = (['gzip', 'snappy', 'lz4', 'zstd'] as const).map((codec) => ({ codec, packed: compress(codec, zeros) }))
  const before = process.memoryUsage()
  for (const { codec, packed } of bombs) {
    t.throws(() => decompress(codec, packed, MEBIBYTE), { name: 'ProtocolError', message: /more than 1048576 bytes come out/ }, `${codec}: ${packed.length} bytes`)
  }
  const after = process.memoryUsage()
  t.ok(after.rss - before.rss < 32 * MEBIBYTE, `${after.rss - before.rss} bytes more`)
  // 4 GiB announced by five bytes.
  t.throws(() => decompress('snappy', Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 0]), 2 ** 31), ProtocolError)
  // A run of 0xff announces 255 times its bytes, without an end.
  t.throws(() => decodedBytes(Buffer.alloc(MEBIBYTE, 0xff)), ProtocolError)
})

t.test('lz4: what its frame forbids', async (t) => {
  const good = compress('lz4', Buffer.from('some bytes'))
  const header = (flags: number, sizes: number): Buffer => {
    const descriptor = Buffer.from([flags, sizes])
    return Buffer.concat([good.subarray(0, 4), descriptor, Buffer.from([xxhash32(descriptor) >>> 8 & 0xff]), good.subarray(7)])
  }
  t.equal(decompress('lz4', header(0x60, 0x40), 100).toString(), 'some bytes')
  for (const [flags, sizes, message] of [[0xa0, 0x40, /unknown/], [0x62, 0x40, /unknown/], [0x60, 0x41, /unknown/], [0x60, 0x30, /block size/], [0x61, 0x40, /dictionary/]] as const) {
    t.throws(() => decompress('lz4', header(flags, sizes), 100), { name: 'ProtocolError', message })
  }
  const wrong = Buffer.from(good)
  wrong[6]! ^= 1
  t.throws(() => decompress('lz4', wrong, 100), { message: /header does not match its checksum/ })
})

t.test('known checksums', async (t) => {
  t.equal(xxhash32(Buffer.alloc(0)), 0x02CC5D05)
  t.equal(xxhash32(Buffer.from('abc')), 0x32D153FF)
  t.equal(xxhash32(Buffer.from('Nobody inspects the spammish repetition')), 0xE2293B2F)
  t.equal(crc32c(Buffer.from('123456789')), 0xE3069283)
  t.equal(crc32c(Buffer.alloc(32)), 0x8A9136AA, 'RFC 3720, B.4')
})

t.test('a codec that is not installed is an error where it is needed, and nowhere else', async (t) => {
  const folder = t.testdir()
  mkdirSync(path.join(folder, 'protocol'))
  cpSync(path.join(root, 'dist/src/protocol'), path.join(folder, 'protocol'), { recursive: true })
  cpSync(path.join(root, 'dist/src/codec-packages.js'), path.join(folder, 'codec-packages.js'))
  writeFileSync(path.join(folder, 'package.json'), '{"type":"module"}')
  const program = `
    const { compress, decompress } = await import('./protocol/compression.js')
    const out = [decompress('gzip', compress('gzip', Buffer.from('works')), 100).toString()]
    for (const codec of ['snappy', 'lz4']) try { compress(codec, Buffer.from('a')) } catch (error) { out.push(error.name + ': ' + error.message) }
    console.log(JSON.stringify(out))`
  // testdir lies inside the project, where require would find the packages: elsewhere it does not.
  const elsewhere = path.join(process.env.TMPDIR ?? '/tmp', `haulout-codecs-${process.pid}`)
  cpSync(folder, elsewhere, { recursive: true })
  t.teardown(async () => { (await import('node:fs')).rmSync(elsewhere, { recursive: true }) })
  const printed = execFileSync('env', [...PLAIN_NODE, '--input-type=module', '-e', program], { cwd: elsewhere, encoding: 'utf8' })
  t.same(JSON.parse(printed), ['works', 'CodecUnavailableError: snappy is not installed: npm install snappy', 'CodecUnavailableError: lz4 is not installed: npm install lz4'])
})

t.test('gzip in several members', async (t) => {
  t.equal(decompress('gzip', Buffer.concat([zlib.gzipSync('one '), zlib.gzipSync('two')]), 100).toString(), 'one two')
})
