/**
 * Runs every example of docs/log.md in a process of its own and compares what it prints with the comments `// ->` in it; and looks whether the
 * tests exist that its tables name.
 */
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { test } from 'tap'
import { PLAIN_NODE } from '../support/plain-node.js'

const root = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '../../..')
const text = readFileSync(path.join(root, 'docs/log.md'), 'utf8')
const examples = [...text.matchAll(/^```js\n(.*?)^```$/gms)].map((match) => match[1]!)

test('the examples of docs/log.md print what they say', async (t) => {
  // Inside the project, so that `haulout/log` is this package by its own name.
  const folder = t.testdir()
  t.ok(examples.length >= 6)
  await Promise.all(examples.map(async (example, index) => {
    const file = path.join(folder, `example-${index}.mjs`)
    // What `await using` does, for versions of Node that do not know it.
    const [, name] = /^await using (\w+) = /m.exec(example) ?? []
    writeFileSync(file, name === undefined ? example : `${example.replace('await using', 'const')}\nawait ${name}[Symbol.asyncDispose]()\n`)
    const expected = [...example.matchAll(/\/\/ -> (.*)$/gm)].map((match) => match[1]!)
    const { stdout } = await promisify(execFile)('env', [...PLAIN_NODE, file], { cwd: folder })
    t.ok(expected.length > 0)
    t.same(stdout.trimEnd().split('\n'), expected, example.slice(0, 300))
  }))
})

test('the tests that docs/log.md names exist', async (t) => {
  const named = [...text.matchAll(/\| `((?:test|native)\/[^`]*)`: (.*) \|$/gm)]
  t.ok(named.length > 20)
  for (const [, file, title] of named) t.ok(readFileSync(path.join(root, file!), 'utf8').includes(title!), `${file!}: ${title!}`)
})
