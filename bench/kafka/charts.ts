/** What the report draws: options for the charting library, from figures alone, and their SVG. */
import * as echarts from 'echarts'
import { HAULOUT, KAFKA, KAFKA_DURABLE, SINK } from './brokers.js'
import type { JudgedRow, Sample } from '../store/measurement.js'
import { summaryOf } from '../store/measurement.js'
import type { Growth } from './growth.js'
import type { LatencyBuckets, LoadOutcome, Series } from './load.js'

const WIDTH = 560
const HEIGHT = 340
/** A broker has the same colour in every picture. */
const COLOURS: Readonly<Record<string, string>> = { [HAULOUT.name]: '#0f766e', [KAFKA.name]: '#b45309', [KAFKA_DURABLE.name]: '#7c3aed', [SINK.name]: '#64748b' }
const AHEAD = '#0f766e'
const BEHIND = '#b91c1c'

type Option = echarts.EChartsOption

export function svgOf (option: Option, width = WIDTH, height = HEIGHT): string {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height })
  try {
    chart.setOption({ animation: false, textStyle: { fontFamily: 'system-ui, sans-serif' }, ...option })
    return chart.renderToSVGString()
  } finally {
    chart.dispose()
  }
}

/** `about` is said below the title, in at most two lines. */
function framed (title: string, more: Option, about = ''): Option {
  const small = { fontSize: 11, color: '#475569', width: WIDTH - 100, overflow: 'break' as const }
  return { title: { text: title, subtext: about, left: 8, top: 6, itemGap: 4, textStyle: { fontSize: 14, fontWeight: 600 }, subtextStyle: small }, legend: { bottom: 4, itemGap: 28 }, grid: { left: 78, right: 24, top: about === '' ? 48 : 76, bottom: 76 }, ...more }
}

const IN_WORDS: Readonly<Record<string, string>> = { s: 'seconds', ms: 'milliseconds' }
const below = (name: string): { name: string, nameLocation: 'middle', nameGap: number } => ({ name, nameLocation: 'middle', nameGap: 26 })
const upwards = (unit: string): { type: 'value', min: 0, name: string, nameLocation: 'middle', nameGap: number } =>
  ({ type: 'value', min: 0, name: IN_WORDS[unit] ?? unit, nameLocation: 'middle', nameGap: 54 })

/** Megabytes per second in every slot since the start; the last slot is not whole and is left out. */
export function throughputOverTime (title: string, series: readonly Series[], about = ''): Option {
  return framed(title, {
    xAxis: { type: 'value', ...below('seconds since the start'), minInterval: 1 },
    yAxis: upwards('MB/s'),
    series: series.map(({ side, slotMs, slotBytes }) => ({
      type: 'line' as const, name: side, color: COLOURS[side]!, showSymbol: false, data: smoothed(slotBytes.slice(0, -1)).map((bytes, at) => [at * slotMs / 1000, Math.round(bytes / 1e3 / slotMs)])
    }))
  }, about)
}

/** The mean of each slot and its neighbours: a slot is shorter than a batch's way. */
export function smoothed (values: readonly number[]): number[] {
  return values.map((_, at) => {
    const near = values.slice(Math.max(0, at - 1), at + 2)
    return near.reduce((sum, value) => sum + value, 0) / near.length
  })
}

/** Which part of the answers came within a time. */
export function latencyDistribution (title: string, latencies: ReadonlyMap<string, LatencyBuckets>, about = ''): Option {
  return framed(title, {
    xAxis: { type: 'log', ...below('milliseconds, logarithmic') },
    yAxis: { ...upwards('% of the answers'), max: 100 },
    series: [...latencies].map(([name, buckets]) => ({ type: 'line' as const, name, color: COLOURS[name]!, showSymbol: false, data: cumulative(buckets) }))
  }, about)
}

export function cumulative (buckets: LatencyBuckets): [ms: number, percent: number][] {
  const all = buckets.reduce((sum, [, count]) => sum + count, 0)
  let seen = 0
  return buckets.map(([us, count]) => {
    seen += count
    return [Math.max(us, 1) / 1000, Number((seen * 100 / all).toFixed(2))]
  })
}

/** Medians for each broker over the points of what grows: lines, or bars where the points are settings that do not grow. */
export function growthLines (growth: Growth, samples: readonly Sample[], title: string, unit: string, figure: string): Option {
  const grows = growth.points.every((point, at) => at === 0 || Number(point) > Number(growth.points[at - 1]))
  return framed(title, {
    xAxis: { type: 'category', data: grows ? growth.points.map((point) => Number(point).toLocaleString('en-US')) : [...growth.points], ...below(growth.across) },
    yAxis: upwards(unit),
    series: growth.brokers.map(({ name }) => ({
      type: grows ? 'line' as const : 'bar' as const, name, color: COLOURS[name]!, data: growth.points.map((point) => rounded(summaryOf(samples, name, `${point}.${figure}`)?.median))
    }))
  })
}

