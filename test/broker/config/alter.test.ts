/** Changing settings: the operations as a table, then both requests through a broker. */
import { test } from 'tap'
import { Broker } from '../../../src/broker/broker.js'
import { applyOperations } from '../../../src/broker/config/alter.js'
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import { createTopics } from '../../../src/protocol/schemas/19-create-topics.js'
import { describeConfigs } from '../../../src/protocol/schemas/32-describe-configs.js'
import { alterConfigs } from '../../../src/protocol/schemas/33-alter-configs.js'
import { incrementalAlterConfigs } from '../../../src/protocol/schemas/44-incremental-alter-configs.js'
import { TestClient } from '../support/client.js'

const [SET, DELETE, APPEND, SUBTRACT] = [0, 1, 2, 3]

test('operations', async (t) => {
  const cases: Array<[name: string, before: Record<string, string>, operation: [number, string, string | null], after: Record<string, string> | number]> = [
    ['set', {}, [SET, 'retention.ms', '5'], { 'retention.ms': '5' }],
    ['set again', { 'retention.ms': '4' }, [SET, 'retention.ms', '5'], { 'retention.ms': '5' }],
    ['delete', { 'retention.ms': '4', 'segment.ms': '9' }, [DELETE, 'retention.ms', null], { 'segment.ms': '9' }],
    ['delete what is not there', {}, [DELETE, 'retention.ms', null], {}],
    ['append to the default', {}, [APPEND, 'cleanup.policy', 'compact'], { 'cleanup.policy': 'delete,compact' }],
    ['append what is there', { 'cleanup.policy': 'compact' }, [APPEND, 'cleanup.policy', 'compact'], { 'cleanup.policy': 'compact' }],
    ['subtract', { 'cleanup.policy': 'compact,delete' }, [SUBTRACT, 'cleanup.policy', 'compact'], { 'cleanup.policy': 'delete' }],
    ['append to what is no list', {}, [APPEND, 'retention.ms', '5'], ErrorCode.INVALID_CONFIG],
    ['set to null', {}, [SET, 'retention.ms', null], ErrorCode.INVALID_REQUEST],
    ['an unknown operation', {}, [9, 'retention.ms', '5'], ErrorCode.INVALID_REQUEST]
  ]
  for (const [name, before, [configOperation, key, value], after] of cases) {
    const result = applyOperations(new Map(Object.entries(before)), [{ name: key, configOperation, value }])
    t.same('errorCode' in result ? result.errorCode : Object.fromEntries(result), after, name)
  }
})

test('through a broker', async (t) => {
  const broker = await Broker.start({ port: 0 })
  const client = await TestClient.connect(broker.port)
  t.teardown(async () => { client.close(); await broker.close() })
  await client.send(createTopics, 5, { topics: [{ name: 't', numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] }], timeoutMs: 1000, validateOnly: false })
  const retention = async (): Promise<string | null> => {
    const response = await client.send(describeConfigs, 1, { resources: [{ resourceType: 2, resourceName: 't', configurationKeys: ['retention.ms'] }], includeSynonyms: false })
    return response.results[0]!.configs[0]!.value
  }
  const set = async (value: string, validateOnly = false, name = 'retention.ms', resource: [number, string] = [2, 't']): Promise<number> => {
    const resources = [{ resourceType: resource[0], resourceName: resource[1], configs: [{ name, configOperation: SET, value }] }]
    return (await client.send(incrementalAlterConfigs, 1, { resources, validateOnly })).responses[0]!.errorCode
  }
  t.equal(await set('86400000', true), 0)
  t.equal(await retention(), '604800000', 'only validated')
  t.equal(await set('86400000'), 0)
  t.equal(await retention(), '86400000')
  t.equal(await set('long'), ErrorCode.INVALID_CONFIG)
  t.equal(await set('1', false, 'retention.lightyears'), ErrorCode.INVALID_CONFIG)
  t.equal(await set('1', false, 'retention.ms', [2, 'missing']), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
  t.equal(await set('1', false, 'num.partitions', [4, '1']), ErrorCode.INVALID_REQUEST)
  t.equal(await retention(), '86400000', 'refusals change nothing')

  const replace = await client.send(alterConfigs, 1, { resources: [{ resourceType: 2, resourceName: 't', configs: [{ name: 'segment.ms', value: '7000' }] }], validateOnly: false })
  t.equal(replace.responses[0]!.errorCode, 0)
  t.equal(await retention(), '604800000', 'AlterConfigs replaces all overrides')

  const twice = { resourceType: 2, resourceName: 't', configs: [] }
  const refused = await client.send(alterConfigs, 2, { resources: [twice, twice], validateOnly: false })
  t.same(refused.responses.map(({ errorCode }) => errorCode), [ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST])
})
