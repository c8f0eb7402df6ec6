import { api, array, int16, int32, int8, string, struct } from '../schema.js'

export const findCoordinator = api({
  key: 10,
  name: 'FindCoordinator',
  versions: '0-6',
  flexible: '3+',
  request: {
    key: string({ versions: '0-3' }),
    keyType: int8({ versions: '1+', default: 0 }),
    coordinatorKeys: array(string(), { versions: '4+' })
  },
  response: {
    throttleTimeMs: int32({ versions: '1+' }),
    errorCode: int16({ versions: '0-3' }),
    errorMessage: string({ versions: '1-3', nullable: '1-3' }),
    nodeId: int32({ versions: '0-3' }),
    host: string({ versions: '0-3' }),
    port: int32({ versions: '0-3' }),
    coordinators: array(struct({
      key: string({ versions: '4+' }),
      nodeId: int32({ versions: '4+' }),
      host: string({ versions: '4+' }),
      port: int32({ versions: '4+' }),
      errorCode: int16({ versions: '4+' }),
      errorMessage: string({ versions: '4+', nullable: '4+' })
    }), { versions: '4+' })
  }
})
