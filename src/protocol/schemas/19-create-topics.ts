import { api, array, bool, int16, int32, int8, string, struct, uuid } from '../schema.js'

export const createTopics = api({
  key: 19,
  name: 'CreateTopics',
  versions: '2-7',
  flexible: '5+',
  request: {
    topics: array(struct({
      name: string(),
      numPartitions: int32(),
      replicationFactor: int16(),
      assignments: array(struct({
        partitionIndex: int32(),
        brokerIds: array(int32())
      })),
      configs: array(struct({
        name: string(),
        value: string({ nullable: '0+' })
      }))
    })),
    timeoutMs: int32({ default: 60000 }),
    validateOnly: bool({ versions: '1+', default: false })
  },
  response: {
    throttleTimeMs: int32({ versions: '2+' }),
    topics: array(struct({
      name: string(),
      topicId: uuid({ versions: '7+' }),
      errorCode: int16(),
      errorMessage: string({ versions: '1+', nullable: '0+' }),
      topicConfigErrorCode: int16({ versions: '5+', tag: 0 }),
      numPartitions: int32({ versions: '5+', default: -1 }),
      replicationFactor: int16({ versions: '5+', default: -1 }),
      configs: array(struct({
        name: string({ versions: '5+' }),
        value: string({ versions: '5+', nullable: '5+' }),
        readOnly: bool({ versions: '5+' }),
        configSource: int8({ versions: '5+', default: -1 }),
        isSensitive: bool({ versions: '5+' })
      }), { versions: '5+', nullable: '5+' })
    }))
  }
})
