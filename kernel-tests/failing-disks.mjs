/** Disks that refuse: errors of write and fsync, full ones, slow ones, ones that become read-only or go away. */
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, rmSync, statfsSync, writeFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { needs, run, Skip } from './disks.mjs'
import { ALL_BACKENDS, BACKENDS, Broker, createTopics, emptyBatch, ensure, entry, errorCodeOf, errorOf, fetch, idsOf, layout, openStore, plainBatch, produce, TestClient, verifyStore } from './store.mjs'

const KINDS = [{ kind: 'ext4', mib: 64, make: ['-J', 'size=4'] }, { kind: 'xfs', mib: 320, make: [] }]
/** Random bytes: zram must not compress them away. */
const ENTRY_BYTES = 60_000
const KAFKA_STORAGE_ERROR = 56

function randomEntry (id, bytes = ENTRY_BYTES) {
  const one = entry({ id, bytes })
  let state = id * 2654435761 + 1 >>> 0
  for (let at = 65; at + 4 <= one.length; at += 4) {
    state = Math.imul(state ^ state >>> 15, 0x2c1b3c6d) + 0x9e3779b9 >>> 0
    one.writeUInt32LE(state, at)
  }
  one.writeUInt32BE(checksum(one), layout.checksumAt)
  return one
}
const { crc32c: crc } = await import('../dist/src/crc32c.js')
const checksum = (one) => crc(one.subarray(layout.checksumFrom))

async function open (disks, dataDir, backend) {
  const store = await openStore({ dataDir, backend })
  // A case that fails half-way must not keep its disk busy.
  disks.later(async () => await store.close().catch(() => {}))
  if (store.backend.name === backend) return store
  await store.close()
  throw new Skip(`${backend} is not to be had here: ${store.backend.reason}`)
}

async function fails (disks, { kind, mib, make }, backend) {
  const zram = disks.zram(mib)
  const disk = disks.fileSystem(kind, zram.device, make)
  const dataDir = `${disk.folder}/data`
  const store = await open(disks, dataDir, backend)
  const log = await store.open('a', { layout })
  let acknowledged = 0
  for (; acknowledged < 5; acknowledged++) await log.append(randomEntry(acknowledged)).committed
  zram.limit(1)
  let failure
  while (failure === undefined && log.endOffset < 400) failure = await errorOf(async () => { await log.append(randomEntry(log.endOffset)).committed; acknowledged++ })
  ensure(failure?.code === 'failed' || failure?.code === 'full', `a write to the bad disk: ${failure?.code ?? 'no error'}`)
  // The disk is well again. What failed is not believed until the log is opened anew.
  zram.limit(0)
  if (failure.code === 'failed') {
    ensure(await errorCodeOf(async () => await log.append(randomEntry(0)).committed) === 'failed', 'an append after the failure')
    ensure(await errorCodeOf(async () => await log.flush()) === 'failed', 'a flush after the failure is not believed')
  }
  await log.close().catch(() => {})
  await store.close().catch(() => {})
  disk.restart()
  const again = await open(disks, dataDir, backend)
  const reopened = await again.open('a', { layout })
  const ids = await idsOf(reopened)
  ensure(ids.length >= acknowledged && ids.every((id, at) => id === at), `${ids.length} entries, ${acknowledged} acknowledged`)
  await reopened.append(randomEntry(reopened.endOffset)).committed
  await again.close()
  return `${acknowledged} acknowledged, then ${failure.code}: ${failure.message.replace(/.*: /, '')}`
}

/** Until it is refused; then whether anything is torn, and whether it goes on with space. */
async function fillsUp (disks, dataDir, backend, freeSpace) {
  const store = await open(disks, dataDir, backend)
  const log = await store.open('a', { layout, segmentBytesMax: 4_000_000 })
  const other = await store.open('b', { layout })
  await other.append(randomEntry(0)).committed
  let refusal
  while (refusal === undefined) refusal = await errorOf(async () => await log.append(randomEntry(log.endOffset)).committed)
  ensure(refusal.code === 'full', `the full disk: ${refusal.code}: ${refusal.message}`)
  const endOffset = log.endOffset
  ensure(log.committedEndOffset === endOffset && (await idsOf(log)).length === endOffset, 'all that was accepted can be read')
  ensure(await errorCodeOf(async () => await log.append(randomEntry(0)).committed) === 'full', 'it stays refused')
  await freeSpace(log)
  for (let waits = 0; await errorCodeOf(async () => await log.append(randomEntry(log.endOffset)).committed) !== 'no error'; waits++) {
    ensure(waits < 40, 'appends are refused although there is space')
    await sleep(100)
  }
  await other.append(randomEntry(1)).committed
  await store.close()
  const { damageCount, logs } = await verifyStore(dataDir, { layouts: [{ name: 'record-batch', layout, emptyEntry: emptyBatch }] })
  ensure(damageCount === 0, JSON.stringify(logs.flatMap(({ findings }) => findings)))
  return `${endOffset} entries until it was full`
}

