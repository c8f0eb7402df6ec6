/** What the tests of raw topics share. */
import type { BackendChoice, LogRecord, RecordBatch } from '../../src/raw/index.js'

/** Those that differ. The contract of a topic (log.test.ts) is held against the others, too. */
export const BACKENDS: readonly BackendChoice[] = process.platform === 'linux' ? ['io_uring', 'threads', 'node:fs'] : ['threads', 'node:fs']

export const values = (records: RecordBatch | readonly LogRecord[]): string[] => records.map(({ value }) => String(value))
export const numbers = (count: number, from = 0): string[] => Array.from({ length: count }, (_, index) => String(from + index))

export async function all (records: AsyncIterable<LogRecord>): Promise<LogRecord[]> {
  const found: LogRecord[] = []
  for await (const record of records) found.push(record)
  return found
}
