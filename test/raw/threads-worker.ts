/**
 * A worker thread that uses raw topics of a shared folder, for threads.test.ts and as a process of its own. Its topic holds, again and again, one
 * record and a batch in parts of `BATCH_COUNT` records, so that every record follows from its offset.
 */
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { Log, type BackendChoice, type Topic } from '../../src/raw/index.js'

export interface ThreadTask {
  readonly dataDir: string
  readonly backend: BackendChoice
  readonly topic: string
  /** Rounds of a record and a batch; forever when it is not there. */
  readonly rounds?: number
  /** Take so many records with this cursor, and say which. */
  readonly cursor?: { readonly name: string, readonly count: number }
  /** End with everything open. */
  readonly leaveOpen?: boolean
}

export const BATCH_COUNT = 8
const ROUND = BATCH_COUNT + 1
/** A batch of eight times 90,000 bytes has several parts under it. */
export const TOPIC_OPTIONS = { segmentBytesMax: 300_000 }

export function valueAt (offset: number): string {
  return `${offset} `.padEnd(offset % ROUND === 0 ? 50 : 90_000, 'x')
}

/** Whether readers may see the topic end here: never inside a batch. */
export const mayEndAt = (offset: number): boolean => offset % ROUND <= 1

export async function writeRounds (topic: Topic, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    if (topic.endOffset % ROUND === 0) topic.append(valueAt(topic.endOffset))
    const from = topic.endOffset
    await topic.appendBatch(Array.from({ length: BATCH_COUNT }, (_, index) => valueAt(from + index))).committed
  }
}

async function work ({ dataDir, backend, topic: name, rounds = Infinity, cursor, leaveOpen = false }: ThreadTask): Promise<void> {
  const log = await Log.open({ dataDir, backend, shared: true })
  const topic = await log.topic(name, TOPIC_OPTIONS)
  if (cursor !== undefined) {
    const offsets: number[] = []
    while (offsets.length < cursor.count) offsets.push((await topic.next({ cursor: cursor.name }))!.offset)
    parentPort?.postMessage(offsets)
  } else {
    await topic.append(valueAt(topic.endOffset)).committed
    parentPort?.postMessage('writing')
    await writeRounds(topic, rounds)
  }
  if (!leaveOpen) await log.close()
}

if (!isMainThread && parentPort !== null) await work(workerData as ThreadTask)

/** As a process: several threads write, and the process ends in the middle of it. */
if (isMainThread && process.argv[1] === fileURLToPath(import.meta.url)) {
  const [dataDir, backend] = process.argv.slice(2) as [string, BackendChoice]
  let writing = 0
  for (const topic of ['a', 'b']) {
    new Worker(new URL(import.meta.url), { workerData: { dataDir, backend, topic } satisfies ThreadTask }).on('message', () => {
      if (++writing === 2) setTimeout(() => process.exit(0), 20)
    })
  }
}
