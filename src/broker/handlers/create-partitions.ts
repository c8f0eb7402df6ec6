/** CreatePartitions, versions 0 to 3: grows topics. A result row for every topic asked for, success or not. */
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'
import { createPartitions } from '../../protocol/schemas/37-create-partitions.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { handler } from '../handler.js'
import type { Services } from '../services.js'
import { checkAssignments, refuse } from '../topics/topic-validation.js'

type TopicRequest = RequestOf<typeof createPartitions>['topics'][number]

export const createPartitionsHandler = handler({ api: createPartitions, handle })

async function handle (services: Pick<Services, 'topics' | 'cluster'>, { topics, validateOnly }: RequestOf<typeof createPartitions>):
Promise<ResponseInputOf<typeof createPartitions>> {
  const results = await Promise.all(topics.map(async (topic) => {
    const twice = topics.filter(({ name }) => name === topic.name).length > 1
    const refusal = twice ? refuse(ErrorCode.INVALID_REQUEST, 'Duplicate topic name.') : await grow(services, topic, validateOnly)
    return { name: topic.name, errorCode: refusal?.errorCode ?? ErrorCode.NONE, errorMessage: refusal?.errorMessage ?? null }
  }))
  return { throttleTimeMs: 0, results }
}

async function grow ({ topics, cluster }: Pick<Services, 'topics' | 'cluster'>, { name, count, assignments }: TopicRequest, validateOnly: boolean):
Promise<Refusal | undefined> {
  const topic = topics.get(name)
  if (topic === undefined) return refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 'This server does not host this topic-partition.')
  // Which partition keeps a group depends on how many there are.
  if (topic.internal) return refuse(ErrorCode.INVALID_REQUEST, `${name} is an internal topic: its partitions are fixed`)
  const added = count - topic.partitions.length
  if (assignments !== null && added > 0) {
    if (assignments.length !== added) {
      return refuse(ErrorCode.INVALID_REPLICA_ASSIGNMENT, `Attempted to add ${added} additional partition(s), but only ${assignments.length} assignment(s) were specified.`)
    }
    const refusal = checkAssignments(assignments, cluster.nodeId)
    if (refusal !== undefined) return refusal
  }
  return await topics.addPartitions(topic, count, validateOnly)
}
