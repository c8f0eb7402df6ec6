/** The native store and the end of its process: killed, exiting with writes under way, in worker threads, under garbage collection. */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { loadBinding } from '../../src/binding.js'
import { RECORD_BATCH_LAYOUT } from '../../src/log/log.js'
import { openNativeStore } from '../../src/log/native-log.js'
import { testFolder } from '../contract/entries.js'
import { PLAIN, plainEnvironment, PLAIN_NODE } from '../support/plain-node.js'
import { makeEntry, makeFolder, readAll, stamped } from './native-support.js'

const CHILD = fileURLToPath(new URL('./native-child.js', import.meta.url))
const KILLS = 3

t.setTimeout(240_000)

const loaded = loadBinding()
if ('reason' in loaded) {
  t.pass('no addon here', { skip: loaded.reason })
  process.exit()
}

function run (task: string, dir: string, backend: string, nodeArguments: readonly string[] = []) {
  return spawnSync('env', [...PLAIN_NODE, ...nodeArguments, CHILD, task, dir, backend], { encoding: 'utf8', timeout: 120_000 })
}

/** Kills the child when so many of its appends were acknowledged, and returns the acknowledged end offset of each log. */
async function appendAndKill (dir: string, backend: string, count: number): Promise<Map<string, number>> {
  const child = spawn('env', [...PLAIN_NODE, CHILD, 'append', dir, backend], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  let lineCount = 0
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
    lineCount += text.split('\n').length - 1
    if (lineCount > count) child.kill('SIGKILL')
  })
  await new Promise(resolve => child.once('close', resolve))
  const acknowledged = new Map<string, number>()
  for (const line of output.split('\n').slice(1, -1)) {
    const [name, endOffset] = line.split(' ')
    acknowledged.set(name!, Math.max(acknowledged.get(name!) ?? 0, Number(endOffset)))
  }
  return acknowledged
}

for (const backend of ['io_uring', 'io_uring-buffered', 'threads', 'mmap'] as const) {
  t.test(`killed in the middle of appends, ${backend}`, async t => {
    const dir = testFolder(t, backend === 'io_uring' ? 'disk' : 'memory')
    let acknowledgedCount = 0
    for (let kill = 0; kill < KILLS; kill++) {
      const acknowledged = await appendAndKill(dir, backend, 20 + kill * 150)
      const store = await openNativeStore(dir, { backend })
      for (const [name, endOffset] of acknowledged) {
        acknowledgedCount += endOffset
        const log = await store.open(name, { layout: RECORD_BATCH_LAYOUT, segmentBytesMax: 400_000 })
        t.ok(log.endOffset >= endOffset, `${name}: ${endOffset} acknowledged, ${log.endOffset} there`)
        const index = name === 'a-0' ? 0 : 1
        const expected = Buffer.concat([...Array(log.endOffset).keys()].map(offset =>
          stamped(makeEntry({ bytes: 61 + (offset * 37) % (index === 0 ? 20_000 : 500), fill: offset % 250 + 1 }), offset)))
        t.ok(expected.equals(await readAll(log)), `${name}: every byte is as it was appended`)
      }
      await store.close()
    }
    t.ok(acknowledgedCount > 100, `${acknowledgedCount} acknowledged entries were checked`)
  })

  t.test(`the end of a process, ${backend}`, async t => {
    const dir = testFolder(t, backend === 'io_uring' ? 'disk' : 'memory')
    for (const task of ['exit', 'idle', 'workers', 'collect']) {
      const { status, signal, stderr } = run(task, join(dir, task), backend, ['--expose-gc'])
      t.strictSame({ status, signal, stderr }, { status: 0, signal: null, stderr: '' }, task)
    }
  })
}

t.test('memory: much is appended to many logs and read, under a small budget', { skip: process.platform !== 'linux' }, async t => {
  for (const backend of ['io_uring', 'threads']) {
    const { stdout, stderr } = run('budget', testFolder(t, 'memory'), backend)
    t.equal(stderr, '')
    t.ok(Number(stdout) > 0 && Number(stdout) < 70, `${backend}: ${stdout.trim()} MiB for 200 MB`)
  }
})