/** Takes all that is left, in one go. */
function fill (file) {
  const chunk = Buffer.alloc(1 << 20, 7)
  const descriptor = openSync(file, 'w')
  for (let bytes = chunk.length; bytes >= 4096;) {
    try {
      if (writeSync(descriptor, chunk, 0, bytes) < bytes) throw new Error('cut short')
    } catch {
      bytes /= 2
    }
  }
  closeSync(descriptor)
}

/** Somebody else takes the space between the appends and the worker that makes their files. */
async function fillsBetween (disks, disk) {
  const folder = crowded(disks, disk, 100)
  const dataDir = `${folder}/data`
  const outcomes = []
  for (const backend of ALL_BACKENDS.filter((name) => name !== 'node:fs')) {
    const store = await open(disks, dataDir, backend)
    const logs = await Promise.all(Array.from({ length: 20 }, async (_, at) => await store.open(`${backend}-${at}`, { layout })))
    // Of more than this the files are begun before the turn ends.
    const committed = logs.map(async (log, at) => await log.append(randomEntry(at, 10_000)).committed)
    fill(`${folder}/filler`)
    ensure(logs.every(({ name }) => !existsSync(`${dataDir}/${name}`)), 'the files are made later, when the disk is full')
    const { bavail, bsize } = statfsSync(folder)
    // These are more: files are made from here on, from what was claimed.
    for (const [at, log] of logs.entries()) committed.push(log.append(randomEntry(at, 50_000)).committed)
    let refusal
    for (let at = 0; refusal === undefined && at < 200; at++) {
      try {
        committed.push(logs[0].append(randomEntry(at)).committed)
      } catch (error) {
        refusal = error
      }
    }
    await Promise.all(committed)
    ensure(refusal?.code === 'full', `the full disk: ${refusal?.code}: ${refusal?.message}`)
    rmSync(`${folder}/filler`)
    for (const log of logs) await log.append(randomEntry(1)).committed
    await store.close()
    const { damageCount } = await verifyStore(dataDir, { layouts: [{ name: 'record-batch', layout, emptyEntry: emptyBatch }] })
    ensure(damageCount === 0, `${damageCount} damages`)
    outcomes.push(`${backend} ${bavail * bsize}`)
  }
  return `bytes that were free when the files of 20 logs were made: ${outcomes.join(', ')}`
}

/** Nothing is left, not one block, when a store is opened. */
async function startsOnFull (disks, disk) {
  const folder = crowded(disks, disk)
  for (const backend of BACKENDS) {
    const dataDir = `${folder}/${backend.replace(':', '-')}`
    const before = await open(disks, dataDir, backend)
    const log = await before.open('a', { layout, segmentBytesMax: 200_000 })
    for (let id = 0; id < 10; id++) await log.append(randomEntry(id)).committed
    await log.truncateFront(1)
    await before.close()
    fill(`${folder}/filler`)
    const store = await open(disks, dataDir, backend)
    const reopened = await store.open('a', { layout, segmentBytesMax: 200_000 })
    ensure((await idsOf(reopened)).at(-1) === 9, `${backend}: all of it can be read`)
    ensure(await errorCodeOf(async () => { for (let id = 10; id < 50; id++) await reopened.append(randomEntry(id)).committed }) === 'full', `${backend}: appends are refused`)
    await reopened.truncateFront(5)
    await store.close()
    rmSync(`${folder}/filler`)
  }
  return `${BACKENDS.join(', ')}`
}

