/** Settings: parsing, checks, inheritance, and the names that were perhaps meant. */
import { test } from 'tap'
import { brokerDefault, brokerDefinitions, parseBrokerConfig } from '../../../src/broker/config/broker-config.js'
import { ConfigError, parseValue, type Definition } from '../../../src/broker/config/definition.js'
import { GROUP_DEFINITIONS } from '../../../src/broker/config/group-definitions.js'
import { parseTopicConfig, topicDefinitions, topicSynonyms } from '../../../src/broker/config/topic-config.js'

const broker = (settings: Record<string, string | number | boolean> = {}) => parseBrokerConfig(settings).config

test('values', async (t) => {
  const good: Array<[Definition, string, unknown]> = [
    [['n', 'INT', '0'], ' 12 ', 12],
    [['n', 'INT', '0'], '-2147483648', -2147483648],
    [['n', 'LONG', '0'], '9223372036854775807', Number.MAX_SAFE_INTEGER],
    [['n', 'BOOLEAN', 'true'], 'False', false],
    [['n', 'DOUBLE', '0'], '0.5', 0.5],
    [['n', 'LIST', ''], '', []],
    [['n', 'LIST', ''], 'a, b', ['a', 'b']],
    [['n', 'INT', '0', '[1,...,9] or -1'], '-1', -1],
    [['n', 'DOUBLE', '0', '[0,...,1]'], '1', 1],
    [['n', 'STRING', 'a', '[a, b]'], 'b', 'b'],
    [['n', 'LIST', 'a', '[compact, delete]'], 'delete,compact', ['delete', 'compact']],
    [['n', 'STRING', 'a', '(case insensitive) [CLASSIC, CONSUMER]'], 'classic', 'classic']
  ]
  for (const [definition, text, value] of good) t.same(parseValue(definition, text), value, `${definition[1]} ${text}`)
  const bad: Array<[Definition, string | null]> = [
    [['n', 'INT', '0'], '1.5'], [['n', 'INT', '0'], ''], [['n', 'INT', '0'], '2147483648'], [['n', 'INT', '0'], '0x10'], [['n', 'SHORT', '0'], '32768'],
    [['n', 'LONG', '0'], '1e3'], [['n', 'BOOLEAN', 'true'], 'yes'], [['n', 'DOUBLE', '0'], 'Infinity'], [['n', 'DOUBLE', '0', '[0,...,1]'], '1.01'],
    [['n', 'INT', '0', '[1,...,9] or -1'], '0'], [['n', 'INT', '0', '[0,...]'], '-1'], [['n', 'STRING', 'a', '[a, b]'], 'c'],
    [['n', 'LIST', 'a', '[compact, delete]'], 'delete,shrink'], [['n', 'STRING', 'a', 'non-empty string'], ''], [['n', 'STRING', 'a'], null]
  ]
  for (const [definition, text] of bad) {
    t.throws(() => parseValue(definition, text), { name: 'ConfigError', message: new RegExp(`^Invalid value .* for configuration n: `, 's') }, `${definition[1]} ${String(text)}`)
  }
})

test('every default can be parsed, and every table is as long as Kafka has it', async (t) => {
  t.equal(topicDefinitions().length, 37)
  t.equal(GROUP_DEFINITIONS.length, 27)
  const parsed = { ...broker(), ...parseTopicConfig(new Map(), broker()) } as Record<string, unknown>
  for (const definition of [...brokerDefinitions(), ...topicDefinitions(), ...GROUP_DEFINITIONS as readonly Definition[]]) {
    const text = brokerDefault(definition)
    if (text !== null && definition[0] in parsed) t.not(parsed[definition[0]], null, definition[0])
  }
  const names = new Set(brokerDefinitions().map(([name]) => name))
  for (const [name] of topicDefinitions()) for (const synonym of topicSynonyms(name)) t.ok(names.has(synonym), `${name} falls back on ${synonym}`)
})

test('the broker: types, unknown names, contradictions', async (t) => {
  const { config, unknown } = parseBrokerConfig({ 'num.partitions': 4, 'auto.create.topics.enable': false, 'num.partition': '9', 'acme.widgets': 'x' })
  t.equal(config['num.partitions'], 4)
  t.equal(config['auto.create.topics.enable'], false)
  t.equal(config['group.initial.rebalance.delay.ms'], 0)
  t.same(unknown, [{ name: 'num.partition', nearest: 'num.partitions' }, { name: 'acme.widgets', nearest: undefined }])
  t.same([...config.given], [['num.partitions', '4'], ['auto.create.topics.enable', 'false']])
  t.throws(() => broker({ 'num.partitions': 'many' }), new ConfigError('Invalid value many for configuration num.partitions: a 32-bit integer expected'))
  t.throws(() => broker({ 'group.min.session.timeout.ms': 9000, 'group.max.session.timeout.ms': 8000 }), { name: 'ConfigError' })
})

test('a topic falls back on the broker, the finest unit first', async (t) => {
  const retention = (settings: Record<string, string | number>, overrides: Record<string, string> = {}) =>
    parseTopicConfig(new Map(Object.entries(overrides)), broker(settings))['retention.ms']
  t.equal(retention({}), 604_800_000)
  t.equal(retention({ 'log.retention.hours': 2 }), 7_200_000)
  t.equal(retention({ 'log.retention.hours': 2, 'log.retention.minutes': 3 }), 180_000)
  t.equal(retention({ 'log.retention.hours': 2, 'log.retention.minutes': 3, 'log.retention.ms': 4 }), 4)
  t.equal(retention({ 'log.retention.hours': -1 }), -1)
  t.equal(retention({ 'log.retention.ms': 4 }, { 'retention.ms': '5' }), 5)
  t.equal(parseTopicConfig(new Map(), broker({ 'message.max.bytes': 77 }))['max.message.bytes'], 77)
  for (const [name, text] of [['no.such', '1'], ['retention.ms', '-2'], ['remote.storage.enable', 'true'], ['message.format.version', '2.8']] as const) {
    t.throws(() => retention({}, { [name]: text }), { name: 'ConfigError' }, name)
  }
})
