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
const HEIGHT = 380

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
  const labelOf = (record: Records[number]): string => across.map((column) => column === 'threads' && across.length > 1 ? `${record[column]} threads` : record[column]).join(', ')
  const labels = [...new Set(records.map(labelOf))]
  const names = series === undefined ? [''] : [...new Set(records.map((record) => record[series]!))]
  return {
    animation: false,
    backgroundColor: '#ffffff',
    legend: { show: series !== undefined, bottom: 0, formatter: (value: string) => series === 'threads' ? `${value} threads` : value },
    title: panels.map(({ title, unit }, at) => ({ text: `${title}, ${unit}`, left: at * PANEL_WIDTH + 20, top: 8, textStyle: { fontSize: 14 } })),
    grid: panels.map((_, at) => ({ left: at * PANEL_WIDTH + 80, width: PANEL_WIDTH - 110, top: 50, bottom: 70 })),
    xAxis: panels.map((_, gridIndex) => ({ type: 'category', gridIndex, data: labels, ...(across.length === 1 && { name: across[0]!, nameLocation: 'middle', nameGap: 28 }) })),
    yAxis: panels.map((_, gridIndex) => ({ type: 'value', gridIndex, min: 0 })),
    series: panels.flatMap(({ column }, at) => names.map((seriesName) => ({
      type: kind, name: seriesName, xAxisIndex: at, yAxisIndex: at,
      data: labels.map((label) => valueOf(records.find((record) => labelOf(record) === label && (series === undefined || record[series] === seriesName))?.[column]))
    })))
  }
}

function valueOf (text: string | undefined): number | null {
  const value = Number(text ?? Number.NaN)
  return Number.isFinite(value) ? value : null
}
