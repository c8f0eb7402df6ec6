import { api, array, int16, int32, int64, string, struct, uuid } from '../schema.js'

export const offsetCommit = api({
  key: 8,
  name: 'OffsetCommit',
  versions: '2-10',
  flexible: '8+',
  request: {
    groupId: string(),
    generationIdOrMemberEpoch: int32({ versions: '1+', default: -1 }),
    memberId: string({ versions: '1+' }),
    groupInstanceId: string({ versions: '7+', nullable: '7+', default: null }),
    retentionTimeMs: int64({ versions: '2-4', default: -1 }),
    topics: array(struct({
      name: string({ versions: '0-9' }),
      topicId: uuid({ versions: '10+' }),
      partitions: array(struct({
        partitionIndex: int32(),
        committedOffset: int64({ clamp: true }),
        committedLeaderEpoch: int32({ versions: '6+', default: -1 }),
        committedMetadata: string({ nullable: '0+' })
      }))
    }))
  },
  response: {
    throttleTimeMs: int32({ versions: '3+' }),
    topics: array(struct({
      name: string({ versions: '0-9' }),
      topicId: uuid({ versions: '10+' }),
      partitions: array(struct({
        partitionIndex: int32(),
        errorCode: int16()
      }))
    }))
  }
})
