/**
 * InitProducerId, versions 0 to 5: gives an idempotent producer an id that was never given before, with epoch 0 (KIP-98). A
 * producer that already has one and asks again (KIP-360) gets another: that is as good for a producer without transactions.
 *
 * Left out: transactions. A transactional id is answered with TRANSACTIONAL_ID_AUTHORIZATION_FAILED, the one refusal that every
 * client takes as final; with any other of Kafka's codes librdkafka asks again for ever.
 */
import { initProducerId } from '../../protocol/schemas/22-init-producer-id.js'
import { ErrorCode } from '../../protocol/error-codes.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { handler } from '../handler.js'
import type { Services } from '../services.js'

export const initProducerIdHandler = handler({ api: initProducerId, versions: '0-5', handle })

async function handle ({ producerIds, logger }: Pick<Services, 'producerIds' | 'logger'>, { transactionalId }: RequestOf<typeof initProducerId>):
Promise<ResponseInputOf<typeof initProducerId>> {
  if (transactionalId !== null) {
    logger.warn({ transactionalId }, transactionalId === ''
      ? 'refused a transactional producer: its transactional id is empty'
      : 'refused a transactional producer: this broker has no transactions yet')
    return { throttleTimeMs: 0, errorCode: transactionalId === '' ? ErrorCode.INVALID_REQUEST : ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, producerId: -1, producerEpoch: -1 }
  }
  try {
    return { throttleTimeMs: 0, errorCode: ErrorCode.NONE, producerId: await producerIds.next(), producerEpoch: 0 }
  } catch (error) {
    // The id could not be made durable. Kafka answers this where it has no ids at the moment: clients try again.
    logger.error({ err: error }, 'no producer id for an idempotent producer')
    return { throttleTimeMs: 0, errorCode: ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, producerId: -1, producerEpoch: -1 }
  }
}
