import { api, array, int16, int32, int64, int8, records, string, struct, uuid } from '../schema.js'

export const fetch = api({
  key: 1,
  name: 'Fetch',
  versions: '4-18',
  flexible: '12+',
  request: {
    clusterId: string({ versions: '12+', nullable: '12+', tag: 0, default: null }),
    replicaId: int32({ versions: '0-14', default: -1 }),
    replicaState: struct({
      replicaId: int32({ versions: '15+', default: -1 }),
      replicaEpoch: int64({ versions: '15+', default: -1 })
    }, { versions: '15+', tag: 1 }),
    maxWaitMs: int32(),
    minBytes: int32(),
    maxBytes: int32({ versions: '3+', default: 0x7fffffff }),
    isolationLevel: int8({ versions: '4+', default: 0 }),
    sessionId: int32({ versions: '7+', default: 0 }),
    sessionEpoch: int32({ versions: '7+', default: -1 }),
    topics: array(struct({
      topic: string({ versions: '0-12' }),
      topicId: uuid({ versions: '13+' }),
      partitions: array(struct({
        partition: int32(),
        currentLeaderEpoch: int32({ versions: '9+', default: -1 }),
        fetchOffset: int64({ clamp: true }),
        lastFetchedEpoch: int32({ versions: '12+', default: -1 }),
        logStartOffset: int64({ versions: '5+', default: -1, clamp: true }),
        partitionMaxBytes: int32(),
        replicaDirectoryId: uuid({ versions: '17+', tag: 0 }),
        highWatermark: int64({ versions: '18+', tag: 1, default: Number.MAX_SAFE_INTEGER, clamp: true })
      }))
    })),
    forgottenTopicsData: array(struct({
      topic: string({ versions: '7-12' }),
      topicId: uuid({ versions: '13+' }),
      partitions: array(int32(), { versions: '7+' })
    }), { versions: '7+' }),
    rackId: string({ versions: '11+', default: '' })
  },
  response: {
    throttleTimeMs: int32({ versions: '1+' }),
    errorCode: int16({ versions: '7+' }),
    sessionId: int32({ versions: '7+', default: 0 }),
    responses: array(struct({
      topic: string({ versions: '0-12' }),
      topicId: uuid({ versions: '13+' }),
      partitions: array(struct({
        partitionIndex: int32(),
        errorCode: int16(),
        highWatermark: int64(),
        lastStableOffset: int64({ versions: '4+', default: -1 }),
        logStartOffset: int64({ versions: '5+', default: -1 }),
        divergingEpoch: struct({
          epoch: int32({ versions: '12+', default: -1 }),
          endOffset: int64({ versions: '12+', default: -1 })
        }, { versions: '12+', tag: 0 }),
        currentLeader: struct({
          leaderId: int32({ versions: '12+', default: -1 }),
          leaderEpoch: int32({ versions: '12+', default: -1 })
        }, { versions: '12+', tag: 1 }),
        snapshotId: struct({
          endOffset: int64({ default: -1 }),
          epoch: int32({ default: -1 })
        }, { versions: '12+', tag: 2 }),
        abortedTransactions: array(struct({
          producerId: int64({ versions: '4+' }),
          firstOffset: int64({ versions: '4+' })
        }), { versions: '4+', nullable: '4+' }),
        preferredReadReplica: int32({ versions: '11+', default: -1 }),
        records: records({ nullable: '0+' })
      }))
    })),
    nodeEndpoints: array(struct({
      nodeId: int32({ versions: '16+' }),
      host: string({ versions: '16+' }),
      port: int32({ versions: '16+' }),
      rack: string({ versions: '16+', nullable: '16+', default: null })
    }), { versions: '16+', tag: 0 })
  }
})
