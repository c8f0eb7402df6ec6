/**
 * What kcat and the console tools share: feeding them lines, and cutting their output into records. It works because no part of
 * a compat record holds a tab, a newline or a comma.
 */
import { spawn } from 'node:child_process'
import { keyOf, valueOf } from './records.mjs'

/**
 * Cuts `partition TAB offset TAB headers TAB key TAB value NEWLINE` into records. `assign`: what stands between a header's name and
 * its value; `prefixes`: what stands before partition and offset; `nullText`: how a null key or value is written.
 */
export class RecordParser {
  #rest = Buffer.alloc(0)
  #format

  constructor (format) {
    this.#format = { prefixes: ['', ''], ...format }
  }

  /** All records that are complete by now: `{ partition, offset, headers, key, value }`. */
  push (chunk) {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    const records = []
    let at = 0
    for (;;) {
      const next = this.#one(at)
      if (!next) break
      records.push(next.record)
      at = next.end
    }
    this.#rest = this.#rest.subarray(at)
    return records
  }

  #one (start) {
    const bytes = this.#rest
    const { assign, prefixes, nullText } = this.#format
    const partitionEnd = bytes.indexOf('\t', start)
    const offsetEnd = bytes.indexOf('\t', partitionEnd + 1)
    if (partitionEnd < 0 || offsetEnd < 0) return undefined
    const headersEnd = bytes.indexOf('\t', offsetEnd + 1)
    const keyEnd = bytes.indexOf('\t', headersEnd + 1)
    const valueEnd = bytes.indexOf('\n', keyEnd + 1)
    if (headersEnd < 0 || keyEnd < 0 || valueEnd < 0) return undefined
    const orNull = (field) => field.equals(Buffer.from(nullText)) ? null : field
    const record = {
      partition: Number(bytes.toString('latin1', start + prefixes[0].length, partitionEnd)),
      offset: bytes.toString('latin1', partitionEnd + 1 + prefixes[1].length, offsetEnd),
      headers: this.#headers(bytes.subarray(offsetEnd + 1, headersEnd)),
      key: orNull(bytes.subarray(headersEnd + 1, keyEnd)),
      value: orNull(bytes.subarray(keyEnd + 1, valueEnd))
    }
    return { record, end: valueEnd + 1 }
  }

  #headers (bytes) {
    return bytes.toString('latin1').split(',').map((header) => {
      const middle = header.indexOf(this.#format.assign)
      return [header.slice(0, middle), Buffer.from(header.slice(middle + 1), 'latin1')]
    })
  }
}

/** The lines `key TAB value` of some indexes, with the tool's own word for null. */
export function * inputLines (writer, from, to, step, nullText) {
  for (let index = from; index < to; index += step) yield `${keyOf(writer, index) ?? nullText}\t${valueOf(writer, index) ?? nullText}\n`
}

/** Runs a tool, feeding it lines; resolves when it ended well. */
export async function feed (command, args, lines) {
  const child = spawn(command, args, { stdio: ['pipe', 'ignore', 'pipe'] })
  let errors = ''
  child.stderr.on('data', (text) => { errors += text })
  child.stdin.on('error', () => {})
  const ended = new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => code === 0 ? resolve() : reject(new Error(`${command} ended with ${code}: ${errors.slice(-1000)}`)))
  })
  let block = ''
  for (const line of lines) {
    block += line
    if (block.length < 65_536) continue
    if (!child.stdin.write(block)) await Promise.race([new Promise((resolve) => child.stdin.once('drain', resolve)), ended])
    block = ''
  }
  child.stdin.end(block)
  await ended
  if (/ERROR|Exception/.test(errors)) throw new Error(errors.slice(-1000))
}

/** Runs a consuming tool until `finished`, then ends it gracefully, which makes it commit and leave. */
export async function consumeWith (command, args, format, { onRecord, onErrorLine = () => {}, finished }) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const parser = new RecordParser(format)
  let errors = ''
  let line = ''
  child.stdout.on('data', (chunk) => parser.push(chunk).forEach(onRecord))
  child.stderr.setEncoding('utf8').on('data', (text) => {
    errors = (errors + text).slice(-2000)
    const lines = (line + text).split('\n')
    line = lines.pop()
    lines.forEach(onErrorLine)
  })
  const ended = new Promise((resolve) => child.on('close', (code, signal) => resolve(`${code ?? signal}`)))
  const early = await Promise.race([finished.then(() => undefined), ended])
  if (early !== undefined) throw new Error(`${command} ended by itself with ${early}: ${errors}`)
  child.kill('SIGTERM')
  await ended
}
