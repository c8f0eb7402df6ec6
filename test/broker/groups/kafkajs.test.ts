/** Groups of kafkajs consumers: they share the work, take over from each other, and go on after a restart of the broker. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs, { type Consumer, type Kafka as Client } from 'kafkajs'
import { test, type Test } from 'tap'
import { Broker } from '../../../src/index.js'
import { joinGroup } from '../../../src/protocol/schemas/11-join-group.js'
import { heartbeat } from '../../../src/protocol/schemas/12-heartbeat.js'
import { syncGroup } from '../../../src/protocol/schemas/14-sync-group.js'
import { plainEnvironment, PLAIN_NODE, PLAIN_WORKER } from '../../support/plain-node.js'
import { TestClient } from '../support/client.js'

const { Kafka, logLevel } = kafkajs
const COMMAND = new URL('../../../src/cli/main.js', import.meta.url).pathname
const PARTITION_COUNT = 4
const SESSION_TIMEOUT_MS = 6000

function clientOf (brokers: string[]): Client {
  return new Kafka({ clientId: 'test', brokers, logLevel: logLevel.NOTHING, retry: { initialRetryTime: 50, retries: 10 } })
}

interface Setup { readonly brokers: string[], readonly client: Client, readonly produce: (from: number, to: number) => Promise<void> }

async function start (t: Test): Promise<Setup> {
  const broker = await Broker.start({ port: 0, storage: 'memory', config: { 'offsets.topic.num.partitions': '5' } })
  t.teardown(async () => { await broker.close() })
  return await setUp(t, broker.brokers)
}

async function setUp (t: Test, brokers: string[]): Promise<Setup> {
  const client = clientOf(brokers)
  const producer = client.producer({ maxInFlightRequests: 1, idempotent: true })
  await producer.connect()
  t.teardown(async () => { await producer.disconnect() })
  const admin = client.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic: 't', numPartitions: PARTITION_COUNT }] })
  await admin.disconnect()
  return {
    brokers,
    client,
    produce: async (from, to) => {
      await producer.send({ topic: 't', messages: numbers(from, to).map((value) => ({ partition: value % PARTITION_COUNT, value: String(value) })) })
    }
  }
}

/** A broker as a process of its own, to be killed. */
interface Process { readonly port: number, readonly kill: () => Promise<void> }

async function startProcess (dataDir: string, port = 0): Promise<Process> {
  const child = spawn('env', [...PLAIN_NODE, COMMAND, 'start', '--port', String(port), '--data-dir', dataDir], { env: plainEnvironment, stdio: ['ignore', 'pipe', 'inherit'] })
  const kill = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) await Promise.all([once(child, 'exit'), child.kill('SIGKILL')])
  }
  let output = ''
  for await (const chunk of child.stdout) {
    output += String(chunk)
    const address = /^ +clients +\S+:(\d+)$/m.exec(output)
    if (address === null) continue
    return { port: Number(address[1]), kill }
  }
  throw new Error(`did not start: ${output}`)
}

/** A consumer with what it was given and what it has read. */
class Member {
  readonly seen: number[] = []
  partitions: number[] = []
  generations = 0
  private waiting: (() => void)[] = []

  private constructor (readonly consumer: Consumer) {}

  static async join (t: Test, client: Client, groupId = 'g', more: object = {}): Promise<Member> {
    const member = new Member(client.consumer({ groupId, sessionTimeout: SESSION_TIMEOUT_MS, heartbeatInterval: 200, rebalanceTimeout: 10_000, maxWaitTimeInMs: 100, ...more }))
    const { consumer } = member
    t.teardown(async () => { await consumer.disconnect() })
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      member.partitions = [...payload.memberAssignment['t'] ?? []].sort()
      member.generations++
      member.changed()
    })
    await consumer.connect()
    await consumer.subscribe({ topic: 't', fromBeginning: true })
    await consumer.run({
      eachMessage: async ({ message }) => {
        member.seen.push(Number(message.value))
        member.changed()
      }
    })
    return member
  }

  async until (condition: (member: Member) => boolean, timeoutMs = 15_000): Promise<void> {
    const deadline = performance.now() + timeoutMs
    while (!condition(this)) {
      if (performance.now() > deadline) throw new Error(`in vain: partitions ${this.partitions}, ${this.seen.length} records`)
      await Promise.race([new Promise<void>((resolve) => this.waiting.push(resolve)), sleep(100)])
    }
  }

  private changed (): void {
    for (const resolve of this.waiting.splice(0)) resolve()
  }
}

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, index) => from + index)
const sorted = (...members: Member[]): number[] => [...new Set(members.flatMap(({ seen }) => seen))].sort((a, b) => a - b)
const all = numbers(0, PARTITION_COUNT)

test('the first record of a new group comes within 500 ms', async (t) => {
  const { client, produce } = await start(t)
  await produce(0, 100)
  const times: number[] = []
  for (let round = 0; round < 3; round++) {
    const consumer = client.consumer({ groupId: `first-${round}` })
    await consumer.connect()
    await consumer.subscribe({ topic: 't', fromBeginning: true })
    const startedMs = performance.now()
    await new Promise<void>((resolve, reject) => {
      consumer.run({ eachMessage: async () => resolve() }).catch(reject)
    })
    times.push(Math.round(performance.now() - startedMs))
    await consumer.disconnect()
  }
  t.comment(`${times.join(', ')} ms`)
  t.ok(times.sort((a, b) => a - b)[1]! < 500, `${times.join(', ')} ms`)
})

