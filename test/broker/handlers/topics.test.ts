/** The APIs about topics, through a broker, in every version that it serves. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type Test } from 'tap'
import { Broker } from '../../../src/broker/broker.js'
import type { BrokerOptions } from '../../../src/broker/options.js'
import { ErrorCode } from '../../../src/protocol/error-codes.js'
import { ZERO_UUID, type Api, type ResponseOf } from '../../../src/protocol/schema.js'
import * as apis from '../../../src/protocol/schemas/index.js'
import { parseVersions } from '../../../src/protocol/versions.js'
import { connect, type RawClient } from '../../support/raw-client.js'

async function serve (t: Test, options: BrokerOptions = {}): Promise<RawClient> {
  const broker = await Broker.start({ port: 0, ...options })
  const client = await connect(broker.port)
  t.teardown(async () => {
    client.close()
    await broker.close()
    if (options.dataDir !== undefined) await rm(options.dataDir, { recursive: true, force: true })
  })
  return client
}

/** Kafka 4.4.0's, but for the one that only its own tests may set. */
const TOPIC_SETTING_COUNT = 37

const newTopic = (name: string, more: object = {}) => ({ name, numPartitions: 1, replicationFactor: 1, assignments: [], configs: [], ...more })

async function create (client: RawClient, topics: ReturnType<typeof newTopic>[], version = 7, validateOnly = false) {
  return (await client.send(apis.createTopics, version, { topics, timeoutMs: 1000, validateOnly })).topics
}

async function metadataOf (client: RawClient, names: string[] | null, version = 12, allowAutoTopicCreation = false) {
  return await client.send(apis.metadata, version, { topics: names === null ? null : names.map((name) => ({ name })), allowAutoTopicCreation })
}

test('every version of every one of these APIs is answered', async (t) => {
  const client = await serve(t)
  const { topicId } = (await create(client, [newTopic('t', { numPartitions: 3 })]))[0]!
  const t0 = [{ topic: 't', partitions: [0, 1] }]
  const each = async <A extends Api<any, any>>(api: A, request: any, expected: object | ((version: number) => object)) => {
    for (let { first: version, last } = parseVersions(api.versions); version <= last; version++) {
      const given = typeof request === 'function' ? request(version) : request
      t.match(await client.send(api, version, given), typeof expected === 'function' ? expected(version) : expected, `${api.name} v${version}`)
    }
  }
  const partitions = [{ partitionIndex: 0 }, { partitionIndex: 1 }, { partitionIndex: 2 }]
  await each(apis.metadata, (version: number) => ({ topics: version === 0 ? [] : null }), (version) => ({ topics: [{ errorCode: 0, name: 't', partitions, ...(version >= 10 && { topicId }) }] }))
  await each(apis.describeConfigs, { resources: [{ resourceType: 2, resourceName: 't', configurationKeys: ['segment.bytes'] }] },
    (version) => ({ results: [{ errorCode: 0, configs: [{ name: 'segment.bytes', value: '1073741824', configSource: 5, ...(version >= 3 && { configType: 3 }) }] }] }))
  await each(apis.createTopics, (version: number) => ({ topics: [newTopic(`made-${version}`)], timeoutMs: 1 }), (version) => ({ topics: [{ name: `made-${version}`, errorCode: 0 }] }))
  await each(apis.deleteTopics, (version: number) => version < 6 ? { topicNames: [`made-${version + 1}`], timeoutMs: 1 } : { topics: [{ name: `made-${version + 1}`, topicId: ZERO_UUID }], timeoutMs: 1 },
    (version) => ({ responses: [{ name: `made-${version + 1}`, errorCode: 0 }] }))
  await each(apis.createPartitions, (version: number) => ({ topics: [{ name: 't', count: 4 + version, assignments: null }], timeoutMs: 1, validateOnly: false }), { results: [{ name: 't', errorCode: 0 }] })
  await each(apis.describeLogDirs, { topics: t0 }, { results: [{ errorCode: 0, logDir: 'memory', topics: [{ name: 't', partitions: [{ partitionIndex: 0, partitionSize: 0 }, { partitionIndex: 1 }] }] }] })
  await each(apis.electLeaders, { topicPartitions: [{ topic: 't', partitions: [0, 99] }] },
    { replicaElectionResults: [{ topic: 't', partitionResult: [{ errorCode: ErrorCode.ELECTION_NOT_NEEDED }, { errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION }] }] })
  await each(apis.listPartitionReassignments, { topics: null }, { errorCode: 0, topics: [] })
  await each(apis.listConfigResources, { resourceTypes: [2] }, (version) => ({ errorCode: 0, configResources: version === 0 ? [] : [{ resourceName: 't', resourceType: 2 }] }))
  await each(apis.describeAcls, { resourceTypeFilter: 1, resourceNameFilter: null, patternTypeFilter: 1, principalFilter: null, hostFilter: null, operation: 1, permissionType: 1 },
    { errorCode: ErrorCode.SECURITY_DISABLED, errorMessage: 'No Authorizer is configured.', resources: [] })
  await each(apis.describeTopicPartitions, { topics: [{ name: 't' }] }, { topics: [{ name: 't', topicId, errorCode: 0 }], nextCursor: null })
  await each(apis.alterConfigs, { resources: [{ resourceType: 2, resourceName: 't', configs: [{ name: 'retention.ms', value: '7' }] }], validateOnly: false }, { responses: [{ errorCode: 0 }] })
  await each(apis.incrementalAlterConfigs, { resources: [{ resourceType: 2, resourceName: 't', configs: [{ name: 'retention.ms', configOperation: 0, value: '7' }] }], validateOnly: false }, { responses: [{ errorCode: 0 }] })
})

