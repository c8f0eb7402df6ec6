/** What stores and logs are told, checked by all of them alike: not everybody writes TypeScript, and a policy with a typing error must not be a weaker one. */
import { BACKEND_CHOICES, LogError, SEGMENT_COMPRESSIONS, type BackendChoice, type EntryLayout, type FlushPolicy, type LogOptions, type SegmentCompression } from './log.js'

const LAYOUT_FIELDS: ReadonlyArray<keyof EntryLayout> = [
  'headerBytes', 'baseOffsetAt', 'lengthAt', 'lengthExtraBytes', 'magicAt', 'magic', 'checksumAt', 'checksumFrom', 'lastOffsetDeltaAt', 'timestampMaxAt'
]

export const malformed = (message: string): LogError => new LogError('malformed', message)

/** As it is told in an error. */
export const printed = (value: unknown): string => JSON.stringify(value) ?? String(value)

export function checkWhole (what: string, value: number, min: number): number {
  if (!Number.isSafeInteger(value) || value < min) throw malformed(`${what} is a whole number from ${min} on, not ${String(value)}`)
  return value
}

export function checkDataDir (dataDir: string): void {
  if (typeof dataDir !== 'string' || dataDir === '') throw malformed(`dataDir is the path of a folder, not ${printed(dataDir)}`)
}

export function checkBackend (backend: BackendChoice): BackendChoice {
  return oneOf('backend', backend, BACKEND_CHOICES)
}

export function checkSegmentCompression (compression: SegmentCompression): SegmentCompression {
  return oneOf('segmentCompression', compression, SEGMENT_COMPRESSIONS)
}

export function checkFlushPolicy (policy: FlushPolicy): FlushPolicy {
  const { kind } = policy ?? {}
  if (kind === 'interval') checkWhole('the interval of the flush policy', policy.kind === 'interval' ? policy.intervalMs : 0, 1)
  else if (kind === 'bytes') checkWhole('the bytes of the flush policy', policy.kind === 'bytes' ? policy.bytes : 0, 1)
  else if (kind !== 'each' && kind !== 'none') throw malformed(`the flush policy is of kind 'each', 'interval', 'bytes' or 'none', not ${printed(policy)}`)
  return policy
}

/** Of a store, whatever its kind. */
export function checkStoreOptions ({ flushPolicy, tailBytesMax, segmentCompression }: { readonly flushPolicy?: FlushPolicy, readonly tailBytesMax?: number, readonly segmentCompression?: SegmentCompression }): void {
  if (tailBytesMax !== undefined) checkWhole('tailBytesMax', tailBytesMax, 0)
  if (flushPolicy !== undefined) checkFlushPolicy(flushPolicy)
  if (segmentCompression !== undefined) checkSegmentCompression(segmentCompression)
}

export function checkLogOptions (options: LogOptions): void {
  const { layout, segmentBytesMax, segmentEntriesMax, segmentAgeMsMax } = options ?? {}
  for (const field of LAYOUT_FIELDS) {
    if (!Number.isSafeInteger(layout?.[field])) throw malformed(`the layout of a log's entries says where their numbers stand, as RECORD_BATCH_LAYOUT does: ${field} is a whole number, not ${printed(layout?.[field])}`)
  }
  if (segmentBytesMax !== undefined) checkWhole('segmentBytesMax', segmentBytesMax, 1)
  if (segmentEntriesMax !== undefined) checkWhole('segmentEntriesMax', segmentEntriesMax, 1)
  if (segmentAgeMsMax !== undefined) checkWhole('segmentAgeMsMax', segmentAgeMsMax, 1)
  checkStoreOptions(options)
}

function oneOf<T extends string> (what: string, value: T, choices: readonly T[]): T {
  if (choices.includes(value)) return value
  throw malformed(`${what} is ${choices.map((choice) => `'${choice}'`).join(', ')}, not ${printed(value)}`)
}