for (const [backend, count] of [['io_uring', 2000], ['threads', 2000], ['node:fs', 600]] as const) {
  t.test(`${count} logs appended to at once by a process that may open 256 files, ${backend}`, { skip: process.platform === 'win32' }, async t => {
    const { stdout, stderr } = spawnSync('env', [...PLAIN, 'sh', '-c', 'ulimit -n 256 && exec "$0" "$@"', process.execPath, CHILD, 'many', testFolder(t, 'memory'), backend, String(count)],
      { encoding: 'utf8', timeout: 120_000 })
    t.strictSame({ stdout, stderr }, { stdout: `${count} ${count}\n`, stderr: '' })
  })
}

t.test('a log that fails before anything is under way says so at once', { skip: process.platform === 'win32' }, t => {
  for (const backend of ['io_uring', 'threads', 'mmap']) {
    const folder = testFolder(t, 'memory')
    const { stdout, stderr } = spawnSync('env', [...PLAIN, 'sh', '-c', 'ulimit -n 64 && exec "$0" "$@"', process.execPath, CHILD, 'gone', folder, backend, '100'], { encoding: 'utf8', timeout: 30_000 })
    t.strictSame({ stdout, stderr }, { stdout: `cannot open ${folder}/log-0/${'0'.repeat(20)}.log: No such file or directory\n`, stderr: '' }, backend)
  }
  t.end()
})

t.test('no thread can be had: an open is refused with the reason, and what is open goes on with those that it has', async t => {
  if (process.getuid?.() !== 0 || spawnSync('prlimit', ['--version']).status !== 0) return t.pass('needs root and prlimit', { skip: 'only root becomes another user' })
  for (const backend of ['io_uring', 'threads']) {
    // Without what tap adds to a process: it writes where the other user may not. Memory makes io_uring want threads, too.
    const { status, stdout, stderr } = spawnSync('env', [...PLAIN_NODE, CHILD, 'threads', testFolder(t, 'memory'), backend], { encoding: 'utf8', env: plainEnvironment })
    t.strictSame({ status, stderr }, { status: 0, stderr: '' }, backend)
    const lines = stdout.trimEnd().split('\n')
    for (const line of lines.slice(0, 2)) t.match(line, /^cannot start a thread for the store in .*: Resource temporarily unavailable\. There are as many .* raise the limit \(ulimit -u, /)
    t.strictSame(lines.slice(2), ['150,50,50,50,50,50', '50,50,50,50,50,50'], `${backend}: what was there and what was appended`)
  }
})

/** What the kernel may answer at any time, at every third call. */
const INTERRUPTIONS = [
  ['io_uring', 'io_uring_enter', 'EAGAIN'], ['io_uring', 'io_uring_enter', 'EINTR'], ['io_uring-buffered', 'io_uring_enter', 'EAGAIN'],
  ['threads', 'pwritev2', 'EAGAIN'], ['threads', 'preadv', 'EINTR'], ['mmap', 'pwritev2', 'EINTR'], ['node:fs', 'pwrite64,pwritev', 'EINTR']
] as const

t.test('calls that the kernel interrupts or puts off are made again', async t => {
  const script = (dir: string, backend: string): string => `const { openStore } = await import(${JSON.stringify(new URL('../../src/log/open-store.js', import.meta.url).href)})
    const { RECORD_BATCH_LAYOUT: layout } = await import(${JSON.stringify(new URL('../../src/log/log.js', import.meta.url).href)})
    const { entry, entriesOf } = await import(${JSON.stringify(new URL('../contract/entries.js', import.meta.url).href)})
    const store = await openStore({ dataDir: ${JSON.stringify(dir)}, backend: ${JSON.stringify(backend)} })
    const log = await store.open('a', { layout, segmentBytesMax: 40_000 })
    for (let id = 0; id < 60; id++) await log.append(entry({ id, bytes: 1_000 })).committed
    const logs = await Promise.all([...Array(20).keys()].map(async (at) => await store.open('many-' + at, { layout })))
    await Promise.all(logs.map(async (each) => await each.append(entry({ bytes: 500 })).committed))
    await store.close()
    const again = await openStore({ dataDir: ${JSON.stringify(dir)}, backend: ${JSON.stringify(backend)} })
    const reopened = await again.open('a', { layout })
    const found = []
    for (let offset = 59; offset >= 0; offset--) found.push(...entriesOf(await reopened.read(offset, { bytesMax: 1, atLeastOneEntry: true })))
    await again.close()
    console.log(again.backend.name, found.filter(({ id, intact, baseOffset }) => intact && id === baseOffset).length)`
  await Promise.all(INTERRUPTIONS.map(async ([backend, calls, error]) => {
    const dir = testFolder(t, 'memory')
    const child = spawn('env', [...PLAIN, 'strace', '-f', '-qq', '-o', join(dir, 'trace'), '-e', `trace=${calls}`, '-e', `inject=${calls}:error=${error}:when=3+3`,
      process.execPath, '--input-type=module', '-e', script(join(dir, 'data'), backend)], { stdio: ['ignore', 'pipe', 'inherit'], timeout: 120_000 })
    let stdout = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout += text })
    const failure = await new Promise<string | undefined>(resolve => child.once('error', ({ message }) => resolve(message)).once('close', code => resolve(code === 0 ? undefined : `ended with ${code}`)))
    if (failure !== undefined && stdout === '' && !existsSync(join(dir, 'data'))) return t.pass('nothing was interrupted', { skip: `strace does not trace here: ${failure}` })
    const injected = readFileSync(join(dir, 'trace'), 'latin1').split('INJECTED').length - 1
    const name = /^(\S+) /.exec(stdout)?.[1] ?? backend
    t.equal(stdout, `${name} 60\n`, `${backend}: ${calls} with ${error}, ${injected} times`)
    if (name === backend) t.ok(injected > 3, `${injected} times`)
  }))
})

