import { api, array, bool, float64, int16, int32, string, struct } from '../schema.js'

export const alterClientQuotas = api({
  key: 49,
  name: 'AlterClientQuotas',
  versions: '0-1',
  flexible: '1+',
  request: {
    entries: array(struct({
      entity: array(struct({
        entityType: string(),
        entityName: string({ nullable: '0+' })
      })),
      ops: array(struct({
        key: string(),
        value: float64(),
        remove: bool()
      }))
    })),
    validateOnly: bool()
  },
  response: {
    throttleTimeMs: int32(),
    entries: array(struct({
      errorCode: int16(),
      errorMessage: string({ nullable: '0+' }),
      entity: array(struct({
        entityType: string(),
        entityName: string({ nullable: '0+' })
      }))
    }))
  }
})