test('Metadata: what is listed, what is made', async (t) => {
  const client = await serve(t, { config: { 'num.partitions': 4 } })
  t.same((await metadataOf(client, [])).topics, [], 'an empty list is none')
  t.match((await metadataOf(client, ['a'])).topics, [{ errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, name: 'a' }], 'not asked to make it')
  const made = await Promise.all(Array.from({ length: 5 }, async () => (await metadataOf(client, ['a'], 12, true)).topics[0]!))
  t.equal(new Set(made.map(({ topicId }) => topicId)).size, 1, 'asked for five times at once, made once')
  t.equal(made[0]!.partitions.length, 4)
  t.match((await metadataOf(client, ['b'], 1)).topics, [{ errorCode: 0, name: 'b' }], 'before v4 every request may make topics')
  t.match((await metadataOf(client, ['a b', 'a'], 12, true)).topics, [{ errorCode: ErrorCode.INVALID_TOPIC_EXCEPTION, name: 'a b' }, { errorCode: 0, name: 'a' }])
  const byId = async (topicId: string) => (await client.send(apis.metadata, 12, { topics: [{ topicId, name: null }], allowAutoTopicCreation: true })).topics[0]!
  t.match(await byId(made[0]!.topicId), { errorCode: 0, name: 'a' })
  for (const version of [10, 11]) {
    const early = await client.send(apis.metadata, version, { topics: [{ topicId: made[0]!.topicId, name: null }, { name: 'a' }] })
    t.match(early.topics, [{ errorCode: ErrorCode.INVALID_REQUEST, name: '' }, { errorCode: ErrorCode.INVALID_REQUEST, name: 'a' }], 'no ids before v12')
  }
  t.match(await byId('AAAAAAAAAAAAAAAAAAAAAQ'), { errorCode: ErrorCode.UNKNOWN_TOPIC_ID, name: null })
  t.same((await metadataOf(client, null)).topics.filter(({ isInternal }) => !isInternal).map(({ name }) => name), ['a', 'b'])
  t.match((await metadataOf(client, null)).topics[0], { topicAuthorizedOperations: -2147483648, partitions: [{ leaderId: 1, leaderEpoch: 0, replicaNodes: [1], isrNodes: [1] }] })

  const closed = await serve(t, { config: { 'auto.create.topics.enable': false } })
  t.match((await metadataOf(closed, ['a'], 12, true)).topics, [{ errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION }])
  t.same((await metadataOf(closed, null)).topics.filter(({ isInternal }) => !isInternal), [])
})

