/**
 * The records that every client program writes, each a pure function of (writer, index), so that any program can verify
 * what any other one wrote. README.md beside this file is the specification; the other languages follow it, too.
 */

const TABLE_LENGTH = 65_536
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
const TABLE = makeTable()

function makeTable () {
  let state = 42
  let text = ''
  for (let position = 0; position < TABLE_LENGTH; position++) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff
    text += ALPHABET[(state >>> 16) & 63]
  }
  return text
}

export function keyOf (writer, index) {
  return index % 50 === 24 ? null : `${writer}:${index}`
}

export function valueOf (writer, index) {
  if (index % 50 === 49) return null
  const length = index % 1000 === 500 ? 20_000 : 20 + (index * 37) % 400
  const start = (index * 31) % 32_768
  return `${writer}:${index}:${TABLE.slice(start, start + length)}`
}

/** The header `index`: four bytes of seven bits each with the high bit set, so that it is no valid UTF-8. */
export function indexHeaderOf (index) {
  return Buffer.from([21, 14, 7, 0].map((shift) => 0x80 | ((index >>> shift) & 0x7f)))
}

/** `codec:from:to,...` as produce takes it. */
export function parseRanges (text) {
  return text.split(',').map((range) => {
    const [codec, from, to] = range.split(':')
    return { codec, from: Number(from), to: Number(to) }
  })
}

/** `writer:from:to[:flags],...` as consume takes it. Flag h: no `index` header. Flag p: the client chose the partition. */
export function parseExpectations (text) {
  return text.split(',').map((expectation) => {
    const [writer, from, to, flags = ''] = expectation.split(':')
    return { writer, from: Number(from), to: Number(to), indexHeader: !flags.includes('h'), partitionRule: !flags.includes('p') }
  })
}

/** Compares what a consumer was given with what must have been written: content, partition, order, each exactly once. */
export class Verifier {
  #expectations = new Map()
  #partitionCount
  #missing = 0
  #problemCount = 0
  #problems = []
  #newestIndex = new Map()

  constructor (expectations, partitionCount) {
    this.#partitionCount = partitionCount
    for (const expectation of expectations) {
      this.#expectations.set(expectation.writer, { ...expectation, seen: new Uint8Array(expectation.to - expectation.from) })
      this.#missing += expectation.to - expectation.from
    }
  }

  get complete () {
    return this.#missing === 0
  }

  /** Key and value: Buffer or null. Headers: [[name, Buffer], ...] in their order. */
  take (partition, offset, key, value, headers) {
    const identity = (value ?? key)?.toString('latin1') ?? ''
    const [writer, indexText] = identity.split(':', 2)
    const index = Number(indexText)
    const expected = this.#expectations.get(writer)
    const where = `partition ${partition} offset ${offset} (${writer}:${indexText})`
    if (!expected || !(index >= expected.from && index < expected.to)) return this.#problem(`${where}: not expected here`)
    if (expected.seen[index - expected.from]) return this.#problem(`${where}: delivered twice`)
    expected.seen[index - expected.from] = 1
    this.#missing--

    if (!same(key, keyOf(writer, index))) this.#problem(`${where}: key differs: ${show(key)}`)
    if (!same(value, valueOf(writer, index))) this.#problem(`${where}: value differs: ${show(value)}`)
    const wanted = [['writer', Buffer.from(writer)]]
    if (expected.indexHeader) wanted.push(['index', indexHeaderOf(index)])
    const headersMatch = headers.length === wanted.length && wanted.every(([name, bytes], at) => headers[at][0] === name && bytes.equals(headers[at][1]))
    if (!headersMatch) this.#problem(`${where}: headers differ: ${headers.map(([name, bytes]) => `${name}=${bytes?.toString('hex')}`)}`)
    if (expected.partitionRule && partition !== index % this.#partitionCount) this.#problem(`${where}: wrong partition`)

    const stream = `${writer}/${partition}`
    if (index <= (this.#newestIndex.get(stream) ?? -1)) this.#problem(`${where}: out of order after ${this.#newestIndex.get(stream)}`)
    this.#newestIndex.set(stream, index)
  }

  /** What a program prints as its result; `ok` is false when anything is missing or differs. */
  result () {
    let records = 0
    const problems = [...this.#problems]
    for (const { writer, from, seen } of this.#expectations.values()) {
      const seenCount = seen.reduce((sum, one) => sum + one, 0)
      records += seenCount
      if (seenCount < seen.length) problems.push(`${seen.length - seenCount} records of ${writer} missing, the first is ${from + seen.indexOf(0)}`)
    }
    return { ok: this.#missing === 0 && this.#problemCount === 0, records, problemCount: this.#problemCount + this.#missing, problems }
  }

  #problem (text) {
    this.#problemCount++
    if (this.#problems.length < 10) this.#problems.push(text)
  }
}

function same (bytes, text) {
  if (text === null || bytes === null || bytes === undefined) return text === null && (bytes === null || bytes === undefined)
  return bytes.toString('latin1') === text
}

function show (bytes) {
  return bytes ? `${bytes.length} bytes, ${JSON.stringify(bytes.toString('latin1', 0, 60))}` : 'null'
}
