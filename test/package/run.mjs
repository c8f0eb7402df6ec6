/**
 * Shows that the packed package installs and works with no install script run: `npm pack`, then an install with
 * --ignore-scripts into an empty folder and a round trip with kafkajs, on Node 20, and on Node 24 with npm 12 (both from the
 * npm registry); and that without its binary it falls back to plain TypeScript and says so.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const work = mkdtempSync(path.join(tmpdir(), 'haulout-package-'))
process.on('exit', () => rmSync(work, { recursive: true, force: true }))

const roundTrip = `
import { Broker } from 'haulout'
import { Log } from 'haulout/log'
import { Kafka, logLevel } from 'kafkajs'
const log = await Log.open({ dataDir: process.argv[2] + '-topics' })
const topic = await log.topic('seals')
await topic.append('v').committed
if (String((await topic.next()).value) !== 'v') throw new Error('the raw topic gives something else')
await log.close()
const broker = await Broker.start({ port: 0, metricsPort: 0, dataDir: process.argv[2] })
const kafka = new Kafka({ brokers: broker.brokers, logLevel: logLevel.ERROR })
const producer = kafka.producer()
await producer.connect()
await producer.send({ topic: 'seals', messages: [{ key: 'k', value: 'v' }] })
await producer.disconnect()
const consumer = kafka.consumer({ groupId: 'g' })
await consumer.connect()
await consumer.subscribe({ topics: ['seals'], fromBeginning: true })
const value = await new Promise((resolve) => consumer.run({ eachMessage: async ({ message }) => resolve(message.value.toString()) }))
await consumer.disconnect()
const metrics = await (await fetch('http://127.0.0.1:' + broker.metricsPort + '/metrics')).text()
if (!metrics.includes('kafka_topic_partition_current_offset{topic="seals",partition="0"} 1')) throw new Error('the metrics say something else: ' + metrics)
await broker.close()
console.log(JSON.stringify({ value, node: process.version, storage: broker.storage }))
`

let passed = 0
let failed = 0
function check (name, ok, detail) {
  if (ok) passed++
  else failed++
  console.log(`${ok ? 'ok' : 'not ok'} - ${name}${detail ? `: ${detail}` : ''}`)
}

const packed = JSON.parse(execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', work], { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }))
const [pack] = Array.isArray(packed) ? packed : Object.values(packed)
const tarball = path.join(work, pack.filename)
const names = pack.files.map((file) => file.path)
check('the tarball holds the binary', names.some((name) => /^lib\/binding\/.*\.node$/.test(name)), `${pack.filename}, ${Math.round(pack.size / 1024)} KiB`)
check('the tarball holds no tests and no sources of tests', !names.some((name) => /(^|\/)test\//.test(name)))

/** Node and npm of a major version from the registry, in a folder of their own. */
function runtime (name, packages) {
  const folder = path.join(work, `runtime-${name}`)
  mkdirSync(folder)
  writeFileSync(path.join(folder, 'package.json'), '{"private":true}')
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--silent', ...packages], { cwd: folder })
  const modules = path.join(folder, 'node_modules')
  const binary = readdirSync(modules).find((entry) => entry.startsWith('node-'))
  return { name, node: path.join(modules, binary, 'bin/node'), npm: path.join(modules, 'npm/bin/npm-cli.js') }
}

const platform = `node-${process.platform}-${process.arch}`
for (const { name, node, npm } of [runtime('node-20', [`${platform}@20`, 'npm@11']), runtime('node-24', [`${platform}@24`, 'npm@12'])]) {
  const folder = path.join(work, name)
  mkdirSync(folder)
  writeFileSync(path.join(folder, 'package.json'), '{"private":true,"type":"module"}')
  writeFileSync(path.join(folder, 'round-trip.mjs'), roundTrip)
  const env = { ...process.env, PATH: `${path.dirname(node)}:${process.env.PATH}` }
  const install = spawnSync(node, [npm, 'install', '--ignore-scripts', '--no-audit', '--no-fund', tarball, 'kafkajs@2.2.4'], { cwd: folder, env, encoding: 'utf8' })
  check(`${name}: npm ${spawnSync(node, [npm, '--version'], { env, encoding: 'utf8' }).stdout.trim()} installs it`, install.status === 0, install.status === 0 ? '' : install.stderr)

  const go = (dataDir) => {
    const run = spawnSync(node, ['round-trip.mjs', path.join(folder, dataDir)], { cwd: folder, env, encoding: 'utf8', timeout: 60_000 })
    try {
      return JSON.parse(run.stdout)
    } catch {
      return { value: undefined, node: '', storage: {}, error: run.stderr + run.stdout }
    }
  }
  const native = go('data-native')
  check(`${name}: a record goes through ${native.node}`, native.value === 'v', native.error)
  check(`${name}: on the native store`, ['io_uring', 'io_uring-buffered', 'threads'].includes(native.storage.name), native.storage.reason)

  const help = spawnSync(node, [path.join(folder, 'node_modules/.bin/haulout'), 'start', '--help'], { cwd: folder, env, encoding: 'utf8' })
  check(`${name}: haulout start --help`, help.status === 0 && help.stdout.includes('--data-dir'))

  rmSync(path.join(folder, 'node_modules/haulout/lib'), { recursive: true, force: true })
  const fallback = go('data-fallback')
  check(`${name}: without the binary a record goes through, too`, fallback.value === 'v', fallback.error)
  check(`${name}: on node:fs, and it says why`, fallback.storage.name === 'node:fs' && fallback.storage.reason?.length > 0, fallback.storage.reason)
}

console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed > 0 ? 1 : 0
