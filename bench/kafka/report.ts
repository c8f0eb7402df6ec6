/** The run as one HTML file without anything from outside: the table, the machine, the settings, the pictures. Pure. */
import type { JudgedRow } from '../store/measurement.js'
import type { Machine } from '../store/machine.js'
import { advantages, costBars, growthLines, latencyBars, latencyDistribution, svgOf, throughputOverTime, withSeries } from './charts.js'
import type { Growth } from './growth.js'
import type { LoadOutcome } from './load.js'
import { cells, HEADER } from './table.js'

export interface Report {
  readonly title: string
  readonly command: string
  readonly machine: Machine
  readonly outcomes: readonly LoadOutcome[]
  readonly rows: readonly JudgedRow[]
}

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;color:#111827;max-width:1180px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem}
table{border-collapse:collapse;width:100%;font-size:13px}th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #e5e7eb;vertical-align:top}
th{background:#f8fafc}td:nth-child(n+2){font-variant-numeric:tabular-nums}td:nth-child(n+4){white-space:nowrap}.aim{color:#0f766e;font-weight:600}.floor{color:#4d7c0f}.not{color:#b91c1c;font-weight:600}
.facts td:first-child{white-space:nowrap;color:#475569;width:12rem}.facts td{overflow-wrap:anywhere}.narrow{display:none}
.pictures{display:flex;flex-wrap:wrap;gap:1rem}.pictures svg{border:1px solid #e5e7eb;border-radius:6px}svg{max-width:100%;height:auto;box-sizing:border-box}
code{overflow-wrap:anywhere;background:#f1f5f9;padding:.1rem .3rem;border-radius:4px}.note{color:#475569;font-size:13px}
@media(max-width:700px){.wide{display:none}.narrow{display:block}thead{display:none}tr{display:block;padding:.5rem 0;border-bottom:1px solid #e5e7eb}
td,.facts td:first-child{display:block;border:0;padding:.1rem 0;width:auto;white-space:normal}.asked td:first-child{font-weight:600}.asked td:empty{display:none}
.asked td:nth-child(n+2)::before{content:attr(data-name) ": ";color:#475569;font-weight:400}}`

export function htmlReport ({ title, command, machine, outcomes, rows }: Report): string {
  const growths = outcomes.filter(({ load }) => isGrowth(load))
  const others = outcomes.filter(({ load }) => !isGrowth(load))
  const asked = rows.filter(({ row }) => others.some(({ load }) => load.rows.includes(row)))
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>${escaped(title)}</title><style>${STYLE}</style></head><body>
<h1>${escaped(title)}</h1>
<p class="note">The same clients with the same settings against each broker in turn. Medians (smallest to largest). Made by <code>${escaped(command)}</code></p>
${asked.length === 0 ? '' : `${table(asked)}<h2>At a glance</h2><div class="wide">${svgOf(advantages(asked), 1140, 110 + asked.length * 26)}</div><div class="narrow">${svgOf(advantages(asked, true), 360, 110 + asked.length * 44)}</div>`}
${pictures('Throughput over time', withSeries(others).map(({ load, series }) => svgOf(throughputOverTime(inTitle(load.id), series, load.settings))))}
${pictures('Latency', latencyPictures(others))}
${pictures('Cost', costPictures(asked))}
${pictures('Growth', growths.flatMap((outcome) => growthPictures(outcome)))}
<h2>Machine</h2>${facts(Object.entries(machine))}
<h2>How each is measured</h2>${facts(outcomes.map(({ load }) => [load.id, `${load.settings}. ${load.method}`]))}
<h2>Brokers</h2>${facts([...new Map(outcomes.flatMap(({ load }) => load.brokers.map(({ name, settings }) => [name, settings] as const)))])}
${leftOut(outcomes)}</body></html>
`
}

function inTitle (words: string): string {
  return `${words[0]!.toUpperCase()}${words.slice(1)}`
}

function isGrowth (load: LoadOutcome['load']): load is Growth {
  return 'points' in load
}

function table (rows: readonly JudgedRow[]): string {
  const line = (row: JudgedRow): string => {
    const all = cells(row).map((cell) => escaped(cell).replaceAll('\n', '<br>'))
    const verdict = row.verdict.includes('not') ? 'not' : row.verdict.startsWith('aim') ? 'aim' : 'floor'
    return `<tr>${all.map((cell, at) => `<td data-name="${HEADER[at]!}"${at === all.length - 1 ? ` class="${verdict}"` : ''}>${cell}</td>`).join('')}</tr>`
  }
  return `<table class="asked"><thead><tr>${HEADER.map((name) => `<th>${name}</th>`).join('')}</tr></thead><tbody>${rows.map(line).join('\n')}</tbody></table>`
}

function latencyPictures (outcomes: readonly LoadOutcome[]): string[] {
  const distributions = outcomes.filter(({ latencies }) => latencies.size > 0)
    .map(({ load, latencies }) => svgOf(latencyDistribution(`Answers within a time: ${load.id}`, latencies, load.settings)))
  const endToEnd = outcomes.find(({ load }) => load.id === 'latency')
  if (endToEnd === undefined) return distributions
  return [...distributions, svgOf(latencyBars('EndToEndLatency, acks=all', endToEnd))]
}

function costPictures (rows: readonly JudgedRow[]): string[] {
  const of = (unit: string, pattern: RegExp): JudgedRow[] => rows.filter(({ row }) => row.unit === unit && pattern.test(row.title))
  const groups: readonly (readonly [title: string, unit: string, common: string, rows: JudgedRow[]])[] = [
    ['Broker CPU per gigabyte', 's', 'broker CPU per GB ', of('s', /CPU per GB/)], ['Resident memory', 'MiB', 'memory ', of('MiB', /memory/)]
  ]
  return groups.filter(([,,, found]) => found.length > 0).map((group) => svgOf(costBars(...group)))
}

function growthPictures ({ load, samples }: LoadOutcome): string[] {
  if (!isGrowth(load)) return []
  return load.figures.map(({ title, unit, figure }) => svgOf(growthLines(load, samples, `${inTitle(title)}, by ${load.across}`, unit, figure)))
}

function pictures (title: string, all: readonly string[]): string {
  return all.length === 0 ? '' : `<h2>${title}</h2><div class="pictures">${all.join('\n')}</div>`
}

function facts (entries: readonly (readonly [name: string, value: string])[]): string {
  return `<table class="facts">${entries.map(([name, value]) => `<tr><td>${escaped(name)}</td><td>${escaped(value)}</td></tr>`).join('\n')}</table>`
}

function leftOut (outcomes: readonly LoadOutcome[]): string {
  const all = outcomes.flatMap(({ load, leftOut: sides }) => [...sides].map(([side, why]) => [`${load.id}: ${side}`, why] as const))
  return all.length === 0 ? '' : `<h2>Left out</h2>${facts(all)}`
}

export function escaped (text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}