test('CreateTopics: what is refused', async (t) => {
  const client = await serve(t)
  await create(client, [newTopic('there.is')])
  const manual = (...brokers: number[][]) => ({ numPartitions: -1, replicationFactor: -1, assignments: brokers.map((brokerIds, partitionIndex) => ({ partitionIndex, brokerIds })) })
  const cases: Array<[string, ReturnType<typeof newTopic>, number]> = [
    ['a name with a space', newTopic('a b'), ErrorCode.INVALID_TOPIC_EXCEPTION],
    ['no name', newTopic(''), ErrorCode.INVALID_TOPIC_EXCEPTION],
    ['the name ..', newTopic('..'), ErrorCode.INVALID_TOPIC_EXCEPTION],
    ['a name of 250 characters', newTopic('x'.repeat(250)), ErrorCode.INVALID_TOPIC_EXCEPTION],
    ['a name of 249 characters', newTopic('x'.repeat(249)), ErrorCode.NONE],
    ['a name that is taken', newTopic('there.is'), ErrorCode.TOPIC_ALREADY_EXISTS],
    ['a name that differs in . and _ alone', newTopic('there_is'), ErrorCode.INVALID_TOPIC_EXCEPTION],
    ['a name of the broker', newTopic('__cluster_metadata'), ErrorCode.INVALID_TOPIC_EXCEPTION],
    ['0 partitions', newTopic('n', { numPartitions: 0 }), ErrorCode.INVALID_PARTITIONS],
    ['-2 partitions', newTopic('n', { numPartitions: -2 }), ErrorCode.INVALID_PARTITIONS],
    ['2 ** 31 - 1 partitions', newTopic('n', { numPartitions: 2 ** 31 - 1 }), ErrorCode.INVALID_PARTITIONS],
    ['0 replicas', newTopic('n', { replicationFactor: 0 }), ErrorCode.INVALID_REPLICATION_FACTOR],
    ['3 replicas', newTopic('n', { replicationFactor: 3 }), ErrorCode.INVALID_REPLICATION_FACTOR],
    ['assignment and number of partitions', newTopic('n', { ...manual([1]), numPartitions: 1 }), ErrorCode.INVALID_REQUEST],
    ['assignment and replicas', newTopic('n', { ...manual([1]), replicationFactor: 1 }), ErrorCode.INVALID_REQUEST],
    ['assignment to an unknown broker', newTopic('n', manual([2])), ErrorCode.INVALID_REPLICA_ASSIGNMENT],
    ['assignment to nobody', newTopic('n', manual([])), ErrorCode.INVALID_REPLICA_ASSIGNMENT],
    ['assignment twice to one broker', newTopic('n', manual([1, 1])), ErrorCode.INVALID_REPLICA_ASSIGNMENT],
    ['assignment of one partition twice', newTopic('n', { ...manual([1]), assignments: [{ partitionIndex: 0, brokerIds: [1] }, { partitionIndex: 0, brokerIds: [1] }] }), ErrorCode.INVALID_REPLICA_ASSIGNMENT],
    ['assignment with a hole', newTopic('n', { ...manual([1]), assignments: [{ partitionIndex: 1, brokerIds: [1] }] }), ErrorCode.INVALID_REPLICA_ASSIGNMENT],
    ['a setting of null', newTopic('n', { configs: [{ name: 'retention.ms', value: null }] }), ErrorCode.INVALID_CONFIG],
    ['an unknown setting', newTopic('n', { configs: [{ name: 'retention.lightyears', value: '1' }] }), ErrorCode.INVALID_CONFIG],
    ['a setting out of range', newTopic('n', { configs: [{ name: 'segment.bytes', value: '1' }] }), ErrorCode.INVALID_CONFIG],
    ['a setting of the wrong type', newTopic('n', { configs: [{ name: 'segment.ms', value: 'week' }] }), ErrorCode.INVALID_CONFIG],
    ['settings that contradict each other', newTopic('n', { configs: [{ name: 'min.compaction.lag.ms', value: '2' }, { name: 'max.compaction.lag.ms', value: '1' }] }), ErrorCode.INVALID_CONFIG]
  ]
  for (const [name, topic, errorCode] of cases) t.equal((await create(client, [topic]))[0]!.errorCode, errorCode, name)
  t.equal((await metadataOf(client, ['n'])).topics[0]!.errorCode, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 'no refusal left a topic')

  const twice = await create(client, [newTopic('twice'), newTopic('once'), newTopic('twice')])
  t.same(twice.map(({ name, errorCode }) => [name, errorCode]), [['twice', ErrorCode.INVALID_REQUEST], ['once', 0]])
  const raced = await create(client, [newTopic('a.b'), newTopic('a_b')])
  t.same(raced.map(({ errorCode }) => errorCode), [0, ErrorCode.INVALID_TOPIC_EXCEPTION], 'names that collide in one request')
})