async function inodes (disks, backend) {
  const disk = disks.image('ext4', { mib: 64, make: ['-J', 'size=4', '-N', '64'] })
  const dataDir = `${disk.folder}/data`
  const store = await open(disks, dataDir, backend)
  const logs = []
  let refusal
  while (refusal === undefined && logs.length < 100) {
    const log = await store.open(`log-${logs.length}`, { layout })
    refusal = await errorOf(async () => await log.append(entry({ id: 0 })).committed)
    if (refusal === undefined) logs.push(log)
  }
  // node:fs makes files after it accepted an append, and then that log fails.
  ensure(refusal?.code === (backend === 'node:fs' ? 'failed' : 'full') && /no space|ENOSPC/i.test(refusal.message), `without inodes: ${refusal?.code}: ${refusal?.message}`)
  for (const log of logs) await log.append(entry({ id: 1 })).committed
  await store.remove('log-0')
  await store.remove('log-1')
  const again = await store.open('again', { layout })
  await again.append(entry({ id: 0 })).committed
  await store.close()
  return `${logs.length} logs until there was no inode`
}

async function onTmpfs (disks, backend) {
  const folder = disks.tmpfs('size=48m')
  const store = await openStore({ dataDir: `${folder}/data`, backend })
  const { name, direct, reason } = store.backend
  await store.close()
  ensure(name === backend || backend === 'io_uring', `${backend} became ${name}`)
  const filled = await fillsUp(disks, `${folder}/data`, name, async (log) => await log.truncateFront(Math.floor(log.endOffset / 2)))
  return `${name}${direct ? ' with O_DIRECT' : ''} (${reason}); ${filled}`
}

/** ext4 makes itself read-only when it finds an error, which it can be asked to do. */
async function readOnly (disks, backend) {
  const disk = disks.image('ext4', { mib: 64, make: ['-J', 'size=4', '-e', 'remount-ro'] })
  const trigger = `/sys/fs/ext4/${path.basename(disk.device)}/trigger_fs_error`
  if (!existsSync(trigger)) throw new Skip('this kernel cannot be asked for an error of ext4')
  const dataDir = `${disk.folder}/data`
  const store = await open(disks, dataDir, backend)
  const log = await store.open('a', { layout })
  let acknowledged = 0
  for (; acknowledged < 5; acknowledged++) await log.append(randomEntry(acknowledged)).committed
  writeFileSync(trigger, '1')
  let code = 'no error'
  for (let tries = 0; tries < 200 && code === 'no error'; tries++) {
    code = await errorCodeOf(async () => { await log.append(randomEntry(log.endOffset)).committed; acknowledged++ })
  }
  ensure(['failed', 'denied'].includes(code), `an append to a file system that is read-only: ${code}`)
  ensure((await idsOf(log)).length >= acknowledged, 'what was acknowledged can still be read')
  await store.close().catch(() => {})
  const refused = await errorCodeOf(async () => await open(disks, dataDir, backend))
  ensure(refused === 'denied', `opening it again, read-only: ${refused}`)
  disk.restart()
  const again = await open(disks, dataDir, backend)
  const ids = await idsOf(await again.open('a', { layout }))
  ensure(ids.length >= acknowledged && ids.every((id, at) => id === at), `${ids.length} entries, ${acknowledged} acknowledged`)
  await again.close()
  return `${acknowledged} acknowledged; then an append is ${code}, and an open denied until it can be written again`
}

async function folderGone (disks, backend) {
  const dataDir = disks.folder('gone')
  const store = await open(disks, dataDir, backend)
  const log = await store.open('a', { layout, segmentBytesMax: 200_000 })
  for (let id = 0; id < 5; id++) await log.append(randomEntry(id)).committed
  rmSync(dataDir, { recursive: true })
  let code = 'no error'
  for (let tries = 0; tries < 20 && code === 'no error'; tries++) code = await errorCodeOf(async () => await log.append(randomEntry(log.endOffset)).committed)
  ensure(code === 'failed', `appends to a folder that is gone: ${code}`)
  await store.close().catch(() => {})
  const again = await open(disks, dataDir, backend)
  await (await again.open('a', { layout })).append(entry({ id: 0 })).committed
  await again.close()
  return 'the log fails when it needs the folder, and begins anew when it is opened'
}

/** Permissions do not bind root: another user runs this case in a process of its own. */
async function permission (disks, backend) {
  const dataDir = disks.folder('denied')
  const store = await open(disks, dataDir, backend)
  await (await store.open('a', { layout })).append(entry({ id: 0 })).committed
  await store.close()
  chmodSync(disks.scratch, 0o755)
  chmodSync(dataDir, 0o500)
  const program = `const { openStore } = await import(${JSON.stringify(new URL('../dist/src/log/open-store.js', import.meta.url).href)})
    try { process.setgroups([]); process.setgid(65534); process.setuid(65534); await openStore({ dataDir: ${JSON.stringify(dataDir)}, backend: ${JSON.stringify(backend)} }); console.log('opened') } catch (error) { console.log(error.code, error.message) }`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
  ensure(stdout.startsWith('denied') && stdout.includes(dataDir), `another user: ${stdout}${stderr}`)
  return stdout.trim()
}

