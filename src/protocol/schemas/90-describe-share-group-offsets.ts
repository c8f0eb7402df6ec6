import { api, array, int16, int32, int64, string, struct, uuid } from '../schema.js'

export const describeShareGroupOffsets = api({
  key: 90,
  name: 'DescribeShareGroupOffsets',
  versions: '0-1',
  flexible: '0+',
  request: {
    groups: array(struct({
      groupId: string(),
      topics: array(struct({
        topicName: string(),
        partitions: array(int32())
      }), { nullable: '0+' })
    }))
  },
  response: {
    throttleTimeMs: int32(),
    groups: array(struct({
      groupId: string(),
      topics: array(struct({
        topicName: string(),
        topicId: uuid(),
        partitions: array(struct({
          partitionIndex: int32(),
          startOffset: int64(),
          leaderEpoch: int32(),
          lag: int64({ versions: '1+', default: -1 }),
          errorCode: int16(),
          errorMessage: string({ nullable: '0+', default: null })
        }))
      })),
      errorCode: int16(),
      errorMessage: string({ nullable: '0+', default: null })
    }))
  }
})
