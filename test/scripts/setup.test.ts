/**
 * When scripts/setup installs the npm packages and when it leaves them alone, with an npm that only writes down that it was called and
 * "installs" two packages, one of them compiled.
 */
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import tap, { test } from 'tap'

const SETUP = new URL('../../../scripts/setup', import.meta.url).pathname

const NPM = `#!/bin/sh
echo "$1" >>npm-calls
[ ! -e npm-fails ] || exit 1
rm -rf node_modules
mkdir -p node_modules/plain node_modules/compiled
echo '{}' >node_modules/plain/package.json
echo '{}' >node_modules/compiled/package.json
touch node_modules/compiled/index.js
echo '{ "packages": { "node_modules/plain": {}, "node_modules/compiled": { "hasInstallScript": true } } }' >node_modules/.package-lock.json
`

/** Its version is what a file says. */
const NODE = `#!/bin/sh
[ "$1" != -p ] || exec cat node-version
exec ${process.execPath} "$@"
`

/** Nothing is missing on this machine, and nothing is to be installed on it. */
const THERE = '#!/bin/sh\n'
const COMMANDS = { npm: NPM, node: NODE, cc: THERE, 'g++': THERE, make: THERE, python3: THERE, 'apt-get': THERE, sudo: THERE, id: '#!/bin/sh\necho 1000\n' }

const root = tap.testdir({ scripts: {}, commands: {}, 'package-lock.json': '{ "lockfileVersion": 3 }', '.npmrc': '', 'node-version': 'v20.0.0' })
const file = (name: string): string => path.join(root, name)
copyFileSync(SETUP, file('scripts/setup'))
for (const [name, script] of Object.entries(COMMANDS)) writeFileSync(file(`commands/${name}`), script, { mode: 0o755 })

/** Runs set-up, and returns what it asked of npm. */
function setup (): readonly string[] {
  rmSync(file('npm-calls'), { force: true })
  execFileSync(file('scripts/setup'), { stdio: 'pipe', env: { PATH: `${file('commands')}:/usr/bin:/bin` } })
  return existsSync(file('npm-calls')) ? readFileSync(file('npm-calls'), 'utf8').trim().split('\n') : []
}

tap.before(() => {
  tap.same(setup(), ['ci'], 'the first time')
  tap.same(setup(), [], 'the second time everything is there')
})

const changes: Readonly<Record<string, () => void>> = {
  'another package-lock.json': () => writeFileSync(file('package-lock.json'), '{ "lockfileVersion": 3, "name": "another" }'),
  'another .npmrc': () => writeFileSync(file('.npmrc'), 'ignore-scripts=true'),
  'another Node': () => writeFileSync(file('node-version'), 'v99.0.0'),
  'no node_modules': () => rmSync(file('node_modules'), { recursive: true }),
  'an empty node_modules': () => {
    rmSync(file('node_modules'), { recursive: true })
    mkdirSync(file('node_modules'))
  },
  'a package that is missing': () => rmSync(file('node_modules/plain'), { recursive: true }),
  'a compiled package that does not load': () => writeFileSync(file('node_modules/compiled/index.js'), 'throw new Error()'),
  'a package that somebody installed meanwhile': () => writeFileSync(file('node_modules/.package-lock.json'), '{ "packages": {} }'),
  'packages that set-up did not install': () => rmSync(file('node_modules/.setup'))
}
for (const [what, change] of Object.entries(changes)) {
  test(`${what}: npm ci does its work`, async (t) => {
    change()
    t.same(setup(), ['ci'])
  })
}

test('after all of that there is nothing to do', async (t) => t.same(setup(), []))

test('a set-up that failed is not taken for one that ended well', async (t) => {
  rmSync(file('node_modules/plain'), { recursive: true })
  writeFileSync(file('npm-fails'), '')
  t.throws(setup)
  rmSync(file('npm-fails'))
  t.same(setup(), ['ci'])
  t.ok(existsSync(file('node_modules/plain')))
})
