import { api, array, int16, int32, int64, records, string, struct, uuid } from '../schema.js'

export const produce = api({
  key: 0,
  name: 'Produce',
  versions: '3-13',
  flexible: '9+',
  request: {
    transactionalId: string({ versions: '3+', nullable: '3+', default: null }),
    acks: int16(),
    timeoutMs: int32(),
    topicData: array(struct({
      name: string({ versions: '0-12' }),
      topicId: uuid({ versions: '13+' }),
      partitionData: array(struct({
        index: int32(),
        records: records({ nullable: '0+' })
      }))
    }))
  },
  response: {
    responses: array(struct({
      name: string({ versions: '0-12' }),
      topicId: uuid({ versions: '13+' }),
      partitionResponses: array(struct({
        index: int32(),
        errorCode: int16(),
        baseOffset: int64(),
        logAppendTimeMs: int64({ versions: '2+', default: -1 }),
        logStartOffset: int64({ versions: '5+', default: -1 }),
        recordErrors: array(struct({
          batchIndex: int32({ versions: '8+' }),
          batchIndexErrorMessage: string({ versions: '8+', nullable: '8+', default: null })
        }), { versions: '8+' }),
        errorMessage: string({ versions: '8+', nullable: '8+', default: null }),
        currentLeader: struct({
          leaderId: int32({ versions: '10+', default: -1 }),
          leaderEpoch: int32({ versions: '10+', default: -1 })
        }, { versions: '10+', tag: 0 })
      }))
    })),
    throttleTimeMs: int32({ versions: '1+', default: 0 }),
    nodeEndpoints: array(struct({
      nodeId: int32({ versions: '10+' }),
      host: string({ versions: '10+' }),
      port: int32({ versions: '10+' }),
      rack: string({ versions: '10+', nullable: '10+', default: null })
    }), { versions: '10+', tag: 0 })
  }
})
