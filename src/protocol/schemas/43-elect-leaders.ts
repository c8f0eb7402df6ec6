import { api, array, int16, int32, int8, string, struct } from '../schema.js'

export const electLeaders = api({
  key: 43,
  name: 'ElectLeaders',
  versions: '0-2',
  flexible: '2+',
  request: {
    electionType: int8({ versions: '1+' }),
    topicPartitions: array(struct({
      topic: string(),
      partitions: array(int32())
    }), { nullable: '0+' }),
    timeoutMs: int32({ default: 60000 })
  },
  response: {
    throttleTimeMs: int32(),
    errorCode: int16({ versions: '1+' }),
    replicaElectionResults: array(struct({
      topic: string(),
      partitionResult: array(struct({
        partitionId: int32(),
        errorCode: int16(),
        errorMessage: string({ nullable: '0+' })
      }))
    }))
  }
})
