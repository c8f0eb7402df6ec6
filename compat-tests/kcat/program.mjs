/** kcat (librdkafka): the verbs of ../records/README.md made of runs of the command. It cannot create topics, but has them auto-created. */
import { memberOutput, expectRecords, runProgram, untilTold } from '../records/program.mjs'
import { parseRanges } from '../records/records.mjs'
import { consumeWith, feed, inputLines } from '../records/text-tool.mjs'

const FORMAT = { assign: '=', nullText: 'NULL' }
const OUTPUT = ['-q', '-u', '-Z', '-f', '%p\t%o\t%h\t%k\t%s\n', '-X', 'auto.offset.reset=earliest', '-X', 'partition.assignment.strategy=range']

async function produce ({ bootstrap, topic, partitions, writer, ranges }) {
  let records = 0
  for (const { codec, from, to } of parseRanges(ranges)) {
    for (let partition = 0; partition < partitions; partition++) {
      const first = from + (partition - (from % partitions) + partitions) % partitions
      const args = ['-P', '-b', bootstrap, '-t', topic, '-p', `${partition}`, '-z', codec, '-K', '\t', '-H', `writer=${writer}`, '-Z', '-X', 'acks=all', '-X', 'enable.idempotence=true', '-X', 'linger.ms=5']
      await feed('kcat', args, inputLines(writer, first, to, partitions, ''))
    }
    records += to - from
  }
  return { records }
}

async function consume ({ bootstrap, topic, group, ...options }) {
  const expected = expectRecords(options)
  await consumeWith('kcat', ['-b', bootstrap, '-G', group, ...OUTPUT, ...topic.split(',')], FORMAT, {
    finished: expected.finished,
    onRecord: ({ partition, offset, key, value, headers }) => expected.take(partition, offset, key, value, headers)
  })
  return expected.result()
}

async function member ({ bootstrap, topic, group, sessiontimeout = '10000' }) {
  const settings = ['-X', `session.timeout.ms=${sessiontimeout}`, '-X', 'heartbeat.interval.ms=500', '-X', 'auto.commit.interval.ms=200']
  await consumeWith('kcat', ['-b', bootstrap, '-G', group, ...OUTPUT.slice(1), ...settings, topic], FORMAT, {
    finished: untilTold(),
    onRecord: ({ partition, offset, key, value }) => memberOutput.record(partition, offset, key, value),
    onErrorLine (line) {
      const [, change, list] = / rebalanced .*: (assigned|revoked): (.*)$/.exec(line) ?? []
      if (change) memberOutput.assigned(change === 'assigned' ? [...list.matchAll(/\[(\d+)\]/g)].map(([, partition]) => Number(partition)) : [])
    }
  })
}

runProgram({ produce, consume, member })
