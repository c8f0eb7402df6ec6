// Prints the path of a static library that the compiler would find, if its header is there, too, or nothing. Called by binding.gyp:
// node find-library.cjs liburing.h liburing.a
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

const [headerName, libraryName] = process.argv.slice(2)
const compiler = process.env.CC ?? 'cc'
const header = ask(compiler, ['-E', '-xc', '-'], `#include <${headerName}>\n`)
// Without such a file the compiler prints the bare name.
const library = ask(compiler, [`-print-file-name=${libraryName}`])
const found = header !== undefined && library !== undefined && isAbsolute(library) && existsSync(library)
console.log(found ? library : '')
