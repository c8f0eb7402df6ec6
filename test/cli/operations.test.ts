/** Keeps docs/operations.md true: the settings that it says act are read somewhere, and those that are read stand in it. */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'tap'
import { brokerDefinitions } from '../../src/broker/config/broker-config.js'
import { topicSynonyms } from '../../src/broker/config/topic-config.js'
import { DEFAULT_LIMITS } from '../../src/broker/limits.js'

const root = path.resolve(path.dirname(new URL(import.meta.url).pathname), '../../..')
const document = readFileSync(path.join(root, 'docs/operations.md'), 'utf8')
const table = document.slice(document.indexOf('### Settings that act'), document.indexOf('### Limits'))
const acting = new Set([...table.matchAll(/^\| (`[^|]+`) \|/gm)].flatMap((row) => [...row[1]!.matchAll(/`([^`]+)`/g)].map((name) => name[1]!)))

/** Source without the tables of names. */
const source = readdirSync(path.join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !/config\/(.*-definitions|topic-config)\.ts$/.test(file))
  .map((file) => readFileSync(path.join(root, 'src', file), 'utf8')).join('\n')
const read = new Set([...source.matchAll(/(?:config|given\.has|given\.get|take|value)\w*[[(]'([a-z][a-z.]+\.[a-z.]+)'/g)].map((match) => match[1]!))

test('a setting that is said to act is known and read', async (t) => {
  t.ok(acting.size > 35, `${acting.size} settings in the table`)
  const names = new Set(brokerDefinitions().map(([name]) => name))
  for (const name of acting) {
    t.ok(names.has(name), `${name} is known`)
    const asTopicSetting = [...new Set(source.match(/[a-z]+(?:\.[a-z]+)+/g))].filter((topicName) => topicSynonyms(topicName).includes(name))
    t.ok(source.includes(`'${name}'`) || asTopicSetting.some((topicName) => source.includes(`'${topicName}'`)), `${name} is read`)
  }
})

test('a setting that is read stands in the table', async (t) => {
  for (const name of read) {
    if (!brokerDefinitions().some(([known]) => known === name)) continue
    t.ok(acting.has(name), name)
  }
})

test('every limit is named', async (t) => {
  for (const name of Object.keys(DEFAULT_LIMITS)) t.ok(document.includes(`\`${name}\``), name)
})
