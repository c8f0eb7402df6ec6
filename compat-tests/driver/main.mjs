/**
 * `compat-tests/run [CLIENT...] [options]`: real clients against a broker. One line per check, the last line counts them.
 * The phases: `solo` (each client alone, with a kill), `cross` (each reads what all wrote), `groups` (members of different clients),
 * `figures` (kafkajs's times; the restart under load).
 */
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { KAFKA_VERSION } from '../../scripts/kafka-fetch.mjs'
import { cacheFolder } from './prepare.mjs'
import { cross } from './phases/cross.mjs'
import { figures } from './phases/figures.mjs'
import { groups } from './phases/groups.mjs'
import { solo } from './phases/solo.mjs'
import { loadClients } from './programs.mjs'
import { writeReport } from './report.mjs'

const USAGE = `usage: compat-tests/run [CLIENT...] [options]

  --broker haulout|kafka   what to start: this repository's build, or Apache Kafka ${KAFKA_VERSION} to check the tests themselves
  --phase NAME             solo, cross, groups or figures; may be repeated (default: all)
  --records N              records per client (default 100000)
  --quick                  2,000 records per client
  --jobs N                 clients at the same time (default 2)
  --keep                   leave the brokers' data folders and logs
  --record                 write compat-tests/results.json and docs/compatibility.md
  --list                   the names of the clients`

const { values: options, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: {
    broker: { type: 'string', default: 'haulout' },
    phase: { type: 'string', multiple: true, default: ['solo', 'cross', 'groups', 'figures'] },
    records: { type: 'string' },
    quick: { type: 'boolean', default: false },
    jobs: { type: 'string', default: '2' },
    keep: { type: 'boolean', default: false },
    record: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false }
  }
})
if (options.help) {
  console.log(USAGE)
  process.exit(0)
}
const all = await loadClients()
if (options.list) {
  for (const { name, title } of all) console.log(`${name.padEnd(24)} ${title}`)
  process.exit(0)
}
const unknown = wanted.filter((name) => !all.some((client) => client.name.startsWith(name)))
const phases = { solo, cross, groups, figures }
if (unknown.length > 0 || !['haulout', 'kafka'].includes(options.broker) || options.phase.some((name) => !(name in phases))) {
  console.error(unknown.length > 0 ? `no client ${unknown.join(', ')}; there is ${all.map(({ name }) => name).join(', ')}` : USAGE)
  process.exit(2)
}

const checks = []
const context = {
  broker: options.broker,
  recordCount: Number(options.records ?? (options.quick ? 2_000 : 100_000)),
  jobs: Number(options.jobs),
  keep: options.keep,
  partitionCount: 4,
  /** Records the outcome of one check and prints its line. */
  check (client, phase, name, ok, detail = '', ms) {
    checks.push({ client, phase, name, ok, detail, ms })
    console.log(`${ok ? 'ok' : 'not ok'} - ${client}: ${name}${ms === undefined ? '' : ` (${ms} ms)`}${detail ? `: ${detail}` : ''}`)
    return ok
  },
  /** Runs an action for every item, `jobs` at a time; an error fails the item's own check. */
  async forAll (items, phase, action) {
    const queue = [...items]
    await Promise.all(Array.from({ length: context.jobs }, async () => {
      for (let item = queue.shift(); item; item = queue.shift()) {
        await action(item).catch((error) => context.check(item.name ?? 'driver', phase, 'ran to its end', false, error.stack))
      }
    }))
  }
}

const startedAtMs = performance.now()
const chosen = wanted.length === 0 ? all : all.filter(({ name }) => wanted.some((start) => name.startsWith(start)))
await context.forAll(chosen, 'prepare', async (client) => {
  try {
    client.command = await client.prepare()
  } catch (error) {
    context.check(client.name, 'prepare', 'installs', false, error.message)
  }
})
const clients = chosen.filter(({ command }) => command)
console.log(`# ${clients.length} clients ready after ${Math.round((performance.now() - startedAtMs) / 1000)} s`)

for (const [name, phase] of Object.entries(phases)) {
  if (!options.phase.includes(name)) continue
  const phaseStartedAtMs = performance.now()
  await phase(clients, context).catch((error) => context.check('driver', name, 'ran to its end', false, error.stack))
  console.log(`# ${name}: ${Math.round((performance.now() - phaseStartedAtMs) / 1000)} s`)
}

const results = {
  broker: options.broker,
  recordCount: context.recordCount,
  clients: chosen.map(({ name, title, language, codecs, notes }) => ({ name, title, language, codecs, notes })),
  checks
}
await mkdir(cacheFolder, { recursive: true })
await writeFile(path.join(cacheFolder, `compat-results-${options.broker}.json`), JSON.stringify(results, null, 1))
if (options.record) await writeReport(results)
const failedCount = checks.filter(({ ok }) => !ok).length
console.log(`${checks.length - failedCount} passed, ${failedCount} failed`)
process.exit(failedCount > 0 || checks.length === 0 ? 1 : 0)
