import { api, array, int16, int32, int64, string, struct, uint16, uuid } from '../schema.js'

const replicaState = {
  replicaId: int32(),
  replicaDirectoryId: uuid({ versions: '2+' }),
  logEndOffset: int64(),
  lastFetchTimestamp: int64({ versions: '1+', default: -1 }),
  lastCaughtUpTimestamp: int64({ versions: '1+', default: -1 })
}

export const describeQuorum = api({
  key: 55,
  name: 'DescribeQuorum',
  versions: '0-2',
  flexible: '0+',
  request: {
    topics: array(struct({
      topicName: string(),
      partitions: array(struct({
        partitionIndex: int32()
      }))
    }))
  },
  response: {
    errorCode: int16(),
    errorMessage: string({ versions: '2+', nullable: '2+' }),
    topics: array(struct({
      topicName: string(),
      partitions: array(struct({
        partitionIndex: int32(),
        errorCode: int16(),
        errorMessage: string({ versions: '2+', nullable: '2+' }),
        leaderId: int32(),
        leaderEpoch: int32(),
        highWatermark: int64(),
        currentVoters: array(struct(replicaState)),
        observers: array(struct(replicaState))
      }))
    })),
    nodes: array(struct({
      nodeId: int32({ versions: '2+' }),
      listeners: array(struct({
        name: string({ versions: '2+' }),
        host: string({ versions: '2+' }),
        port: uint16({ versions: '2+' })
      }), { versions: '2+' })
    }), { versions: '2+' })
  }
})