test('CreateTopics: what is answered', async (t) => {
  const client = await serve(t, { config: { 'num.partitions': 3, 'log.retention.hours': 1, 'haulout.replication.factor.clamp': true } })
  t.match((await create(client, [newTopic('v', { numPartitions: -1, replicationFactor: -1 })], 7, true))[0], { errorCode: 0, numPartitions: 3, replicationFactor: 1 })
  t.equal((await metadataOf(client, ['v'])).topics[0]!.errorCode, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 'only validated')
  const made = (await create(client, [newTopic('v', { numPartitions: -1, replicationFactor: 3, configs: [{ name: 'segment.ms', value: '5000' }] })]))[0]!
  t.match(made, { errorCode: 0, errorMessage: null, numPartitions: 3 }, 'three replicas are taken as one where the broker is told so')
  t.match(made.topicId, /^[\w][\w-]{21}$/)
  const config = (name: string) => made.configs!.find((entry) => entry.name === name)
  t.equal(made.configs!.length, TOPIC_SETTING_COUNT, 'every setting')
  t.match(config('segment.ms'), { value: '5000', configSource: 1, readOnly: false })
  t.match(config('retention.ms'), { value: '3600000', configSource: 4 }, 'hours of the broker are milliseconds of the topic')
  t.match(config('retention.bytes'), { value: '-1', configSource: 5 })
})

test('DeleteTopics and CreatePartitions', async (t) => {
  const client = await serve(t)
  const [first] = await create(client, [newTopic('t', { numPartitions: 2 }), newTopic('u')])
  const grow = async (count: number, more: object = {}, name = 't') =>
    (await client.send(apis.createPartitions, 3, { topics: [{ name, count, assignments: null, ...more }], timeoutMs: 1, validateOnly: false })).results
  t.match(await grow(2), [{ name: 't', errorCode: ErrorCode.INVALID_PARTITIONS }])
  t.match(await grow(1), [{ errorCode: ErrorCode.INVALID_PARTITIONS }])
  t.match(await grow(0), [{ errorCode: ErrorCode.INVALID_PARTITIONS }])
  t.match(await grow(3, {}, 'missing'), [{ errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION }])
  t.match(await grow(3, { assignments: [{ brokerIds: [7] }] }), [{ errorCode: ErrorCode.INVALID_REPLICA_ASSIGNMENT }])
  t.match(await grow(4, { assignments: [{ brokerIds: [1] }] }), [{ errorCode: ErrorCode.INVALID_REPLICA_ASSIGNMENT }])
  t.match(await grow(3, { assignments: [{ brokerIds: [1] }] }), [{ name: 't', errorCode: 0, errorMessage: null }])
  t.equal((await metadataOf(client, ['t'])).topics[0]!.partitions.length, 3)

  const remove = async (...topics: Array<[string | null, string]>) =>
    (await client.send(apis.deleteTopics, 6, { topics: topics.map(([name, topicId]) => ({ name, topicId })), timeoutMs: 1 })).responses.map(({ errorCode }) => errorCode)
  t.same(await remove(['missing', ZERO_UUID], [null, 'AAAAAAAAAAAAAAAAAAAAAQ'], ['t', first!.topicId]),
    [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_ID, ErrorCode.INVALID_REQUEST])
  t.same(await remove([null, first!.topicId], ['u', ZERO_UUID]), [0, 0])
  t.same((await metadataOf(client, null)).topics.filter(({ isInternal }) => !isInternal), [])
  const [second] = await create(client, [newTopic('t')])
  t.not(second!.topicId, first!.topicId, 'a topic made again has another id')
  t.equal((await metadataOf(client, ['t'])).topics[0]!.partitions.length, 1)

  const kept = await serve(t, { config: { 'delete.topic.enable': false } })
  await create(kept, [newTopic('t')])
  t.match((await kept.send(apis.deleteTopics, 6, { topics: [{ name: 't', topicId: ZERO_UUID }], timeoutMs: 1 })).responses, [{ errorCode: ErrorCode.TOPIC_DELETION_DISABLED }])
})