/** Kafka is 1: bars to the right are better, on a logarithmic axis. On a narrow picture names stand above their bars. */
export function advantages (rows: readonly JudgedRow[], narrow = false): Option {
  const bars = rows.flatMap(({ row, own, others }) => {
    // A client's own share of the processors is no merit of a broker.
    const peer = others[0]?.name === SINK.name || row.figure === 'clientCpuShare' ? undefined : others[0]?.summary?.median
    if (own === undefined || peer === undefined || !(own.median > 0) || !(peer > 0)) return []
    return [{ name: row.title, value: Number((row.better === 'higher' ? own.median / peer : peer / own.median).toPrecision(3)) }]
  }).reverse()
  const values = bars.map(({ value }) => value)
  return {
    title: { text: 'How many times better than Kafka', left: 8, top: 6, textStyle: { fontSize: 14, fontWeight: 600 } },
    grid: narrow ? { left: 12, right: 56, top: 44, bottom: 50 } : { left: 430, right: 70, top: 44, bottom: 50 },
    xAxis: {
      type: 'log', ...below(narrow ? 'times Kafka, logarithmic' : 'times Kafka, logarithmic; right of the line Haulout is ahead'),
      min: 10 ** Math.floor(Math.log10(Math.min(0.5, ...values))), max: 10 ** Math.ceil(Math.log10(Math.max(2, ...values)))
    },
    yAxis: {
      type: 'category', data: bars.map(({ name }) => name), axisTick: { show: false }, z: 10,
      axisLabel: narrow
        ? { fontSize: 11, inside: true, align: 'left', verticalAlign: 'bottom', margin: 0, padding: [0, 0, 8, 0], width: 290, overflow: 'truncate', color: '#111827', textBorderColor: '#ffffff', textBorderWidth: 3 }
        : { fontSize: 11, width: 410, overflow: 'truncate' }
    },
    series: [{
      type: 'bar', barWidth: narrow ? 12 : 16, label: { show: true, position: 'right', formatter: '{c}x' },
      data: bars.map(({ value }) => ({ value, itemStyle: { color: value >= 1 ? AHEAD : BEHIND } })),
      markLine: { symbol: 'none', silent: true, label: { show: false }, lineStyle: { color: '#111827', type: 'solid' }, data: [{ xAxis: 1 }] }
    }]
  }
}

/** One bar for each side, for every row that costs something; `common` begins all their titles, and is not said again below each. */
export function costBars (title: string, unit: string, common: string, rows: readonly JudgedRow[]): Option {
  const left = 78
  const right = 24
  const sides = [...new Set(rows.flatMap(({ row, others }) => [row.side, ...others.map(({ name }) => name)]))]
  return framed(title, {
    grid: { left, right, top: 48, bottom: 84 },
    xAxis: {
      type: 'category', data: rows.map(({ row }) => row.title.replace(common, '').replaceAll(/(?<=\d),(?=\d)/g, '')), // a label may be broken at a comma
      axisLabel: { interval: 0, width: Math.floor((WIDTH - left - right) / rows.length) - 8, overflow: 'break', fontSize: 11 }
    },
    yAxis: upwards(unit),
    series: sides.map((side) => ({
      type: 'bar' as const, name: side, color: COLOURS[side]!, barMaxWidth: 36,
      data: rows.map(({ row, own, others }) => rounded(row.side === side ? own?.median : others.find(({ name }) => name === side)?.summary?.median))
    }))
  })
}

function rounded (value: number | undefined): number | null {
  return value === undefined || !Number.isFinite(value) ? null : Number(value.toPrecision(3))
}

/** The parts of a one-record-at-a-time latency. */
export function latencyBars (title: string, { load, samples }: LoadOutcome): Option {
  const steps = [['mean', 'latencyMsMean'], ['p50', 'latencyMsP50'], ['p99', 'latencyMsP99'], ['p99.9', 'latencyMsP999']] as const
  return framed(title, {
    xAxis: { type: 'category', data: steps.map(([name]) => name), ...below('of all records') },
    yAxis: upwards('ms'),
    series: load.brokers.map(({ name }) => ({
      type: 'bar' as const, name, color: COLOURS[name]!, data: steps.map(([, figure]) => rounded(summaryOf(samples, name, figure)?.median))
    }))
  })
}

/** Those with something to draw. */
export function withSeries (outcomes: readonly LoadOutcome[]): LoadOutcome[] {
  return outcomes.filter(({ series }) => series.some(({ slotBytes }) => slotBytes.length > 3))
}
