/**
 * What one repetition of the store's side does, as a description and as a function. The writers are asynchronous functions of one thread; each waits
 * until its append is committed, or only for every so-manieth. With `threads` every writer or reader is a thread of its own (threads.ts).
 */
import { LatencyHistogram } from './latency.js'
import { dropCaches } from './page-cache.js'
import { openTarget, type Reading, type Target, type TargetOptions } from './target.js'

export type Task = TargetOptions & (
  | { readonly kind: 'write', readonly writers: number, readonly seconds: number, readonly batch: number, readonly awaitEvery: number, readonly threads?: boolean }
  | { readonly kind: 'fill', readonly mebibytes: number, readonly thenKill: boolean }
  | { readonly kind: 'read', readonly readers: number, readonly batchBytes: number, readonly dropCaches: boolean, readonly seconds?: number, readonly threads?: boolean, readonly reading?: Reading }
  | { readonly kind: 'read-tail', readonly batchBytes: number, readonly mebibytes: number, readonly seconds: number }
  | { readonly kind: 'recover' }
  | { readonly kind: 'idle', readonly thenWrite: boolean }
)
type TaskOf<K extends Task['kind']> = Extract<Task, { readonly kind: K }>

/** `ready` is called when everything is open, and work begins when it resolves. Calls that are waited for are recorded in `latency`. */
export async function run (task: Task, ready: () => Promise<void> = async () => {}, latency = new LatencyHistogram()): Promise<Record<string, number>> {
  switch (task.kind) {
    case 'write': return await write(task, ready, latency)
    case 'fill': return await fill(task)
    case 'read': return await read(task, ready, latency)
    case 'read-tail': return await readTail(task)
    case 'recover': return await recover(task)
    case 'idle': return await idle(task)
  }
}

/** The clock stops when everything accepted is on stable storage, whatever the policy: what waits in memory is not counted as written. */
async function write (task: TaskOf<'write'>, ready: () => Promise<void>, latency: LatencyHistogram): Promise<Record<string, number>> {
  const target = await openTarget(task)
  await touchAll(target, task.logs)
  if (task.retain !== undefined) await wearIn(target, task, task.retain)
  await ready()
  let operations = 0
  let bytes = 0
  const startedAtMs = performance.now()
  const endMs = startedAtMs + task.seconds * 1000
  const writer = async (first: number): Promise<void> => {
    let log = first % task.logs
    for (let count = 0; ; count++) {
      const awaited = count % task.awaitEvery === 0
      const beforeMs = awaited ? performance.now() : 0
      if (awaited && beforeMs >= endMs) return
      const appended = target.append(log, task.batch)
      bytes += appended.bytes
      operations++
      if (awaited) {
        await appended.committed
        latency.record(performance.now() - beforeMs)
      }
      log = (log + task.writers) % task.logs
    }
  }
  const cpuBefore = process.cpuUsage()
  await Promise.all(Array.from({ length: task.writers }, async (_, index) => { await writer(index) }))
  await target.flush()
  const seconds = (performance.now() - startedAtMs) / 1000
  const cpuSeconds = cpuSecondsSince(cpuBefore)
  await target.close()
  return {
    entries: operations * task.batch,
    bytes,
    operations,
    seconds,
    cpuSeconds,
    latencyUsMean: seconds * 1e6 * task.writers / operations,
    ...latency.figures()
  }
}

async function fill (task: TaskOf<'fill'>): Promise<Record<string, number>> {
  const target = await openTarget(task)
  const bytes = await fillTo(target, task)
  if (!task.thenKill) await target.close()
  return { bytes }
}

async function fillTo (target: Target, { logs, mebibytes }: { readonly logs: number, readonly mebibytes: number }): Promise<number> {
  const wanted = mebibytes * 2 ** 20 / logs
  const each = await Promise.all(Array.from({ length: logs }, async (_, log) => {
    let bytes = 0
    while (bytes < wanted) {
      const appended = target.append(log, 64)
      bytes += appended.bytes
      await appended.committed
    }
    return bytes
  }))
  await target.flush()
  return each.reduce((sum, bytes) => sum + bytes, 0)
}

