/** One step of scripts/ci.mjs: a shell command with a deadline. */
import { spawn } from 'node:child_process'

/** What a step may take to end what it started, to unmount and to delete: what has process groups of its own nobody else can end. */
const ENDING_MS = 10_000
const OUTPUT_LENGTH_MAX = 1_000_000

/**
 * Runs a command in a process group of its own. At the deadline, or once `ending` is aborted, the whole group is asked to end, and later made to.
 * Resolves to the end of its output, its exit code or signal, and whether it missed the deadline.
 */
export function runStep (command, deadlineMs, onOutput = () => {}, { endingMs = ENDING_MS, ending = new AbortController().signal } = {}) {
  return new Promise((resolve) => {
    const child = spawn('bash', ['-c', command], { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    let output = ''
    let isLate = false
    let force
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        onOutput(chunk)
        output = (output + chunk).slice(-OUTPUT_LENGTH_MAX)
      })
    }
    const end = () => {
      if (force !== undefined) return
      signalGroup(child, 'SIGTERM')
      force = setTimeout(() => {
        signalGroup(child, 'SIGKILL')
        // Somebody who left the group may hold them.
        for (const stream of [child.stdout, child.stderr]) stream.destroy()
      }, endingMs)
    }
    const deadline = setTimeout(() => {
      isLate = true
      end()
    }, deadlineMs)
    ending.addEventListener('abort', end)
    child.on('close', (code, signal) => {
      ending.removeEventListener('abort', end)
      clearTimeout(deadline)
      clearTimeout(force)
      // The shell may have gone before others of its group.
      if (force !== undefined) signalGroup(child, 'SIGKILL')
      resolve({ output, exitCode: code ?? `${signal}`, isLate })
    })
  })
}

function signalGroup (child, signal) {
  try {
    process.kill(-child.pid, signal)
  } catch (error) {
    if (error.code !== 'ESRCH') throw error
  }
}
