/**
 * Holds what no compiler holds: which folder may import which, how long functions are, what the documents promise about the
 * tree, and what may not stand in it.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import ts from 'typescript'

const FUNCTION_LINES_MAX = 70

/** Who may import whom: cli -> index -> broker -> {protocol, log, transport} -> binding; raw -> log. A folder may always import itself. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  cli: ['index', 'broker', 'log', 'raw', 'protocol'],
  index: ['broker', 'log', 'protocol'],
  broker: ['protocol', 'log', 'transport', 'crc32c'],
  raw: ['log', 'crc32c', 'block-codecs', 'codec-packages'],
  protocol: ['crc32c', 'codec-packages'],
  log: ['binding', 'crc32c', 'block-codecs', 'codec-packages'],
  transport: ['binding'],
  binding: [],
  crc32c: [],
  'block-codecs': ['codec-packages'],
  'codec-packages': []
}

const root = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '../..')
const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
  .split('\n').filter((file) => file !== '' && existsSync(path.join(root, file)))
const sources = tracked.filter((file) => file.startsWith('src/') && file.endsWith('.ts'))
const read = (file: string): string => readFileSync(path.join(root, file), 'utf8')
const parse = (file: string): ts.SourceFile => ts.createSourceFile(file, read(file), ts.ScriptTarget.Latest, true)

/** 'src/log/log.ts' -> 'log'; 'src/binding.ts' -> 'binding'. */
function partOf (file: string): string {
  return file.replace(/^src\//, '').replace(/\.ts$/, '').split('/')[0]!
}

function importsOf (file: string): string[] {
  return ts.preProcessFile(read(file)).importedFiles.map(({ fileName }) => fileName)
}

t.test('arrows between folders point one way', async (t) => {
  for (const file of sources) {
    const part = partOf(file)
    const allowed = ARROWS[part]
    if (allowed === undefined) {
      t.fail(`${file}: a part that ARROWS does not know`)
      continue
    }
    for (const target of importsOf(file).filter((name) => name.startsWith('.'))) {
      const targetPart = partOf(path.posix.normalize(path.posix.join(path.posix.dirname(file), target)).replace(/\.js$/, '.ts'))
      if (targetPart !== part && !allowed.includes(targetPart)) t.fail(`${file} imports ${target}`)
    }
  }
  t.pass(`${sources.length} files`)
})

t.test('protocol does no I/O, and only the command line reads arguments, the environment, or exits', async (t) => {
  const io = /^(node:)?(fs|net|tls|http|https|child_process|dgram|worker_threads|os)(\/|$)/
  for (const file of sources) {
    if (partOf(file) === 'protocol') {
      for (const name of importsOf(file)) if (io.test(name)) t.fail(`${file} imports ${name}`)
    }
    if (partOf(file) !== 'cli') {
      const match = /\bprocess\.(argv|env|exit|exitCode|stdout|stderr)\b|\bconsole\.(log|error|warn)\b/.exec(read(file))
      if (match !== null) t.fail(`${file} uses ${match[0]}`)
    }
  }
  t.pass()
})

t.test(`functions fit on a screen: ${FUNCTION_LINES_MAX} lines`, async (t) => {
  for (const file of sources) {
    const source = parse(file)
    const visit = (node: ts.Node): void => {
      if (ts.isFunctionLike(node) && 'body' in node && node.body !== undefined) {
        const first = source.getLineAndCharacterOfPosition(node.getStart()).line
        const lines = source.getLineAndCharacterOfPosition(node.end).line - first + 1
        if (lines > FUNCTION_LINES_MAX) t.fail(`${file}:${first + 1}: a function of ${lines} lines`)
      }
      ts.forEachChild(node, visit)
    }
    visit(source)
  }
  for (const file of tracked.filter((file) => /^native\/.*\.(cc|h)$/.test(file))) {
    for (const { line, lines } of longNativeFunctions(read(file))) t.fail(`${file}:${line}: a function of ${lines} lines`)
  }
  t.pass()
})

/** C++ by its layout: a definition opens with a line that ends in `{` and closes with the next `}` that lies no deeper. */
function longNativeFunctions (text: string): { line: number, lines: number }[] {
  const lines = text.split('\n')
  const found: { line: number, lines: number }[] = []
  for (const [index, line] of lines.entries()) {
    const opening = /^(\s*)(?!if|for|while|switch|else|do|namespace|struct|class|enum|union|extern)\S.*\)[^;]*\{$/.exec(line)
    if (opening === null) continue
    // A constructor's brace may stand behind a deeper-lying initialiser.
    const end = lines.findIndex((other, at) => at > index && /^\s*\}/.test(other) && other.search(/\S/) <= opening[1]!.length)
    if (end - index + 1 > FUNCTION_LINES_MAX) found.push({ line: index + 1, lines: end - index + 1 })
  }
  return found
}

t.test('the file map of docs/architecture.md names every file of src, and nothing that is not there', async (t) => {
  const map = read('docs/architecture.md')
  const named = new Set([...map.matchAll(/`((?:src|native|test|compat-tests|bench|scripts)\/[\w./<>*-]*)`/g)].map((match) => match[1]!))
  for (const name of named) {
    if (!/[<>*]/.test(name)) t.ok(tracked.some((file) => file === name || file.startsWith(name.replace(/\/?$/, '/'))), `${name} exists`)
  }
  for (const file of sources) {
    const covered = named.has(file) || [...named].some((name) => name.endsWith('/') && name !== 'src/' && file.startsWith(name) && path.posix.dirname(file) + '/' === name)
    if (!covered) t.fail(`${file} is not on the map`)
  }
})

t.test('marks of unfinished work and hosts of registries do not stand in the tree', async (t) => {
  const hosts = new RegExp(['registry\\.npmjs', 'registry\\.yarnpkg', 'repo1?\\.maven', 'pypi\\.org', 'files\\.pythonhosted', 'crates\\.io', 'proxy\\.golang', 'deb\\.debian'].join('|'))
  for (const file of tracked.filter((file) => !/\.(png|svg|bin|hex)$/.test(file) && file !== 'test/tidy.test.ts')) {
    const text = read(file)
    const host = hosts.exec(text)
    if (host !== null) t.fail(`${file} names ${host[0]}`)
    const mark = /\b(TODO|FIXME|XXX)\b/.exec(text)
    if (mark !== null && !file.endsWith('.json')) t.fail(`${file} has ${mark[0]}`)
  }
  t.pass()
})

t.test('nothing stands beside the folders but what belongs there: profilers and others leave files where they are started', async (t) => {
  const known = ['.gitignore', '.npmrc', 'binding.gyp', 'CHANGELOG.md', 'CONTRIBUTING.md', 'LICENSE', 'package-lock.json', 'package.json', 'README.md', 'tsconfig.json']
  t.same(tracked.filter((file) => !file.includes('/')).filter((file) => !known.includes(file)), [])
})
