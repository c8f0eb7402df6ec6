/** DescribeLogDirs, versions 1 to 5: how large each partition is. There is one folder and no replica that lags or moves. */
import { ErrorCode } from '../../protocol/error-codes.js'
import { describeLogDirs } from '../../protocol/schemas/35-describe-log-dirs.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { handler } from '../handler.js'
import type { Partition } from '../partitions/partition.js'
import type { Services } from '../services.js'

export const describeLogDirsHandler = handler({ api: describeLogDirs, handle })

/** On the disk: compressed segments count as what they take there. */
const storedBytes = (partition: Partition): number => partition.segments().reduce((sum, segment) => sum + segment.storedBytes, 0)

async function handle ({ topics, logDir }: Pick<Services, 'topics' | 'logDir'>, request: RequestOf<typeof describeLogDirs>):
Promise<ResponseInputOf<typeof describeLogDirs>> {
  const partitionsOf = new Map<string, readonly Partition[]>()
  if (request.topics === null) {
    for (const { name, partitions } of topics.all()) partitionsOf.set(name, partitions)
  } else {
    for (const { topic, partitions } of request.topics) {
      const wanted = new Set([...partitionsOf.get(topic)?.map(({ index }) => index) ?? [], ...partitions])
      partitionsOf.set(topic, topics.get(topic)?.partitions.filter(({ index }) => wanted.has(index)) ?? [])
    }
  }
  const described = [...partitionsOf].filter(([, partitions]) => partitions.length > 0).map(([name, partitions]) => ({
    name,
    partitions: partitions.map((partition) => ({ partitionIndex: partition.index, partitionSize: storedBytes(partition), offsetLag: 0, isFutureKey: false }))
  }))
  return {
    throttleTimeMs: 0,
    errorCode: ErrorCode.NONE,
    results: [{ errorCode: ErrorCode.NONE, logDir: logDir.path, topics: described, ...await logDir.space() }]
  }
}
