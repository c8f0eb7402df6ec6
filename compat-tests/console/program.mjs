/**
 * The console tools of Apache Kafka: the verbs of ../records/README.md made of runs of the tools' own main classes, and `extras`:
 * what people do with the other tools. The class path is the first argument.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expectRecords, runProgram } from '../records/program.mjs'
import { parseRanges } from '../records/records.mjs'
import { consumeWith, feed, inputLines } from '../records/text-tool.mjs'

const [classpath] = process.argv.splice(2, 1)
const JAVA = ['-Xmx256m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-cp', classpath]
const CONSUMER_FORMAT = { assign: ':', prefixes: ['Partition:', 'Offset:'], nullText: 'null' }

const TOPICS = 'org.apache.kafka.tools.TopicCommand'
const CONFIGS = 'kafka.admin.ConfigCommand'
const GROUPS = 'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand'
const OFFSETS = 'org.apache.kafka.tools.GetOffsetShell'

async function tool (mainClass, bootstrap, ...args) {
  try {
    const { stdout } = await promisify(execFile)('java', [...JAVA, mainClass, '--bootstrap-server', bootstrap, ...args], { timeout: 60_000 })
    return stdout
  } catch (error) {
    throw new Error(`${mainClass.split('.').at(-1)} ${args.join(' ')}: ${(error.stdout + error.stderr).slice(-1500)}`)
  }
}

async function create ({ bootstrap, topic, partitions }) {
  await tool(TOPICS, bootstrap, '--create', '--topic', topic, '--partitions', `${partitions}`, '--replication-factor', '1')
}

async function produce ({ bootstrap, topic, writer, ranges }) {
  let records = 0
  for (const { codec, from, to } of parseRanges(ranges)) {
    const args = [...JAVA, 'org.apache.kafka.tools.ConsoleProducer', '--bootstrap-server', bootstrap, '--topic', topic, '--compression-codec', codec,
      '--reader-property', 'parse.key=true', '--reader-property', 'parse.headers=true', '--reader-property', 'null.marker=NULL']
    await feed('java', args, withHeaders(writer, inputLines(writer, from, to, 1, 'NULL')))
    records += to - from
  }
  return { records }
}

function * withHeaders (writer, lines) {
  for (const line of lines) yield `writer:${writer}\t${line}`
}

async function consume ({ bootstrap, topic, group, ...options }) {
  const expected = expectRecords(options)
  const properties = ['print.partition=true', 'print.offset=true', 'print.headers=true', 'print.key=true'].flatMap((one) => ['--formatter-property', one])
  await consumeWith('java', [...JAVA, 'org.apache.kafka.tools.consumer.ConsoleConsumer', '--bootstrap-server', bootstrap, '--topic', topic, '--group', group,
    '--from-beginning', ...properties], CONSUMER_FORMAT, {
    finished: expected.finished,
    onRecord: ({ partition, offset, key, value, headers }) => expected.take(partition, offset, key, value, headers)
  })
  return expected.result()
}

/** What people do with the other tools, on the topic and group that the checks before have left. */
async function extras ({ bootstrap, topic, group, partitions, count }) {
  const checks = []
  const check = async (name, action, pattern) => {
    try {
      const output = await action()
      checks.push({ name, ok: pattern.test(output), problems: [output.trim().slice(0, 1500)] })
    } catch (error) {
      checks.push({ name, ok: false, problems: [error.message] })
    }
  }
  const total = async () => {
    const output = await tool(OFFSETS, bootstrap, '--topic', topic, '--time', 'latest')
    return `total ${output.trim().split('\n').reduce((sum, line) => sum + Number(line.split(':')[2]), 0)}`
  }
  await check('kafka-topics --list', () => tool(TOPICS, bootstrap, '--list'), new RegExp(`^${topic}$`, 'm'))
  await check('kafka-topics --describe', () => tool(TOPICS, bootstrap, '--describe', '--topic', topic), new RegExp(`PartitionCount: ${partitions}\\s+ReplicationFactor: 1`))
  await check('kafka-get-offsets', total, new RegExp(`^total ${count}$`))
  await check('kafka-consumer-groups --list', () => tool(GROUPS, bootstrap, '--list'), new RegExp(`^${group}$`, 'm'))
  await check('kafka-consumer-groups --describe', () => tool(GROUPS, bootstrap, '--describe', '--group', group), new RegExp(`${group}\\s+${topic}\\s+0\\s+(\\d+)\\s+\\1\\s+0\\s`))
  await check('kafka-configs --describe --all', () => tool(CONFIGS, bootstrap, '--describe', '--all', '--entity-type', 'topics', '--entity-name', topic), /retention\.ms=604800000/)
  await check('kafka-configs --alter, then describe', async () => {
    await tool(CONFIGS, bootstrap, '--alter', '--entity-type', 'topics', '--entity-name', topic, '--add-config', 'retention.ms=86400000')
    return tool(CONFIGS, bootstrap, '--describe', '--entity-type', 'topics', '--entity-name', topic)
  }, /retention\.ms=86400000/)
  await check('kafka-topics --alter --partitions', async () => {
    await tool(TOPICS, bootstrap, '--alter', '--topic', topic, '--partitions', `${partitions + 1}`)
    return tool(TOPICS, bootstrap, '--describe', '--topic', topic)
  }, new RegExp(`PartitionCount: ${partitions + 1}\\s`))
  await check('kafka-consumer-groups --delete', () => tool(GROUPS, bootstrap, '--delete', '--group', group), /success/i)
  await check('kafka-topics --delete', async () => {
    await tool(TOPICS, bootstrap, '--delete', '--topic', topic)
    return (await tool(TOPICS, bootstrap, '--list')).split('\n').includes(topic) ? 'still there' : 'gone'
  }, /^gone$/)
  return { checks }
}

runProgram({ create, produce, consume, extras })