test('members share the partitions as they come and go, and no record is lost', async (t) => {
  const { client, produce } = await start(t)
  await produce(0, 40)
  const one = await Member.join(t, client)
  await one.until(({ seen }) => seen.length >= 40)
  t.same(one.partitions, all)
  const two = await Member.join(t, client)
  await Promise.all([one.until(({ partitions }) => partitions.length === 2), two.until(({ partitions }) => partitions.length === 2)])
  const three = await Member.join(t, client)
  await Promise.all([one, two, three].map(async (member) => await member.until(({ generations }) => generations >= 1 && one.partitions.length + two.partitions.length + three.partitions.length === PARTITION_COUNT && three.partitions.length > 0)))
  t.same([...one.partitions, ...two.partitions, ...three.partitions].sort(), all)
  await produce(40, 80)
  await one.until(() => sorted(one, two, three).length === 80)
  await two.consumer.disconnect()
  await one.until(() => one.partitions.length + three.partitions.length === PARTITION_COUNT)
  await produce(80, 120)
  await one.until(() => sorted(one, three).filter((value) => value >= 80).length === 40)
  t.same(sorted(one, two, three), numbers(0, 120))
})

test('the work of a member that died is taken over within its session timeout', async (t) => {
  const { brokers, client, produce } = await start(t)
  const worker = new Worker(new URL('./kafkajs-member.js', import.meta.url), { workerData: { brokers, sessionTimeout: SESSION_TIMEOUT_MS }, ...PLAIN_WORKER })
  const [partitions] = await once(worker, 'message') as [number[]]
  t.same(partitions, all)
  await worker.terminate()
  const diedMs = performance.now()
  const heir = await Member.join(t, client)
  await heir.until(({ partitions }) => partitions.length === PARTITION_COUNT, SESSION_TIMEOUT_MS + 4000)
  t.ok(performance.now() - diedMs < SESSION_TIMEOUT_MS + 500, `${Math.round(performance.now() - diedMs)} ms`)
  await produce(0, 20)
  await heir.until(({ seen }) => seen.length === 20)
})

test('a kill of the broker: who comes back in its session is still a member, and kafkajs goes on from its commits', async (t) => {
  const dataDir = t.testdir()
  let broker: Process | undefined
  // Runs last: the members below say goodbye first.
  t.teardown(async () => { await broker?.kill() })
  broker = await startProcess(dataDir)
  const { port } = broker
  const { client, produce } = await setUp(t, [`127.0.0.1:${port}`])
  await produce(0, 40)
  const [one, two] = [await Member.join(t, client), await Member.join(t, client)]
  await one.until(() => one.partitions.length === 2 && two.partitions.length === 2)
  await one.until(() => sorted(one, two).length === 40)
  const admin = client.admin()
  await admin.connect()
  t.teardown(async () => { await admin.disconnect() })
  const offsets = async (): Promise<string[]> => (await admin.fetchOffsets({ groupId: 'g', topics: ['t'] }))[0]!.partitions.map(({ offset }) => offset)
  while ((await offsets()).join() !== '10,10,10,10') await sleep(50)
  const patient = await PatientMember.join(port)
  const { groups: [before] } = await admin.describeGroups(['patient'])
  t.match(before, { state: 'Stable', members: [{}] })

  await broker.kill()
  const killedMs = performance.now()
  broker = await startProcess(dataDir, port)
  t.equal(await patient.heartbeat(port), 0)
  const { groups: [after] } = await admin.describeGroups(['patient'])
  t.same(after, before, 'the group is as it was')
  await produce(40, 80)
  await one.until(() => sorted(one, two).length === 80, 30_000)
  t.comment(`the members of kafkajs, which start anew when they find no broker, went on after ${Math.round(performance.now() - killedMs)} ms`)
  t.equal(one.seen.length + two.seen.length, 80, 'nothing came twice')
})

/** A member that takes a broken connection for what it is. */
class PatientMember {
  private constructor (private readonly memberId: string, private readonly generationId: number) {}

  static async join (port: number): Promise<PatientMember> {
    const client = await TestClient.connect(port)
    const { memberId, generationId } = await client.send(joinGroup, 3, {
      groupId: 'patient', sessionTimeoutMs: SESSION_TIMEOUT_MS * 5, rebalanceTimeoutMs: 60_000, memberId: '', protocolType: 'consumer', protocols: [{ name: 'mine', metadata: Buffer.from('m') }]
    })
    await client.send(syncGroup, 3, { groupId: 'patient', generationId, memberId, assignments: [{ memberId, assignment: Buffer.from('all') }] })
    client.close()
    return new PatientMember(memberId, generationId)
  }

  async heartbeat (port: number): Promise<number> {
    const client = await TestClient.connect(port)
    const { errorCode } = await client.send(heartbeat, 3, { groupId: 'patient', generationId: this.generationId, memberId: this.memberId })
    client.close()
    return errorCode
  }
}
