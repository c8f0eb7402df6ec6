import { api, array, bool, int16, int32, int64, int8, string, struct } from '../schema.js'

export const writeTxnMarkers = api({
  key: 27,
  name: 'WriteTxnMarkers',
  versions: '1-2',
  flexible: '1+',
  request: {
    markers: array(struct({
      producerId: int64(),
      producerEpoch: int16(),
      transactionResult: bool(),
      topics: array(struct({
        name: string(),
        partitionIndexes: array(int32())
      })),
      coordinatorEpoch: int32(),
      transactionVersion: int8({ versions: '2+', default: 0 })
    }))
  },
  response: {
    markers: array(struct({
      producerId: int64(),
      topics: array(struct({
        name: string(),
        partitions: array(struct({
          partitionIndex: int32(),
          errorCode: int16()
        }))
      }))
    }))
  }
})