t.test('io_uring is forbidden: threads take over, and say why', async t => {
  const dir = makeFolder(t)
  const script = `const { openNativeStore } = await import(${JSON.stringify(new URL('../../src/log/native-log.js', import.meta.url).href)})
    const reasons = []
    const store = await openNativeStore(${JSON.stringify(dir)}, { onFallback: reason => reasons.push(reason) })
    await store.close()
    const { Log } = await import(${JSON.stringify(new URL('../../src/raw/index.js', import.meta.url).href)})
    const notices = []
    for (const backend of [undefined, 'auto', 'io_uring', 'threads']) {
      const log = await Log.open({ dataDir: ${JSON.stringify(`${dir}/raw`)}, ...(backend && { backend }), onNotice: notice => notices.push([backend, notice]) })
      await log.close()
    }
    console.log(JSON.stringify({ ...store.backend, reasons, notices }))`
  const { stdout, error } = spawnSync('env', [
    ...PLAIN, 'strace', '-f', '-qq', '-o', '/dev/null', '-e', 'trace=io_uring_setup', '-e', 'inject=io_uring_setup:error=EPERM', process.execPath, '--input-type=module', '-e', script
  ], { encoding: 'utf8' })
  if (error !== undefined || stdout === '') return t.pass('io_uring was not forbidden', { skip: error?.message ?? 'strace may not trace here' })
  const { name, reasons, notices } = JSON.parse(stdout) as { name: string, reasons: string[], notices: [string | null, string][] }
  t.equal(name, 'threads')
  t.match(reasons, [loaded.binding.hasUring ? /io_uring is forbidden here/ : /no io_uring/])
  t.equal(reasons.length, 1)
  t.strictSame(notices, [null, 'auto', 'io_uring'].map(backend => [backend, `threads serves ${dir}/raw: ${reasons[0]!}`]), 'whoever did not ask for threads is told')
})
