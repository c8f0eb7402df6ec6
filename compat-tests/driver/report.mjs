/**
 * Writes docs/compatibility.md from the results of a run, so that the page says what was shown and nothing else. As a command,
 * `node compat-tests/driver/report.mjs` writes it anew from compat-tests/results.json.
 */
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const resultsFile = path.join(root, 'compat-tests/results.json')

/** The columns of the table: the checks of `solo` and `cross` by how their names begin. */
const COLUMNS = [
  ['creates a topic', /^(creates a topic|has a topic auto-created)/],
  ['produces', /^produces/],
  ['codecs as stored', /^codecs as stored/],
  ['consumes in a group, every record compared', /^consumes/],
  ['same ids after kill -9', /^broker killed/],
  ['goes on from its commit', /^goes on/],
  ['reads what all others wrote', /^reads what|^writes beside/]
]

export async function writeReport (results) {
  const { checks, ...rest } = results
  await writeFile(resultsFile, `${JSON.stringify({ ...rest, checks: checks.map(({ ms, ...check }) => ms === undefined ? check : { ...check, ms }) }, null, 1)}\n`)
  await writeFile(path.join(root, 'docs/compatibility.md'), pageOf(results))
}

export function pageOf ({ recordCount, clients, checks }) {
  const notes = []
  const noteMark = (text) => {
    if (!notes.includes(text)) notes.push(text)
    return `<sup>${notes.indexOf(text) + 1}</sup>`
  }
  const failed = checks.filter(({ ok }) => !ok)
  const lines = [
    '# Compatibility',
    '',
    'Written by `compat-tests/run --record`; do not edit. What each line means: [compat-tests/README.md](../compat-tests/README.md).',
    '',
    `Each client had a broker of its own: it created a topic of 4 partitions, wrote ${recordCount.toLocaleString('en')} records with keys, headers, null keys and null values, ` +
      'a share with every codec it has, and read them in a group from the start; every record was compared (key, value, headers, partition, order). ' +
      'The broker was ended with SIGKILL and started again on its data; the group went on from its commit. Then all clients wrote to one topic, and each read it all.',
    '',
    `| client | codecs | ${COLUMNS.map(([title]) => title).join(' | ')} |`,
    `|---|---|${COLUMNS.map(() => '---|').join('')}`
  ]
  for (const client of clients) {
    const own = checks.filter((check) => check.client === client.name)
    const cells = COLUMNS.map(([, pattern]) => {
      const matching = own.filter(({ name }) => pattern.test(name))
      if (matching.length === 0) return 'not run'
      const bad = matching.find(({ ok }) => !ok)
      const done = matching[0].name.startsWith('has a topic auto-created') ? 'auto-created' : 'yes'
      return bad ? `**no** ${noteMark(`${client.title}: ${bad.name}: ${firstLine(bad.detail)}`)}` : done
    })
    const marks = client.notes.map((note) => noteMark(`${client.title}: ${note}.`)).join(' ')
    lines.push(`| ${client.title}${marks && ` ${marks}`} | ${client.codecs.join(', ')} | ${cells.join(' | ')} |`)
  }
  const section = (title, wanted, intro) => {
    const own = inOrderOfSubjects(checks.filter(wanted))
    if (own.length === 0) return
    lines.push('', `## ${title}`, '', intro, '', '| check | outcome | time | |', '|---|---|---|---|')
    for (const { name, ok, ms, detail } of own) lines.push(`| ${name} | ${ok ? 'yes' : '**no**'} | ${ms === undefined ? '' : `${ms.toLocaleString('en')} ms`} | ${firstLine(detail)} |`)
  }
  section('Administration', ({ phase, name }) => phase === 'solo' && /^(kafka-|admin\.)/.test(name), 'The command-line tools of Apache Kafka and the admin client of kafkajs, on the topic and the group of their rows above.')
  section('Members of different clients in one group', ({ phase }) => phase === 'groups',
    'With the assignor `range` unless said otherwise; records were written all the while. The time is until every partition belonged to exactly one member again. A record may be delivered again after a rebalance, but none may be missing.')
  section('kafkajs, and a kill under load', ({ phase }) => phase === 'figures', 'What users of kafkajs notice, and what `kill -9` costs while clients write.')
  if (notes.length > 0) lines.push('', '## Notes', '', ...notes.map((note, at) => `${at + 1}. ${note}`))
  lines.push('', failed.length === 0 ? `All ${checks.length} checks passed.` : `${failed.length} of ${checks.length} checks failed.`, '')
  return lines.join('\n')
}

/** What ran at the same time is told one subject (what stands before the colon) after the other. */
function inOrderOfSubjects (checks) {
  const subjects = [...new Set(checks.map(subjectOf))].sort()
  return subjects.flatMap((subject) => checks.filter((check) => subjectOf(check) === subject))
}

function subjectOf ({ client, name }) {
  return `${client} ${name.includes(': ') ? name.split(': ')[0] : ''}`
}

function firstLine (text = '') {
  return text.split('\n')[0].replaceAll('|', '\\|').slice(0, 200)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await writeReport(JSON.parse(await readFile(resultsFile, 'utf8')))
