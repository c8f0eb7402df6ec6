/** The outcome of measurements as a table, for the terminal or in Markdown. Pure. */
import Table from 'cli-table3'
import type { JudgedRow } from './measurement.js'
import type { Summary } from './statistics.js'

const HEADER = ['measure', 'Haulout', 'beside it, in the same run', 'floor', 'aim', 'to floor', 'verdict'] as const

export function terminalTable (rows: readonly JudgedRow[]): string {
  const table = new Table({ head: [...HEADER], wordWrap: true, colWidths: [26, 25, 38, 18, 18, 10, 13], style: { head: [], border: [] } })
  for (const row of rows) table.push(cells(row))
  return table.toString()
}

/** Columns of text and numbers without judgement. */
export function plainTable (columns: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const table = new Table({ head: [...columns], style: { head: [], border: [] } })
  for (const row of rows) table.push(row.map((value) => typeof value === 'number' ? formatNumber(value) : value))
  return table.toString()
}

export function markdownTable (rows: readonly JudgedRow[]): string {
  const lines = [HEADER, HEADER.map(() => '---'), ...rows.map(cells)]
  return lines.map((line) => `| ${line.map((cell) => cell.replaceAll('\n', '; ')).join(' | ')} |\n`).join('')
}

function cells ({ row, own, others, floor, aim, toFloor, verdict }: JudgedRow): string[] {
  const target = (text: string | undefined, value: number | undefined): string =>
    text === undefined ? '' : value === undefined || text === formatNumber(value) ? text : `${text}: ${formatNumber(value)}`
  return [
    `${row.title}, ${row.unit}`,
    withSpread(own),
    others.map(({ name, summary }) => `${name} ${withSpread(summary)}`).join('\n'),
    target(row.floor?.text, floor),
    target(row.aim?.text, aim),
    toFloor === undefined ? '' : toFloor.toFixed(2),
    verdict
  ]
}

/** '1,234 (1,100 to 1,300)', or 'left out'. */
export function withSpread (summary: Summary | undefined): string {
  if (summary === undefined) return 'left out'
  const { count, median, min, max } = summary
  return count === 1 ? formatNumber(median) : `${formatNumber(median)} (${formatNumber(min)} to ${formatNumber(max)})`
}

/** Three significant digits below 1,000, whole numbers with separators above. */
export function formatNumber (value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US')
  return value === 0 ? '0' : String(Number(value.toPrecision(3)))
}
