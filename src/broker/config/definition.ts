/**
 * What a setting is: a row of a table. Types of parsed values are inferred from the rows, texts are parsed and checked by them, and
 * DescribeConfigs answers from them.
 */
export type DefinitionType = 'BOOLEAN' | 'INT' | 'LONG' | 'SHORT' | 'DOUBLE' | 'STRING' | 'LIST' | 'PASSWORD' | 'CLASS'

/** Name, type, default as text (null for none), and the allowed values as Kafka prints them: '[0,...]', '[1,...,9] or -1', '[a, b]'. */
export type Definition = readonly [name: string, type: DefinitionType, defaultText: string | null, allowed?: string]

interface ValueTypes {
  BOOLEAN: boolean
  INT: number
  LONG: number
  SHORT: number
  DOUBLE: number
  STRING: string
  LIST: readonly string[]
  PASSWORD: string
  CLASS: string
}

/** The parsed settings of a table; null only where the default is. */
export type ValuesOf<D extends readonly Definition[]> = {
  readonly [Row in D[number] as Row[0]]: ValueTypes[Row[1]] | (Row[2] extends null ? null : never)
}

export type Value = boolean | number | string | readonly string[] | null

/** A setting that cannot be: says which, what was given and what is allowed. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

const INTEGER_MAX: Readonly<Record<string, number>> = { SHORT: 2 ** 15 - 1, INT: 2 ** 31 - 1, LONG: Number.MAX_SAFE_INTEGER }

/** Parses and checks the text of one setting. Throws ConfigError. A LONG beyond the safe range is clamped: Kafka's defaults use 2^63 - 1. */
export function parseValue (definition: Definition, text: string | null): Value {
  const [name, type, defaultText, allowed] = definition
  if (text === null) {
    if (defaultText === null) return null
    throw new ConfigError(`Invalid value null for configuration ${name}: it needs a value`)
  }
  const value = parseText(type, text.trim())
  if (value === undefined) throw new ConfigError(`Invalid value ${text} for configuration ${name}: ${describeType(type)} expected`)
  if (allowed !== undefined && !isAllowed(value, allowed)) throw new ConfigError(`Invalid value ${text} for configuration ${name}: allowed is ${allowed}`)
  return value
}

/** Defaults are Kafka's and taken as they are: some stand for "not set" and would not be allowed as a given value. */
export function parseDefault ([, type]: Definition, text: string | null): Value {
  return text === null ? null : parseText(type, text) ?? null
}

function parseText (type: DefinitionType, text: string): Exclude<Value, null> | undefined {
  switch (type) {
    case 'BOOLEAN': return /^true$/i.test(text) ? true : /^false$/i.test(text) ? false : undefined
    case 'DOUBLE': return text !== '' && Number.isFinite(Number(text)) ? Number(text) : undefined
    case 'LIST': return text === '' ? [] : text.split(',').map((item) => item.trim())
    case 'INT':
    case 'LONG':
    case 'SHORT': return parseInteger(type, text)
    default: return text
  }
}

function parseInteger (type: 'INT' | 'LONG' | 'SHORT', text: string): number | undefined {
  if (!/^[+-]?\d{1,19}$/.test(text)) return undefined
  const value = Number(text)
  const max = INTEGER_MAX[type]!
  if (type === 'LONG') return Math.max(-max, Math.min(value, max))
  return value > max || value < -max - 1 ? undefined : value
}

function describeType (type: DefinitionType): string {
  return { BOOLEAN: 'true or false', INT: 'a 32-bit integer', LONG: 'an integer', SHORT: 'a 16-bit integer', DOUBLE: 'a number', LIST: 'a list', STRING: 'a text', PASSWORD: 'a text', CLASS: 'a name' }[type]
}

function isAllowed (value: Exclude<Value, null>, allowed: string): boolean {
  if (allowed === 'non-empty string') return value !== ''
  if (allowed === 'non-empty list') return Array.isArray(value) && value.length > 0
  const range = /^\[(-?[\d.]+),\.\.\.(?:,(-?[\d.]+))?\](?: or (-?\d+))?$/.exec(allowed)
  if (range !== null && typeof value === 'number') {
    if (range[3] !== undefined && value === Number(range[3])) return true
    return value >= Number(range[1]) && (range[2] === undefined || value <= Number(range[2]))
  }
  const choices = /^(\(case insensitive\) )?\[([\w, ]+)\]$/.exec(allowed)
  if (choices === null) return true
  const fold = (text: string): string => choices[1] === undefined ? text : text.toLowerCase()
  const names = choices[2]!.split(', ').map(fold)
  return (Array.isArray(value) ? value : [String(value)]).every((item) => names.includes(fold(item)))
}

/** The known name that is nearest to an unknown one, if any is near enough to be what was meant. */
export function nearestName (unknown: string, names: Iterable<string>): string | undefined {
  let nearest: string | undefined
  let least = Math.max(2, Math.floor(unknown.length / 4)) + 1
  for (const name of names) {
    const distance = editDistance(unknown, name)
    if (distance < least) [nearest, least] = [name, distance]
  }
  return nearest
}

function editDistance (one: string, other: string): number {
  let previous = Array.from({ length: other.length + 1 }, (_, index) => index)
  for (let i = 1; i <= one.length; i++) {
    const row = [i]
    for (let j = 1; j <= other.length; j++) {
      row.push(Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + (one[i - 1] === other[j - 1] ? 0 : 1)))
    }
    previous = row
  }
  return previous[other.length]!
}
