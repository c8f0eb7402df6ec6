/** RocksDB's write-ahead log, by db_bench: one memtable that takes everything, so that the log is what is written. */
import { LeftOut } from '../measurement.js'
import { execute, system } from '../tools.js'

export interface RocksdbLoad {
  readonly dataDir: string
  readonly sync: boolean
  readonly threads: number
  readonly writesPerThread: number
  readonly batch: number
  readonly bytesMin: number
  readonly bytesMax: number
}

export async function rocksdb (load: RocksdbLoad): Promise<Record<string, number>> {
  await system({ command: 'db_bench', package: 'rocksdb-tools' }).catch((error: unknown) => { throw new LeftOut((error as Error).message) })
  const output = await execute('db_bench', [
    '--benchmarks=fillseq', `--db=${load.dataDir}`, `--sync=${load.sync}`, `--threads=${load.threads}`, `--num=${load.writesPerThread}`, `--batch_size=${load.batch}`,
    '--key_size=16', '--value_size_distribution_type=uniform', `--value_size_min=${load.bytesMin}`, `--value_size_max=${load.bytesMax}`,
    '--compression_type=none', '--write_buffer_size=8589934592', '--disable_auto_compactions=1'
  ])
  const match = /^fillseq\s*:.* (\d+) ops\/sec/m.exec(output)
  if (match === null) throw new Error(`db_bench did not say how fast it was:\n${output.slice(-1000)}`)
  const perSecond = Number(match[1])
  return { perSecond, megabytesPerSecond: perSecond * (load.bytesMin + load.bytesMax) / 2 / 1e6 }
}