/** A disk served by nbdkit through FUSE and a loop device: slow, or with EIO on reads or writes, by a file that is there or not. `server` can be stopped. */
export async function nbdDisk (disks, filters, parameters, make = ['-b', '4096', '-J', 'size=4']) {
  needs('nbdkit', 'nbdfuse')
  if (!existsSync('/dev/fuse')) throw new Skip('the kernel has no FUSE')
  const folder = disks.folder('nbd')
  const file = `${folder}/disk`
  writeFileSync(file, '')
  const child = spawn('nbdfuse', [file, '--command', 'nbdkit', '-s', '--exit-with-parent', ...filters.map((name) => `--filter=${name}`), 'memory', '96M', ...parameters], { stdio: 'ignore' })
  disks.later(() => {
    spawnSync('umount', [file])
    child.kill('SIGTERM')
  })
  for (let waits = 0; !run('mount').includes(file); waits++) {
    if (waits === 100 || child.exitCode !== null) throw new Skip('nbdfuse does not start here')
    await sleep(50)
  }
  return Object.assign(disks.fileSystem('ext4', disks.loop(file), make), { file, server: child })
}

async function slowDisk (disks, backend) {
  const disk = await nbdDisk(disks, ['delay'], ['delay-write=50ms'])
  const slow = await open(disks, `${disk.folder}/data`, backend)
  const fast = await open(disks, disks.folder('fast'), backend)
  const slowLog = await slow.open('a', { layout })
  const fastLog = await fast.open('a', { layout })
  await slowLog.append(entry({ id: 0 })).committed
  const loop = monitorEventLoopDelay({ resolution: 5 })
  loop.enable()
  let isDone = false
  let slowCount = 0
  const slowly = (async () => {
    for (; slowCount < 12; slowCount++) await slowLog.append(entry({ id: slowCount })).committed
    isDone = true
  })()
  let fastCount = 0
  for (; !isDone; fastCount++) await fastLog.append(entry({ id: fastCount })).committed
  await slowly
  loop.disable()
  await slow.close()
  await fast.close()
  const delayMsMax = Math.round(loop.max / 1e6)
  ensure(delayMsMax < 200, `the event loop stood still for ${delayMsMax} ms`)
  ensure(fastCount > 10 * slowCount, `${fastCount} entries on the fast disk beside ${slowCount} on the slow one`)
  return `${slowCount} appends on the slow disk, ${fastCount} on another one meanwhile; the event loop waited ${delayMsMax} ms at most`
}

async function eio (disks, backend) {
  const trigger = `${disks.folder('trigger')}/eio`
  const disk = await nbdDisk(disks, ['error'], ['error-pwrite=EIO', `error-file=${trigger}`, 'error-rate=100%'])
  const dataDir = `${disk.folder}/data`
  const bad = await open(disks, dataDir, backend)
  const good = await open(disks, disks.folder('good'), backend)
  const log = await bad.open('a', { layout })
  const goodLog = await good.open('a', { layout })
  for (let id = 0; id < 5; id++) await log.append(entry({ id })).committed
  writeFileSync(trigger, '')
  let code = 'no error'
  for (let tries = 0; tries < 5 && code === 'no error'; tries++) code = await errorCodeOf(async () => await log.append(entry({ id: log.endOffset })).committed)
  ensure(code === 'failed', `a write that the disk answers with EIO: ${code}`)
  await goodLog.append(entry({ id: 0 })).committed
  rmSync(trigger)
  ensure(await errorCodeOf(async () => await log.append(entry({ id: 9 })).committed) === 'failed', 'the log stays as it is until it is opened again')
  ensure((await idsOf(log)).length >= 5, 'what was acknowledged can still be read')
  await bad.close().catch(() => {})
  await good.close()
  // ext4 may have given up the file system for itself.
  disk.restart()
  const again = await open(disks, dataDir, backend)
  const ids = await idsOf(await again.open('a', { layout }))
  ensure(ids.length >= 5 && ids.every((id, at) => id === at), `found ${ids}`)
  await again.close()
  return 'that log failed, another one went on, and it opened again when the disk was well'
}

