/** What each workload's CSV is drawn as: lines or bars from columns. Pure, but for the library that draws. */
import * as echarts from 'echarts'
import type { WorkloadName } from './workloads.js'

type Records = readonly Readonly<Record<string, string>>[]

interface Panel {
  readonly title: string
  readonly unit: string
  readonly column: string
}

interface Chart {
  readonly kind: 'line' | 'bar'
  /** The columns whose values name a point on the horizontal axis. */
  readonly across: readonly string[]
  /** A series for each value of this column. */
  readonly series?: string
  readonly panels: readonly Panel[]
}

const OPERATIONS: Panel = { title: 'Entries per second', unit: 'entries/s', column: 'ops_per_sec' }
const BANDWIDTH: Panel = { title: 'Bandwidth', unit: 'MB/s', column: 'mb_per_sec' }
const LATENCY: Panel = { title: 'Mean latency', unit: 'us', column: 'avg_latency_us' }
const PROCESSOR: Panel = { title: 'Processor', unit: '% of one', column: 'cpu_usage' }

export const CHARTS: Readonly<Record<WorkloadName, Chart>> = {
  writes: { kind: 'line', across: ['threads'], series: 'fsync_mode', panels: [OPERATIONS, BANDWIDTH, LATENCY] },
  reads: { kind: 'bar', across: ['phase', 'threads'], panels: [OPERATIONS, BANDWIDTH, LATENCY] },
  scaling: { kind: 'line', across: ['threads'], panels: [OPERATIONS, BANDWIDTH, PROCESSOR] },
  batch: { kind: 'bar', across: ['threads', 'batch_size'], series: 'fsync_mode', panels: [OPERATIONS, BANDWIDTH, LATENCY] },
  'batch-scaling': { kind: 'line', across: ['threads'], series: 'batch_size', panels: [OPERATIONS, BANDWIDTH, PROCESSOR] },
  vs: { kind: 'bar', across: ['system'], series: 'threads', panels: [OPERATIONS, BANDWIDTH, LATENCY] }
}

const PANEL_WIDTH = 460
const HEIGHT = 400
const COLOURS = ['#0f766e', '#b45309', '#7c3aed', '#64748b']

/** One SVG with the workload's panels side by side. */
export function svgOf (name: WorkloadName, records: Records): string {
  const { panels } = CHARTS[name]
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: PANEL_WIDTH * panels.length, height: HEIGHT })
  try {
    chart.setOption(optionOf(name, records))
    return chart.renderToSVGString()
  } finally {
    chart.dispose()
  }
}

export function optionOf (name: WorkloadName, records: Records): echarts.EChartsOption {
  const { kind, across, series, panels } = CHARTS[name]
  // What an axis names is not said again at each of its points.
  const labelOf = (record: Records[number]): string => across.map((column) => across.length === 1 ? record[column]! : inWords(column, record[column]!)).join(', ')
  const labels = [...new Set(records.map(labelOf))]
  // Short labels fit below their points; many long ones are turned.
  const turned = across.length > 1 && labels.length > 4
  const nameGap = across.length === 1 ? 28 : turned ? 72 : 44
  const names = series === undefined ? [''] : [...new Set(records.map((record) => record[series]!))]
  return {
    animation: false,
    backgroundColor: '#ffffff',
    textStyle: { fontFamily: 'system-ui, sans-serif' },
    legend: { show: series !== undefined, bottom: 4, itemGap: 28, formatter: (value: string) => inWords(series, value) },
    title: panels.map(({ title }, at) => ({ text: title, left: at * PANEL_WIDTH + 20, top: 8, textStyle: { fontSize: 14 } })),
    grid: panels.map((_, at) => ({ left: at * PANEL_WIDTH + 96, width: PANEL_WIDTH - 120, top: 50, bottom: 94 })),
    xAxis: panels.map((_, gridIndex) => ({
      type: 'category', gridIndex, data: labels, axisLabel: { interval: 0, ...(turned ? { rotate: 35 } : { width: Math.floor((PANEL_WIDTH - 120) / labels.length) - 6, overflow: 'break' }) },
      name: across.map((column) => column.replaceAll('_', ' ')).join(' and '), nameLocation: 'middle', nameGap
    })),
    yAxis: panels.map(({ unit }, gridIndex) => ({ type: 'value', gridIndex, min: 0, name: unit, nameLocation: 'middle', nameGap: 66 })),
    series: panels.flatMap(({ column }, at) => names.map((seriesName, which) => ({
      color: COLOURS[which % COLOURS.length]!, type: kind, name: seriesName, xAxisIndex: at, yAxisIndex: at, barMaxWidth: 60,
      data: labels.map((label) => valueOf(records.find((record) => labelOf(record) === label && (series === undefined || record[series] === seriesName))?.[column]))
    })))
  }
}

/** A value of a column where nothing else says what it is. */
function inWords (column: string | undefined, value: string): string {
  if (column === 'threads') return `${value} thread${value === '1' ? '' : 's'}`
  return column === 'batch_size' ? `batches of ${value}` : value
}

function valueOf (text: string | undefined): number | null {
  const value = Number(text ?? Number.NaN)
  return Number.isFinite(value) ? value : null
}