/** Each reader has its share of the logs: once from start to end, or again and again for so many seconds. */
async function read (task: TaskOf<'read'>, ready: () => Promise<void>, latency: LatencyHistogram): Promise<Record<string, number>> {
  const target = await openTarget(task)
  if (task.dropCaches) dropCaches()
  await ready()
  const cpuBefore = process.cpuUsage()
  const startedAtMs = performance.now()
  const endMs = startedAtMs + (task.seconds ?? 0) * 1000
  const sum = { bytes: 0, entries: 0, operations: 0 }
  await Promise.all(Array.from({ length: task.readers }, async (_, reader) => {
    do {
      for (let log = reader; log < task.logs; log += task.readers) {
        const untilMs = task.seconds === undefined ? Infinity : endMs
        const done = await (task.reading === undefined ? target.readAll(log, task.batchBytes, untilMs) : target.readThrough!(log, task.reading, task.batchBytes, untilMs, latency))
        for (const key of ['bytes', 'entries', 'operations'] as const) sum[key] += done[key]
      }
    } while (performance.now() < endMs)
  }))
  const seconds = (performance.now() - startedAtMs) / 1000
  const cpuSeconds = cpuSecondsSince(cpuBefore)
  await target.close()
  return { ...sum, seconds, cpuSeconds, latencyUsMean: seconds * 1e6 * task.readers / sum.operations, ...latency.figures() }
}

/** What was just written, again and again. */
async function readTail (task: TaskOf<'read-tail'>): Promise<Record<string, number>> {
  const target = await openTarget(task)
  await fillTo(target, task)
  const sum = { bytes: 0, entries: 0 }
  const cpuBefore = process.cpuUsage()
  const startedAtMs = performance.now()
  const endMs = startedAtMs + task.seconds * 1000
  await Promise.all(Array.from({ length: task.logs }, async (_, log) => {
    while (performance.now() < endMs) {
      const done = await target.readAll(log, task.batchBytes, Infinity)
      sum.bytes += done.bytes
      sum.entries += done.entries
    }
  }))
  const seconds = (performance.now() - startedAtMs) / 1000
  const cpuSeconds = cpuSecondsSince(cpuBefore)
  await target.close()
  return { ...sum, seconds, cpuSeconds }
}

async function recover (task: TaskOf<'recover'>): Promise<Record<string, number>> {
  const startedAtMs = performance.now()
  const target = await openTarget(task)
  const seconds = (performance.now() - startedAtMs) / 1000
  const bytes = target.bytes()
  await target.close()
  return { bytes, seconds }
}

/** Resident memory before the store is opened, and with all its logs open and at rest. */
async function idle (task: TaskOf<'idle'>): Promise<Record<string, number>> {
  const before = residentBytes()
  const target = await openTarget(task)
  if (task.thenWrite) await touchAll(target, task.logs)
  globalThis.gc?.()
  await new Promise((resolve) => setTimeout(resolve, 1000))
  const after = residentBytes()
  await target.close()
  return { residentMebibytes: after / 2 ** 20, addedMebibytes: (after - before) / 2 ** 20 }
}

/** One entry for every log, so that each has its file and its place in memory. */
async function touchAll (target: Target, logs: number): Promise<void> {
  for (let log = 0; log < logs; log += 100) {
    await Promise.all(Array.from({ length: Math.min(100, logs - log) }, async (_, at) => { await target.append(log + at, 1).committed }))
  }
  await target.flush()
}

/** Until each log has removed segments, and made others after it. */
async function wearIn (target: Target, { logs, batch }: TaskOf<'write'>, { segments, segmentBytes }: NonNullable<TaskOf<'write'>['retain']>): Promise<void> {
  await Promise.all(Array.from({ length: logs }, async (_, log) => {
    for (let bytes = 0; bytes < (segments + 3) * segmentBytes;) {
      const appended = target.append(log, batch)
      bytes += appended.bytes
      await appended.committed
    }
  }))
  await target.flush()
}

export function cpuSecondsSince (before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1e6
}

function residentBytes (): number {
  globalThis.gc?.()
  return process.memoryUsage.rss()
}
