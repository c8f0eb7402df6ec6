/** What store-child.ts appends: every entry follows from its log and its offset, so that a test can tell what must be there. */
import { entry } from '../contract/entries.js'

export const LOG_NAMES: readonly string[] = ['small-0', 'large-0', 'other-0']
export const SEGMENT_BYTES_MAX = 300_000

export function childEntry (name: string, offset: number): Buffer {
  const bytes = 65 + offset * 37 % (name === 'large-0' ? 30_000 : 600)
  return entry({ id: offset, bytes, timestampMs: 1_000 + offset })
}
