/** What each workload's CSV is drawn as: lines or bars from columns. Pure, but for the library that draws. */
import * as echarts from 'echarts'
import { WORKLOADS, type WorkloadName } from './workloads.js'

type Records = readonly Readonly<Record<string, string>>[]

interface Panel {
  readonly title: string
  readonly unit: string
  readonly column: string
}

interface Chart {
  readonly kind: 'line' | 'bar'
  /** The columns whose values name a point on the horizontal axis; those with one value only are said once, below it. */
  readonly across: readonly string[]
  /** A series for each value of this column. */
  readonly series?: string
  readonly panels: readonly Panel[]
  /** One panel more: how the latencies of the calls are distributed, with the most threads. */
  readonly distribution?: boolean
}

const OPERATIONS: Panel = { title: 'Throughput', unit: 'entries per second', column: 'ops_per_sec' }
const BANDWIDTH: Panel = { title: 'Bandwidth', unit: 'MB/s', column: 'mb_per_sec' }
const LATENCY: Panel = { title: 'Mean latency', unit: 'microseconds', column: 'avg_latency_us' }
const PROCESSOR: Panel = { title: 'Processor', unit: '% of one processor', column: 'cpu_usage' }

export const CHARTS: Readonly<Record<WorkloadName, Chart>> = {
  writes: { kind: 'line', across: ['threads'], series: 'fsync_mode', panels: [OPERATIONS, BANDWIDTH, LATENCY], distribution: true },
  reads: { kind: 'bar', across: ['threads'], series: 'phase', panels: [OPERATIONS, BANDWIDTH, LATENCY], distribution: true },
  scaling: { kind: 'line', across: ['threads'], panels: [OPERATIONS, BANDWIDTH, PROCESSOR] },
  batch: { kind: 'bar', across: ['threads', 'batch_size'], series: 'fsync_mode', panels: [OPERATIONS, BANDWIDTH, LATENCY], distribution: true },
  'batch-scaling': { kind: 'line', across: ['threads'], series: 'batch_size', panels: [OPERATIONS, BANDWIDTH, PROCESSOR] },
  vs: { kind: 'bar', across: ['system', 'threads'], series: 'fsync_mode', panels: [OPERATIONS, BANDWIDTH, LATENCY] }
}

const PANEL_WIDTH = 460
const HEIGHT = 480
/** Of a label, on average. */
const LETTER_PIXELS = 6.5
const TURNED_DEGREES = 35
/** Above this ratio of the largest to the smallest value, a linear axis shows the small ones as nothing. */
const LINEAR_RATIO_MAX = 100
const COLOURS = ['#0f766e', '#b45309', '#7c3aed', '#64748b', '#be123c', '#1d4ed8', '#65a30d', '#0891b2']

/** One SVG with the workload's panels side by side; `about` is said below the title. `latencies`: the percentiles, where they are there. */
export function svgOf (name: WorkloadName, records: Records, about: string, latencies: Records = []): string {
  const option = optionOf(name, records, about, latencies)
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: PANEL_WIDTH * (option.grid as unknown[]).length, height: HEIGHT })
  try {
    chart.setOption(option)
    return chart.renderToSVGString()
  } finally {
    chart.dispose()
  }
}

export function optionOf (name: WorkloadName, records: Records, about = '', latencies: Records = []): echarts.EChartsOption {
  const { kind, across, series, panels } = CHARTS[name]
  const several = across.filter((column) => new Set(records.map((record) => record[column])).size > 1)
  const named = several.length === 0 ? across.slice(0, 1) : several
  const constant = across.filter((column) => !named.includes(column)).map((column) => inWords(column, records[0]![column]!))
  // What an axis names is not said again at each of its points.
  const labelOf = (record: Records[number]): string => named.map((column) => named.length === 1 ? record[column]! : inWords(column, record[column]!)).join(', ')
  const labels = inOrder([...new Set(records.map(labelOf))])
  const { turned, labelWidth, labelHeight } = placeOf(labels)
  const nameGap = labelHeight + 14
  const names = series === undefined ? [''] : [...new Set(records.map((record) => record[series]!))]
  const grid = (at: number): { left: number, width: number, top: number, bottom: number } => ({ left: at * PANEL_WIDTH + 96, width: PANEL_WIDTH - 120, top: 104, bottom: nameGap + 50 })
  const panelTitle = (text: string, at: number): echarts.TitleComponentOption => ({ text, left: at * PANEL_WIDTH + 20, top: 66, textStyle: { fontSize: 14 } })
  const colourOf = (seriesName: string): string => COLOURS[names.indexOf(seriesName) % COLOURS.length]!
  const distribution = CHARTS[name].distribution === true && latencies.length > 0 ? distributionOf(latencies, series!, panels.length) : undefined
  return {
    animation: false,
    backgroundColor: '#ffffff',
    textStyle: { fontFamily: 'system-ui, sans-serif' },
    legend: { show: series !== undefined, bottom: 4, itemGap: 28, data: names, formatter: (value: string) => inWords(series, value) },
    title: [
      { text: WORKLOADS[name].title, subtext: about, left: 20, top: 8, textStyle: { fontSize: 16 }, subtextStyle: { color: '#475569' } },
      ...panels.map(({ title }, at) => panelTitle(title, at)), ...(distribution === undefined ? [] : [panelTitle(distribution.title, panels.length)])
    ],
    grid: [...panels, ...(distribution === undefined ? [] : [distribution])].map((_, at) => grid(at)),
    xAxis: [...panels.map((_, gridIndex) => ({
      type: 'category' as const, gridIndex, data: labels, axisLabel: { interval: 0, ...(turned ? { rotate: TURNED_DEGREES } : { width: labelWidth, overflow: 'break' as const }) },
      name: [named.map((column) => column.replaceAll('_', ' ')).join(' and '), ...constant].join(', '), nameLocation: 'middle' as const, nameGap
    })), ...(distribution?.xAxis ?? [])],
    yAxis: [...panels.map(({ unit, column }, gridIndex) => ({
      ...scaleOf(records.map((record) => valueOf(record[column])), unit), gridIndex, nameLocation: 'middle' as const, nameGap: 52, axisLabel: { formatter: compact }
    })), ...(distribution?.yAxis ?? [])],
    series: [...panels.flatMap(({ column }, at) => names.map((seriesName) => ({
      color: colourOf(seriesName), type: kind, name: seriesName, xAxisIndex: at, yAxisIndex: at, barMaxWidth: 60,
      data: labels.map((label) => valueOf(records.find((record) => labelOf(record) === label && (series === undefined || record[series] === seriesName))?.[column]))
    }))), ...(distribution?.series.map((line) => ({ ...line, color: colourOf(line.name) })) ?? [])]
  }
}