test('DescribeConfigs: every setting, its source, its synonyms; secrets are not told', async (t) => {
  const client = await serve(t, { config: { 'log.retention.minutes': 2, 'ssl.key.password': 'secret' } })
  await create(client, [newTopic('t', { configs: [{ name: 'retention.ms', value: '9' }] })])
  const describe = async (resourceType: number, resourceName: string, configurationKeys: string[] | null = null) =>
    (await client.send(apis.describeConfigs, 4, { resources: [{ resourceType, resourceName, configurationKeys }], includeSynonyms: true, includeDocumentation: true })).results[0]!
  const topic = await describe(2, 't')
  t.equal(topic.configs.length, TOPIC_SETTING_COUNT)
  t.same(topic.configs.find(({ name }) => name === 'retention.ms')!.synonyms, [
    { name: 'retention.ms', value: '9', source: 1 },
    { name: 'log.retention.minutes', value: '120000', source: 4 },
    { name: 'log.retention.ms', value: '604800000', source: 5 }
  ].map((synonym) => ({ ...synonym })))
  t.same((await describe(2, 't', ['segment.bytes', 'no.such'])).configs.map(({ name }) => name), ['segment.bytes'])
  t.equal((await describe(2, 't', [])).configs.length, TOPIC_SETTING_COUNT, 'an empty list of keys is all of them')
  const broker = await describe(4, '1')
  t.ok(broker.configs.length >= 379)
  t.match(broker.configs.find(({ name }) => name === 'ssl.key.password'), { value: null, isSensitive: true, configSource: 4 })
  t.notOk(JSON.stringify(broker).includes('"secret"'), 'nor among the synonyms')
  t.match(broker.configs.find(({ name }) => name === 'group.initial.rebalance.delay.ms'), { value: '0', configSource: 5, readOnly: true })
  t.equal((await describe(32, 'g')).configs.length, 27)
  t.same([(await describe(2, 'missing')).errorCode, (await describe(2, 'a b')).errorCode, (await describe(4, '7')).errorCode, (await describe(99, 'x')).errorCode],
    [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.INVALID_TOPIC_EXCEPTION, ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST])
})