const READ_COUNT = 12
const READ_BYTES = 10_000

/** A disk whose reads fail while a file is there. */
async function unreadableDisk (disks) {
  const trigger = `${disks.folder('trigger')}/eio`
  const disk = await nbdDisk(disks, ['error'], ['error-pread-rate=100%', `error-file=${trigger}`])
  return {
    disk,
    /** What the page cache holds of a segment, and of what is behind the disk, goes. */
    forget: (segment) => {
      run('sync', '--file-system', disk.folder)
      for (const file of [segment, disk.file]) run('dd', `if=${file}`, 'iflag=nocache', 'count=0', 'status=none')
    },
    fail: () => writeFileSync(trigger, ''),
    mend: () => rmSync(trigger)
  }
}

/** Only who needs the disk hears of it: one log was opened anew, the others have everything in memory, or on another disk. */
async function eioOnRead (disks, backend) {
  const { disk, forget, fail, mend } = await unreadableDisk(disks)
  const dataDir = `${disk.folder}/data`
  const before = await open(disks, dataDir, backend)
  const written = await before.open('cold', { layout })
  for (let id = 0; id < READ_COUNT; id++) await written.append(entry({ id, bytes: READ_BYTES })).committed
  await before.close()
  const bad = await open(disks, dataDir, backend)
  const good = await open(disks, disks.folder('good'), backend)
  const cold = await bad.open('cold', { layout })
  const warm = await bad.open('warm', { layout })
  const elsewhere = await good.open('a', { layout })
  const segment = `${dataDir}/cold/${'0'.repeat(20)}.log`
  forget(segment)
  const appends = async () => { for (const log of [cold, warm, elsewhere]) await log.append(entry({ id: log.endOffset })).committed }
  // Through the page cache a write needs the rest of its page: with node:fs this one reads it.
  await appends()
  fail()
  const told = await Promise.all([0, 0, READ_COUNT / 2].map(async (offset) => await errorOf(async () => await cold.read(offset, { bytesMax: READ_BYTES, atLeastOneEntry: true }))))
  for (const error of told) ensure(error?.code === 'failed' && error.message.includes(segment) && / at position \d+/.test(error.message), `a read that the disk answers with EIO: ${error?.code}: ${error?.message}`)
  await appends()
  await cold.flush()
  for (const log of [warm, elsewhere]) ensure((await idsOf(log)).length === 2, 'other logs can be read')
  ensure(await errorCodeOf(async () => await cold.read(0, { bytesMax: READ_BYTES, atLeastOneEntry: true })) === 'failed', 'still')
  mend()
  const ids = await idsOf(cold)
  ensure(ids.length === READ_COUNT + 2 && ids.every((id, at) => id === at), `read when the disk is well: ${ids}`)
  await bad.close()
  await good.close()
  return told[0].message.replace(disks.scratch, '')
}

/** One partition's log lies on a disk of its own: its consumers are told, and nobody else hears of it. */
async function eioOnFetch (disks, backend) {
  const { disk, forget, fail, mend } = await unreadableDisk(disks)
  const dataDir = disks.folder('data')
  const folder = `${dataDir}/orders-0`
  const start = async () => {
    const broker = await Broker.start({ port: 0, dataDir, storageBackend: backend })
    disks.later(async () => await broker.close().catch(() => {}))
    if (broker.storage.name !== backend) throw new Skip(`${backend} is not to be had here`)
    const client = await TestClient.connect(broker.port)
    return { client, stop: async () => { client.close(); await broker.close() } }
  }
  const batch = plainBatch(1, READ_BYTES)
  const both = (make) => [0, 1].map(make)
  const append = async (client) => {
    const topicData = [{ name: 'orders', partitionData: both((index) => ({ index, records: [batch] })) }]
    const { responses } = await client.send(produce, 9, { transactionalId: null, acks: -1, timeoutMs: 5_000, topicData })
    for (const { index, errorCode } of responses[0].partitionResponses) ensure(errorCode === 0, `partition ${index} refuses records: ${errorCode}`)
  }
  const fetched = async (client) => {
    const partitions = both((partition) => ({ partition, fetchOffset: 0, partitionMaxBytes: 1_000_000 }))
    const { responses } = await client.send(fetch, 12, { maxWaitMs: 0, minBytes: 1, isolationLevel: 0, topics: [{ topic: 'orders', partitions }], forgottenTopicsData: [] })
    return responses[0].partitions.map(({ errorCode, records }) => errorCode === 0 ? `${Buffer.concat(records).length} bytes` : `error ${errorCode}`).join(', ')
  }
  const empty = await start()
  await empty.client.send(createTopics, 5, { topics: [{ name: 'orders', numPartitions: 2, replicationFactor: 1, assignments: [], configs: [] }], timeoutMs: 5_000, validateOnly: false })
  await empty.stop()
  for (const made of [folder, `${disk.folder}/orders-0`]) mkdirSync(made)
  run('mount', '--bind', `${disk.folder}/orders-0`, folder)
  disks.later(() => run('umount', folder))
  const first = await start()
  for (let count = 0; count < READ_COUNT; count++) await append(first.client)
  await first.stop()
  // What was just written would come from memory.
  const { client, stop } = await start()
  forget(`${folder}/${'0'.repeat(20)}.log`)
  await append(client)
  fail()
  const all = (count) => `${count * batch.length} bytes`
  const found = [await fetched(client), await fetched(client)]
  ensure(found.every((one) => one === `error ${KAFKA_STORAGE_ERROR}, ${all(READ_COUNT + 1)}`), `fetched from the bad disk and from the good one: ${found.join('; ')}`)
  await append(client)
  mend()
  const healed = await fetched(client)
  ensure(healed === both(() => all(READ_COUNT + 2)).join(', '), `fetched when the disk is well: ${healed}`)
  await stop()
  return `${found[0]}; then ${healed}`
}

