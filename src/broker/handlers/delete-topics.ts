/**
 * DeleteTopics, versions 1 to 6, by name or (v6) by id. The answer waits until the logs are gone, so the name is free again.
 */
import { ErrorCode, type Refusal } from '../../protocol/error-codes.js'
import { deleteTopics } from '../../protocol/schemas/20-delete-topics.js'
import { ZERO_UUID, type RequestOf, type ResponseInputOf } from '../../protocol/schema.js'
import { handler, type RequestContext } from '../handler.js'
import type { Services } from '../services.js'
import { refuse } from '../topics/topic-validation.js'

interface Target {
  readonly name: string | null
  readonly topicId: string
}

const VERSION_WITH_IDS = 6

export const deleteTopicsHandler = handler({ api: deleteTopics, handle })

async function handle (services: Pick<Services, 'topics' | 'config'>, request: RequestOf<typeof deleteTopics>, context: RequestContext):
Promise<ResponseInputOf<typeof deleteTopics>> {
  const targets: Target[] = context.apiVersion >= VERSION_WITH_IDS
    ? request.topics
    : request.topicNames.map((name) => ({ name, topicId: ZERO_UUID }))
  const responses = await Promise.all(targets.map(async (target) => {
    const { errorCode, errorMessage } = await remove(services, target) ?? { errorCode: ErrorCode.NONE, errorMessage: null }
    return { name: target.name, topicId: target.topicId, errorCode, errorMessage }
  }))
  return { throttleTimeMs: 0, responses }
}

async function remove ({ topics, config }: Pick<Services, 'topics' | 'config'>, { name, topicId }: Target): Promise<Refusal | undefined> {
  if (!config['delete.topic.enable']) return refuse(ErrorCode.TOPIC_DELETION_DISABLED, 'Topic deletion is disabled.')
  if (name !== null && topicId !== ZERO_UUID) return refuse(ErrorCode.INVALID_REQUEST, 'You may not specify both topic name and topic id.')
  const topic = name !== null ? topics.get(name) : topics.getById(topicId)
  if (topic === undefined) {
    return name !== null
      ? refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 'This server does not host this topic-partition.')
      : refuse(ErrorCode.UNKNOWN_TOPIC_ID, 'This server does not host this topic ID.')
  }
  if (topic.internal) return refuse(ErrorCode.INVALID_TOPIC_EXCEPTION, `${topic.name} is an internal topic: it cannot be deleted`)
  return await topics.delete(topic)
}
