/** Version ranges as Kafka's schemas write them, parsed: '0+', '3-7', '5', 'none'. */
import type { VersionRange } from './schema.js'

export interface Versions {
  readonly first: number
  /** Inclusive; less than `first` when the range is empty. */
  readonly last: number
}

const VERSION_MAX = 32767 // int16 on the wire

/** Ranges come from declarations, of which there are few; every request asks for some. */
const parsed = new Map<VersionRange, Versions>()

export function parseVersions (range: VersionRange): Versions {
  let versions = parsed.get(range)
  if (versions === undefined) parsed.set(range, versions = parse(range))
  return versions
}

function parse (range: VersionRange): Versions {
  if (range === 'none') return { first: 0, last: -1 }
  const match = /^(\d+)(?:(\+)|-(\d+))?$/.exec(range)
  if (match === null) throw new TypeError(`'${range}' is not a version range; write '0+', '3-7', '5' or 'none'`)
  const first = Number(match[1])
  if (match[2] !== undefined) return { first, last: VERSION_MAX }
  return { first, last: match[3] === undefined ? first : Number(match[3]) }
}

export function includesVersion (range: VersionRange, version: number): boolean {
  const { first, last } = parseVersions(range)
  return version >= first && version <= last
}
