import { api, array, int16, int32, int64, string, struct, uuid } from '../schema.js'

export const txnOffsetCommit = api({
  key: 28,
  name: 'TxnOffsetCommit',
  versions: '0-6',
  flexible: '3+',
  request: {
    transactionalId: string(),
    groupId: string(),
    producerId: int64(),
    producerEpoch: int16(),
    generationIdOrMemberEpoch: int32({ versions: '3+', default: -1 }),
    memberId: string({ versions: '3+', default: '' }),
    groupInstanceId: string({ versions: '3+', nullable: '3+', default: null }),
    topics: array(struct({
      name: string({ versions: '0-5' }),
      topicId: uuid({ versions: '6+' }),
      partitions: array(struct({
        partitionIndex: int32(),
        committedOffset: int64({ clamp: true }),
        committedLeaderEpoch: int32({ versions: '2+', default: -1 }),
        committedMetadata: string({ nullable: '0+' })
      }))
    }))
  },
  response: {
    throttleTimeMs: int32(),
    topics: array(struct({
      name: string({ versions: '0-5' }),
      topicId: uuid({ versions: '6+' }),
      partitions: array(struct({
        partitionIndex: int32(),
        errorCode: int16()
      }))
    }))
  }
})
