/** The outcome of loads as a table, for the terminal or in Markdown: Kafka, Haulout, their ratio, what is asked. Pure. */
import Table from 'cli-table3'
import type { JudgedRow } from '../store/measurement.js'
import { formatNumber, withSpread } from '../store/table.js'

export const HEADER = ['measure', 'beside it', 'Haulout', 'ratio', 'floor', 'aim', 'verdict'] as const

export function terminalTable (rows: readonly JudgedRow[]): string {
  const table = new Table({ head: [...HEADER], wordWrap: true, colWidths: [36, 36, 24, 10, 14, 16, 14], style: { head: [], border: [] } })
  for (const row of rows) table.push(cells(row))
  return table.toString()
}

export function markdownTable (rows: readonly JudgedRow[]): string {
  const lines = [HEADER, HEADER.map(() => '---'), ...rows.map(cells)]
  return lines.map((line) => `| ${line.map((cell) => cell.replaceAll('\n', '; ')).join(' | ')} |\n`).join('')
}

export function cells ({ row, own, others, floor, aim, verdict }: JudgedRow): string[] {
  const target = (text: string | undefined, value: number | undefined): string =>
    text === undefined ? '' : value === undefined || text === formatNumber(value) || !text.endsWith('x') ? text : `${text}: ${formatNumber(value)}`
  const peer = others[0]?.summary?.median
  return [
    `${row.title}, ${row.unit}`,
    others.map(({ name, summary }) => `${name} ${withSpread(summary)}`).join('\n'),
    withSpread(own),
    own === undefined || peer === undefined || peer === 0 ? '' : `${formatNumber(own.median / peer)}x`,
    target(row.floor?.text, floor),
    target(row.aim?.text, aim),
    verdict === 'no target' ? '' : verdict
  ]
}
