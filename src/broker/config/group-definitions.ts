/** Every group setting of Kafka 4.4.0, with Kafka's type, default and allowed values. */
import type { Definition } from './definition.js'

export const GROUP_DEFINITIONS = [
  ['consumer.assignment.interval.ms', 'INT', '1000', '[0,...]'],
  ['consumer.assignor.offload.enable', 'BOOLEAN', 'true'],
  ['consumer.heartbeat.interval.ms', 'INT', '5000', '[1,...]'],
  ['consumer.session.timeout.ms', 'INT', '45000', '[1,...]'],
  ['errors.deadletterqueue.copy.record.enable', 'BOOLEAN', 'false'],
  ['errors.deadletterqueue.topic.name', 'STRING', ''],
  ['share.assignment.interval.ms', 'INT', '1000', '[0,...]'],
  ['share.assignor.offload.enable', 'BOOLEAN', 'true'],
  ['share.auto.offset.reset', 'STRING', 'latest', '[latest, earliest, by_duration:PnDTnHnMn.nS]'],
  ['share.delivery.count.limit', 'INT', '5', '[2,...]'],
  ['share.heartbeat.interval.ms', 'INT', '5000', '[1,...]'],
  ['share.isolation.level', 'STRING', 'read_uncommitted', '[read_committed, read_uncommitted]'],
  ['share.partition.max.record.locks', 'INT', '2000', '[100,...]'],
  ['share.record.lock.duration.ms', 'INT', '30000', '[1000,...]'],
  ['share.renew.acknowledge.enable', 'BOOLEAN', 'true'],
  ['share.session.timeout.ms', 'INT', '45000', '[1,...]'],
  ['streams.acceptable.recovery.lag', 'LONG', '10000', '[0,...]'],
  ['streams.assignment.interval.ms', 'INT', '1000', '[0,...]'],
  ['streams.assignor.name', 'STRING', null],
  ['streams.assignor.offload.enable', 'BOOLEAN', 'true'],
  ['streams.heartbeat.interval.ms', 'INT', '5000', '[1,...]'],
  ['streams.initial.rebalance.delay.ms', 'INT', '3000', '[0,...]'],
  ['streams.num.standby.replicas', 'INT', '0', '[0,...]'],
  ['streams.num.warmup.replicas', 'INT', '2', '[0,...]'],
  ['streams.rack.aware.assignment.tags', 'LIST', ''],
  ['streams.session.timeout.ms', 'INT', '45000', '[1,...]'],
  ['streams.task.offset.interval.ms', 'INT', '60000', '[1,...]']
] as const satisfies readonly Definition[]
