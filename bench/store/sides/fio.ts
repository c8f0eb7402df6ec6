/** What the device can do, by fio on files of the same file system. */
import { mkdir } from 'node:fs/promises'
import { orLeftOut } from '../measurement.js'
import { execute, system } from '../tools.js'

export interface FioJob {
  readonly dataDir: string
  readonly seconds: number
  readonly options: readonly string[]
}

/** One direct write at a time into written blocks, durable each. */
export const DURABLE_ALONE = ['--rw=write', '--bs=4k', '--size=64m', '--overwrite=1', '--sync=dsync', '--ioengine=psync']
/** The same by ten at once, a file each. */
export const DURABLE_TEN = ['--rw=write', '--bs=4k', '--size=16m', '--overwrite=1', '--sync=dsync', '--ioengine=psync', '--numjobs=10', '--group_reporting=1', '--thread=1']
export const SEQUENTIAL_WRITE = ['--rw=write', '--bs=1m', '--size=1g', '--ioengine=io_uring', '--iodepth=8']
export const SEQUENTIAL_READ = ['--rw=read', '--bs=1m', '--size=1g', '--ioengine=io_uring', '--iodepth=8']

interface Direction {
  readonly iops: number
  readonly bw_bytes: number
  readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> }
}

export async function fio ({ dataDir, seconds, options }: FioJob): Promise<Record<string, number>> {
  await orLeftOut('fio cannot be had here', async () => await system({ command: 'fio', package: 'fio' }))
  await mkdir(dataDir, { recursive: true })
  const output = await orLeftOut('fio failed', async () => await execute('fio', [
    '--name=limit', `--directory=${dataDir}`, '--direct=1', '--time_based', `--runtime=${Math.ceil(seconds * 1000)}ms`, '--output-format=json', ...options
  ]))
  const { jobs } = JSON.parse(output.slice(output.indexOf('{'))) as { jobs: [{ read: Direction, write: Direction }] }
  const direction = jobs[0].read.iops > 0 ? jobs[0].read : jobs[0].write
  const percentile = direction.clat_ns.percentile ?? {}
  return {
    perSecond: direction.iops,
    megabytesPerSecond: direction.bw_bytes / 1e6,
    gibibytesPerSecond: direction.bw_bytes / 2 ** 30,
    latencyUsP50: (percentile['50.000000'] ?? 0) / 1000,
    latencyUsP99: (percentile['99.000000'] ?? 0) / 1000
  }
}
