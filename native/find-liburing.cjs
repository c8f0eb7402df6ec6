// Prints the path of the static liburing that the compiler would find, or nothing. Called by binding.gyp.
const { execFileSync } = require('node:child_process')
const { existsSync } = require('node:fs')
const { isAbsolute } = require('node:path')

function ask (command, args, input) {
  try {
    return execFileSync(command, args, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'ignore'] }).trim()
  } catch {
    return undefined
  }
}

const compiler = process.env.CC ?? 'cc'
const header = ask(compiler, ['-E', '-xc', '-'], '#include <liburing.h>\n')
// Without such a file the compiler prints the bare name.
const library = ask(compiler, ['-print-file-name=liburing.a'])
const found = header !== undefined && library !== undefined && isAbsolute(library) && existsSync(library)
console.log(found ? library : '')