/** Which part of the calls took no longer than a time: a line for each value of the column `series`, with the most threads. */
function distributionOf (latencies: Records, series: string, gridIndex: number) {
  const threads = Math.max(...latencies.map((record) => Number(record.threads)))
  const shown = latencies.filter((record) => Number(record.threads) === threads)
  const smallest = Math.min(...shown.map((record) => Number(record.latency_us)))
  return {
    title: `Latency distribution, ${inWords('threads', `${threads}`)}`,
    xAxis: [{
      type: 'log' as const, gridIndex, min: 10 ** Math.floor(Math.log10(smallest)), name: 'microseconds, logarithmic', nameLocation: 'middle' as const, nameGap: 28,
      axisLabel: { formatter: compact }
    }],
    yAxis: [{ type: 'value' as const, gridIndex, min: 0, max: 100, name: '% of the calls', nameLocation: 'middle' as const, nameGap: 52 }],
    series: [...new Set(shown.map((record) => record[series]!))].map((name) => ({
      type: 'line' as const, name, xAxisIndex: gridIndex, yAxisIndex: gridIndex, showSymbol: false,
      data: shown.filter((record) => record[series] === name).map((record) => [Number(record.latency_us), Number(record.percentile)])
    }))
  }
}

/** Counts by their size: a file may begin with the largest, as that of `bench-reads` does. */
function inOrder (labels: readonly string[]): string[] {
  return labels.every((label) => Number.isFinite(Number(label))) ? [...labels].sort((a, b) => Number(a) - Number(b)) : [...labels]
}

/** Labels stand below their points, broken into lines, where the longest word fits; otherwise they are turned. */
function placeOf (labels: readonly string[]): { readonly turned: boolean, readonly labelWidth: number, readonly labelHeight: number } {
  const pixels = (text: string): number => text.length * LETTER_PIXELS
  const labelWidth = Math.floor((PANEL_WIDTH - 120) / labels.length) - 6
  const turned = labels.some((label) => label.split(' ').some((word) => pixels(word) > labelWidth))
  const lines = Math.max(...labels.map((label) => Math.ceil(pixels(label) / labelWidth)))
  const longest = Math.max(...labels.map(pixels))
  return { turned, labelWidth, labelHeight: turned ? Math.ceil(longest * Math.sin(TURNED_DEGREES * Math.PI / 180)) + 10 : lines * 14 }
}

/** An axis from 0, or a logarithmic one from the power of ten below the smallest value. */
function scaleOf (values: readonly (number | null)[], unit: string): { readonly type: 'value' | 'log', readonly min: number, readonly startValue?: number, readonly name: string } {
  const known = values.filter((value) => value !== null)
  const smallest = Math.min(...known)
  if (!(smallest > 0 && Math.max(...known) / smallest > LINEAR_RATIO_MAX)) return { type: 'value', min: 0, name: unit }
  const min = 10 ** Math.floor(Math.log10(smallest))
  // Without a start, bars of less than 1 hang from it.
  return { type: 'log', min, startValue: min, name: `${unit}, logarithmic` }
}

/** '300K', '1.5M': a tick says its size, not its digits. */
function compact (value: number): string {
  return new Intl.NumberFormat('en-US', { notation: 'compact' }).format(value)
}

/** A value of a column where nothing else says what it is. */
function inWords (column: string | undefined, value: string): string {
  if (column === 'threads') return `${value} thread${value === '1' ? '' : 's'}`
  if (column === 'fsync_mode' && value.endsWith('ms')) return `fsync ${value.slice(0, -2)} ms`
  return column === 'batch_size' ? `batches of ${value}` : value
}

function valueOf (text: string | undefined): number | null {
  const value = Number(text ?? Number.NaN)
  return Number.isFinite(value) ? value : null
}