/** An image with about so much free: more takes long to fill. */
function crowded (disks, { kind, mib, make }, freeMib = 40) {
  const { folder } = disks.image(kind, { mib, make })
  if (mib > 100) run('fallocate', '--length', `${mib - 80 - freeMib}MiB`, `${folder}/ballast`)
  return folder
}

const half = async (log) => await log.truncateFront(Math.floor(log.endOffset / 2))
const everyBackend = (make) => BACKENDS.map(make)

export const failingDisks = [
  ...KINDS.flatMap((disk) => everyBackend((backend) => ({ name: `errors of write and fsync on ${disk.kind} (zram), ${backend}: the log fails, believes no second fsync, recovers`, run: async (disks) => await fails(disks, disk, backend) }))),
  ...KINDS.flatMap((disk) => everyBackend((backend) => ({ name: `a full ${disk.kind}, ${backend}: appends are refused, nothing is torn, retention frees space`, run: async (disks) => await fillsUp(disks, `${crowded(disks, disk)}/data`, backend, half) }))),
  ...KINDS.map((disk) => ({ name: `a ${disk.kind} that somebody fills between appends and the making of their files: all are acknowledged`, run: async (disks) => await fillsBetween(disks, disk) })),
  ...KINDS.map((disk) => ({ name: `a ${disk.kind} without a free block when a store is opened: it is read, and made shorter`, run: async (disks) => await startsOnFull(disks, disk) })),
  ...everyBackend((backend) => ({ name: `no inodes left, ${backend}: new logs are refused, others go on`, run: async (disks) => await inodes(disks, backend) })),
  ...everyBackend((backend) => ({ name: `tmpfs, ${backend}: opens, says what it uses, and is full in order`, run: async (disks) => await onTmpfs(disks, backend) })),
  ...everyBackend((backend) => ({ name: `a slow disk (nbdkit), ${backend}: neither the event loop nor other logs wait for it`, run: async (disks) => await slowDisk(disks, backend) })),
  ...everyBackend((backend) => ({ name: `EIO on write (nbdkit), ${backend}: that log fails, others go on`, run: async (disks) => await eio(disks, backend) })),
  ...everyBackend((backend) => ({ name: `EIO on read (nbdkit), ${backend}: those reads fail, all else goes on, and so do they when the disk is well`, run: async (disks) => await eioOnRead(disks, backend) })),
  ...everyBackend((backend) => ({ name: `EIO on read (nbdkit) under a broker, ${backend}: fetches of that partition fail, all else goes on`, run: async (disks) => await eioOnFetch(disks, backend) })),
  ...everyBackend((backend) => ({ name: `a file system that becomes read-only, ${backend}`, run: async (disks) => await readOnly(disks, backend) })),
  ...everyBackend((backend) => ({ name: `a folder that is removed under a store, ${backend}`, run: async (disks) => await folderGone(disks, backend) })),
  ...everyBackend((backend) => ({ name: `a folder without permission, ${backend}`, run: async (disks) => await permission(disks, backend) }))
]
