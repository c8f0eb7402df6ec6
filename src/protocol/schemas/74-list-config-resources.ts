import { api, array, int16, int32, int8, string, struct } from '../schema.js'

export const listConfigResources = api({
  key: 74,
  name: 'ListConfigResources',
  versions: '0-1',
  flexible: '0+',
  request: {
    resourceTypes: array(int8(), { versions: '1+' })
  },
  response: {
    throttleTimeMs: int32(),
    errorCode: int16(),
    configResources: array(struct({
      resourceName: string(),
      resourceType: int8({ versions: '1+', default: 16 })
    }))
  }
})
