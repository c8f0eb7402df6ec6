import { api, array, bool, int16, int32, string, struct } from '../schema.js'

export const createPartitions = api({
  key: 37,
  name: 'CreatePartitions',
  versions: '0-3',
  flexible: '2+',
  request: {
    topics: array(struct({
      name: string(),
      count: int32(),
      assignments: array(struct({
        brokerIds: array(int32())
      }), { nullable: '0+' })
    })),
    timeoutMs: int32(),
    validateOnly: bool()
  },
  response: {
    throttleTimeMs: int32(),
    results: array(struct({
      name: string(),
      errorCode: int16(),
      errorMessage: string({ nullable: '0+', default: null })
    }))
  }
})