test('DescribeTopicPartitions: pages', async (t) => {
  const client = await serve(t)
  await create(client, [newTopic('a', { numPartitions: 3 }), newTopic('b', { numPartitions: 2 }), newTopic('c')])
  const seen: string[] = []
  let cursor: { topicName: string, partitionIndex: number } | null = null
  do {
    const page: ResponseOf<typeof apis.describeTopicPartitions> = await client.send(apis.describeTopicPartitions, 0, { topics: ['c', 'a', 'b', 'd', 'a'].map((name) => ({ name })), responsePartitionLimit: 2, cursor })
    const count = page.topics.reduce((sum, { partitions }) => sum + partitions.length, 0)
    t.ok(count <= 2 && page.topics.length > 0)
    for (const { name, errorCode, partitions } of page.topics) seen.push(...(errorCode === 0 ? partitions.map(({ partitionIndex }) => `${name}-${partitionIndex}`) : [`${name}: ${errorCode}`]))
    cursor = page.nextCursor
  } while (cursor !== null)
  t.same(seen, ['a-0', 'a-1', 'a-2', 'b-0', 'b-1', 'c-0', `d: ${ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}`])
  t.match(await client.send(apis.describeTopicPartitions, 0, { topics: [{ name: 'a' }], cursor: { topicName: 'b', partitionIndex: 0 } }), { topics: [{ name: 'a', errorCode: ErrorCode.INVALID_REQUEST }] })
  t.equal((await client.send(apis.describeTopicPartitions, 0, { topics: [] })).topics.filter(({ isInternal }) => !isInternal).length, 3, 'none asked for is all')
})

test('DescribeLogDirs counts bytes; ListConfigResources lists everything; ElectLeaders knows its types', async (t) => {
  const client = await serve(t, { dataDir: await mkdtemp(join(tmpdir(), 'haulout-')) })
  await create(client, [newTopic('t', { numPartitions: 2 })])
  const all = await client.send(apis.describeLogDirs, 5, { topics: null })
  const dir = all.results[0]!
  t.match(dir.topics.find(({ name }) => name === 't'), { partitions: [{ partitionSize: 0, offsetLag: 0, isFutureKey: false }, {}] })
  t.ok(dir.logDir.startsWith('/') && dir.totalBytes >= dir.usableBytes && dir.usableBytes > 0)
  t.same((await client.send(apis.describeLogDirs, 5, { topics: [{ topic: 'missing', partitions: [0] }] })).results[0]!.topics, [])
  const resources = (await client.send(apis.listConfigResources, 1, { resourceTypes: [] })).configResources
  t.ok(resources.some(({ resourceName, resourceType }) => resourceName === 't' && resourceType === 2))
  t.ok(resources.some(({ resourceName, resourceType }) => resourceName === '1' && resourceType === 4))
  t.equal((await client.send(apis.listConfigResources, 1, { resourceTypes: [3] })).errorCode, ErrorCode.UNSUPPORTED_VERSION)
  t.equal((await client.send(apis.electLeaders, 2, { electionType: 5, topicPartitions: null })).errorCode, ErrorCode.INVALID_REQUEST)
  t.same((await client.send(apis.electLeaders, 2, { electionType: 1, topicPartitions: null })).replicaElectionResults, [])
})

test('a thousand partitions are made, and opened at a start, in well under a second', async (t) => {
  for (const dataDir of [undefined, await mkdtemp(join(tmpdir(), 'haulout-'))]) {
    const options = { port: 0, ...(dataDir !== undefined && { dataDir }) }
    const broker = await Broker.start(options)
    const client = await connect(broker.port)
    const beganMs = performance.now()
    t.match(await create(client, [newTopic('t', { numPartitions: 1000 })]), [{ errorCode: 0, numPartitions: 1000 }])
    t.comment(`${broker.storage.name}: made in ${(performance.now() - beganMs).toFixed()} ms`)
    client.close()
    await broker.close()
    if (dataDir === undefined) continue
    const restartedMs = performance.now()
    const again = await Broker.start(options)
    t.comment(`${again.storage.name}: started with them in ${(performance.now() - restartedMs).toFixed()} ms`)
    const next = await connect(again.port)
    t.equal((await metadataOf(next, ['t'])).topics[0]!.partitions.length, 1000)
    // Many times what it takes: a machine that is busy may be slow, a mistake of another order may not pass.
    t.ok(performance.now() - beganMs < 10_000)
    next.close()
    await again.close()
    await rm(dataDir, { recursive: true, force: true })
  }
})
