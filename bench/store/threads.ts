/**
 * A load whose writers or readers are worker threads, each with its share of the topics of one store (`Log.open({ shared: true })`). They begin
 * together, when the last one has opened its topics. This file is the worker, too.
 */
import { once } from 'node:events'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import type { RecordableHistogram } from 'node:perf_hooks'
import { LatencyHistogram } from './latency.js'
import { cpuSecondsSince, run, type Task } from './tasks.js'

export type ThreadsTask = Extract<Task, { readonly kind: 'write' | 'read' }>

/** What a worker sends at its end. */
interface Done {
  readonly figures: Readonly<Record<string, number>>
  readonly nanoseconds: RecordableHistogram
}

export function isForThreads (task: Task): task is ThreadsTask {
  return (task.kind === 'write' || task.kind === 'read') && task.threads === true && countOf(task) > 1
}

const countOf = (task: ThreadsTask): number => task.kind === 'write' ? task.writers : task.readers

/** Entries, bytes and calls of all threads; the seconds are those of the slowest. */
export async function runInThreads (task: ThreadsTask): Promise<Record<string, number>> {
  const count = countOf(task)
  const workers = Array.from({ length: count }, (_, index) => new Worker(new URL(import.meta.url), { workerData: shareOf(task, index, count), argv: [] }))
  const failures = Promise.race(workers.map(async (worker) => { throw (await once(worker, 'error'))[0] }))
  const messages = async <T>(): Promise<T[]> => await Promise.race([Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0] as T)), failures])
  await messages()
  const cpuBefore = process.cpuUsage()
  const done = messages<Done>()
  for (const worker of workers) worker.postMessage('go')
  const all = await done
  const figures = all.map((each) => each.figures)
  const latency = new LatencyHistogram()
  for (const each of all) latency.add(each.nanoseconds)
  const sum = (name: string): number => figures.reduce((total, each) => total + each[name]!, 0)
  const seconds = Math.max(...figures.map((each) => each.seconds!))
  const operations = sum('operations')
  return { entries: sum('entries'), bytes: sum('bytes'), operations, seconds, cpuSeconds: cpuSecondsSince(cpuBefore), latencyUsMean: seconds * 1e6 * count / operations, ...latency.figures() }
}

/** One of `count` shares of a task: one writer or reader, and every count-th topic. */
function shareOf (task: ThreadsTask, index: number, count: number): ThreadsTask {
  const share = { logs: Math.ceil((task.logs - index) / count), firstLog: index, logStep: count, shared: true }
  return task.kind === 'write' ? { ...task, ...share, writers: 1 } : { ...task, ...share, readers: 1 }
}

if (!isMainThread && parentPort !== null) {
  const port = parentPort
  const latency = new LatencyHistogram()
  const figures = await run(workerData as Task, async () => {
    port.postMessage('ready')
    await once(port, 'message')
  }, latency)
  port.postMessage({ figures, nanoseconds: latency.nanoseconds } satisfies Done)
}
