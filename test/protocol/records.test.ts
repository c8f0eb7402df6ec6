import fc from 'fast-check'
import t from 'tap'
import { crc32c } from '../../src/crc32c.js'
import * as header from '../../src/protocol/batch-header.js'
import { compress, decompress } from '../../src/protocol/compression.js'
import { ProtocolError } from '../../src/protocol/protocol-error.js'
import { decodeBatch, encodeBatch, type DecodedRecord, type NewRecord } from '../../src/protocol/records.js'

const MEBIBYTE = 1024 * 1024
const decode = (batch: Buffer): DecodedRecord[] => decodeBatch(batch, decompress, MEBIBYTE)

const bytes = fc.uint8Array({ maxLength: 300 }).map((value) => Buffer.from(value))
const record: fc.Arbitrary<NewRecord> = fc.record({
  key: fc.option(bytes),
  value: fc.option(bytes),
  headers: fc.array(fc.record({ key: fc.string({ unit: 'grapheme', maxLength: 10 }), value: fc.option(bytes) }), { maxLength: 4 }),
  timestampMs: fc.integer({ min: 0, max: 2 ** 45 })
})
const records = fc.array(record, { minLength: 1, maxLength: 20 })

t.test('records come out as they went in', async (t) => {
  fc.assert(fc.property(records, (records) => {
    const batch = encodeBatch(records)
    const found = decode(batch)
    t.equal(header.recordCount(batch), records.length)
    t.equal(header.lastOffsetDelta(batch), records.length - 1)
    t.equal(header.batchBytes(batch), batch.length)
    t.equal(header.timestampMaxMs(batch), Math.max(...records.map(({ timestampMs }) => timestampMs)))
    t.equal(header.checksum(batch), crc32c(header.checksummed(batch)))
    return JSON.stringify(found) === JSON.stringify(records.map((record, offset) =>
      ({ offset, timestampMs: record.timestampMs, key: record.key, value: record.value, headers: record.headers })))
  }), { numRuns: 200 })
})

t.test('every truncation and every changed byte ends in records or a ProtocolError', async (t) => {
  const plain = encodeBatch([
    { key: Buffer.from('key'), value: Buffer.from('value'), headers: [{ key: 'h', value: null }, { key: 'i', value: Buffer.from('x') }], timestampMs: 1_000 },
    { key: null, value: null, timestampMs: 999 },
    { key: Buffer.alloc(0), value: Buffer.alloc(200, 7), timestampMs: 1_700_000_000_000 }
  ])
  const packed = compressed(plain, 'lz4', 3)
  t.same(decode(packed), decode(plain))
  let refused = 0
  for (const batch of [plain, packed]) {
    for (let end = 0; end < batch.length; end++) {
      const cut = Buffer.from(batch.subarray(0, end))
      t.throws(() => decode(cut), ProtocolError)
      if (end < 12) continue
      cut.writeInt32BE(end - 12, 8) // the header agrees with the cut
      t.throws(() => decode(cut), ProtocolError)
    }
    for (let at = 0; at < batch.length; at++) {
      for (const value of [0, 1, 2, 0x7f, 0x80, 0xff, batch[at]! ^ 1]) {
        const changed = Buffer.from(batch)
        changed[at] = value
        try {
          decode(changed)
        } catch (error) {
          if (!(error instanceof ProtocolError)) t.fail(`byte ${at} = ${value}: ${String(error)}`)
          refused++
        }
      }
    }
  }
  t.ok(refused > 500)
})

t.test('what does not fit together is refused', async (t) => {
  const batch = encodeBatch([{ key: null, value: Buffer.from('a'), timestampMs: 1 }])
  const changed = (change: (bytes: Buffer) => void): Buffer => {
    const copy = Buffer.from(batch)
    change(copy)
    return copy
  }
  t.throws(() => decode(changed((copy) => copy.writeInt32BE(2, 57))), { name: 'ProtocolError', message: /cut|over|left|runs/ }, 'more records announced than there are')
  t.throws(() => decode(changed((copy) => copy.writeInt32BE(0, 57))), { message: /follow the last record/ }, 'fewer')
  t.throws(() => decode(changed((copy) => copy.writeInt32BE(-1, 57))), { message: /-1 records/ })
  t.throws(() => decode(changed((copy) => copy.writeInt32BE(2 ** 31 - 1, 57))), { message: /2147483647 records announced in \d+ bytes/ })
  t.throws(() => decode(changed((copy) => copy.writeInt16BE(5, 21))), { message: /compression type 5/ })
  t.throws(() => decode(changed((copy) => { copy[copy.length - 1] = 1 })), { name: 'ProtocolError' }, 'a negative number of headers')
  const bomb = compressed(encodeBatch([{ key: null, value: Buffer.alloc(10 * MEBIBYTE), timestampMs: 1 }]), 'gzip', 1)
  t.throws(() => decode(bomb), { message: /more than 1048576 bytes/ })
})

t.test('log append time, and timestamps beyond the safe range', async (t) => {
  const batch = encodeBatch([{ key: null, value: null, timestampMs: 5 }, { key: null, value: null, timestampMs: 6 }])
  header.writeLogAppendTime(batch, 777, crc32c)
  t.same(decode(batch).map(({ timestampMs }) => timestampMs), [777, 777])
  t.equal(header.checksum(batch), crc32c(header.checksummed(batch)))
  const extreme = encodeBatch([{ key: null, value: null, timestampMs: 5 }])
  extreme.writeBigInt64BE(2n ** 63n - 1n, 27)
  t.equal(decode(extreme)[0]!.timestampMs, Number.MAX_SAFE_INTEGER)
})

/** The same batch with its records compressed. */
function compressed (batch: Buffer, codec: 'gzip' | 'lz4', number: number): Buffer {
  const out = Buffer.concat([batch.subarray(0, header.BATCH_HEADER_BYTES), compress(codec, batch.subarray(header.BATCH_HEADER_BYTES))])
  out.writeInt32BE(out.length - 12, 8)
  out.writeInt16BE(number, 21)
  return out
}
