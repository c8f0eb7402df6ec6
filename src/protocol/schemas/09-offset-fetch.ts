import { api, array, bool, int16, int32, int64, string, struct, uuid } from '../schema.js'

export const offsetFetch = api({
  key: 9,
  name: 'OffsetFetch',
  versions: '1-10',
  flexible: '6+',
  request: {
    groupId: string({ versions: '0-7' }),
    topics: array(struct({
      name: string({ versions: '0-7' }),
      partitionIndexes: array(int32(), { versions: '0-7' })
    }), { versions: '0-7', nullable: '2-7' }),
    groups: array(struct({
      groupId: string({ versions: '8+' }),
      memberId: string({ versions: '9+', nullable: '9+', default: null }),
      memberEpoch: int32({ versions: '9+', default: -1 }),
      topics: array(struct({
        name: string({ versions: '8-9' }),
        topicId: uuid({ versions: '10+' }),
        partitionIndexes: array(int32(), { versions: '8+' })
      }), { versions: '8+', nullable: '8+' })
    }), { versions: '8+' }),
    requireStable: bool({ versions: '7+', default: false })
  },
  response: {
    throttleTimeMs: int32({ versions: '3+' }),
    topics: array(struct({
      name: string({ versions: '0-7' }),
      partitions: array(struct({
        partitionIndex: int32({ versions: '0-7' }),
        committedOffset: int64({ versions: '0-7' }),
        committedLeaderEpoch: int32({ versions: '5-7', default: -1 }),
        metadata: string({ versions: '0-7', nullable: '0-7' }),
        errorCode: int16({ versions: '0-7' })
      }), { versions: '0-7' })
    }), { versions: '0-7' }),
    errorCode: int16({ versions: '2-7', default: 0 }),
    groups: array(struct({
      groupId: string({ versions: '8+' }),
      topics: array(struct({
        name: string({ versions: '8-9' }),
        topicId: uuid({ versions: '10+' }),
        partitions: array(struct({
          partitionIndex: int32({ versions: '8+' }),
          committedOffset: int64({ versions: '8+' }),
          committedLeaderEpoch: int32({ versions: '8+', default: -1 }),
          metadata: string({ versions: '8+', nullable: '8+' }),
          errorCode: int16({ versions: '8+' })
        }), { versions: '8+' })
      }), { versions: '8+' }),
      errorCode: int16({ versions: '8+', default: 0 })
    }), { versions: '8+' })
  }
})
