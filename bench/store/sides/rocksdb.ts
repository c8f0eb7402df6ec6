/** RocksDB's write-ahead log, by db_bench: one memtable that takes everything, so that the log is what is written. */
import { orLeftOut } from '../measurement.js'
import { execute, system } from '../tools.js'

export interface RocksdbLoad {
  readonly dataDir: string
  readonly sync: boolean
  readonly threads: number
  /** About: db_bench is told a number of writes, which follows from a short trial. */
  readonly seconds: number
  readonly batch: number
  readonly bytesMin: number
  readonly bytesMax: number
}

const TRIAL_WRITES_PER_THREAD = 256
/** Of one thread: a few large entries say as much. */
const TRIAL_BYTES_MAX = 32 * 2 ** 20

export async function rocksdb (load: RocksdbLoad): Promise<Record<string, number>> {
  await orLeftOut('RocksDB cannot be had here', async () => await system({ command: 'db_bench', package: 'rocksdb-tools' }))
  const trialWrites = Math.min(TRIAL_WRITES_PER_THREAD * (load.sync ? 1 : 32), Math.ceil(TRIAL_BYTES_MAX / load.bytesMax))
  const trial = await perSecondOf(load, Math.max(load.batch, trialWrites))
  const perSecond = await perSecondOf(load, Math.max(load.batch, Math.ceil(trial * load.seconds / load.threads)))
  return {
    perSecond,
    megabytesPerSecond: perSecond * (load.bytesMin + load.bytesMax) / 2 / 1e6,
    latencyUsMean: load.threads * load.batch * 1e6 / perSecond
  }
}

async function perSecondOf (load: RocksdbLoad, writesPerThread: number): Promise<number> {
  const output = await orLeftOut('db_bench failed', async () => await execute('db_bench', [
    '--benchmarks=fillseq', `--db=${load.dataDir}`, `--sync=${load.sync}`, `--threads=${load.threads}`, `--num=${writesPerThread}`, `--batch_size=${load.batch}`,
    '--key_size=16', '--value_size_distribution_type=uniform', `--value_size_min=${load.bytesMin}`, `--value_size_max=${load.bytesMax}`,
    '--compression_type=none', '--write_buffer_size=8589934592', '--disable_auto_compactions=1'
  ]))
  const match = /^fillseq\s*:.* (\d+) ops\/sec/m.exec(output)
  if (match === null) throw new Error(`db_bench did not say how fast it was:\n${output.slice(-1000)}`)
  return Number(match[1])
}
