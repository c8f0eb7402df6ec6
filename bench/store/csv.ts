/** CSV as RFC 4180 has it, one header line, `\n` at line ends. Pure. */

export type CsvValue = string | number

export function toCsv (columns: readonly string[], rows: readonly (readonly CsvValue[])[]): string {
  return [columns, ...rows].map((row) => `${row.map(field).join(',')}\n`).join('')
}

function field (value: CsvValue): string {
  const text = typeof value === 'number' ? String(rounded(value)) : value
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** Six significant digits say more than any measurement here knows. */
function rounded (value: number): number {
  return Number.isInteger(value) ? value : Number(value.toPrecision(6))
}

/** Records by the names in the header. Throws when a line has another number of fields. */
export function fromCsv (text: string): Record<string, string>[] {
  const [header, ...lines] = records(text)
  if (header === undefined) return []
  return lines.map((line, index) => {
    if (line.length !== header.length) throw new Error(`line ${index + 2} has ${line.length} fields, the header ${header.length}`)
    return Object.fromEntries(header.map((name, at) => [name, line[at]!]))
  })
}

function records (text: string): string[][] {
  const found: string[][] = []
  let record: string[] = []
  for (const match of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
    const [all, quoted, plain, end] = match
    if (all === '' && record.length === 0) break
    record.push(quoted?.replaceAll('""', '"') ?? plain!)
    if (end === ',') continue
    found.push(record)
    record = []
  }
  return found
}
