import { api, array, bool, int16, int32, int64, string, struct } from '../schema.js'

export const apiVersions = api({
  key: 18,
  name: 'ApiVersions',
  versions: '0-5',
  flexible: '3+',
  request: {
    clientSoftwareName: string({ versions: '3+' }),
    clientSoftwareVersion: string({ versions: '3+' }),
    clusterId: string({ versions: '5+', nullable: '5+', default: null }),
    nodeId: int32({ versions: '5+', default: -1 })
  },
  response: {
    errorCode: int16(),
    apiKeys: array(struct({
      apiKey: int16(),
      minVersion: int16(),
      maxVersion: int16()
    })),
    throttleTimeMs: int32({ versions: '1+' }),
    supportedFeatures: array(struct({
      name: string({ versions: '3+' }),
      minVersion: int16({ versions: '3+' }),
      maxVersion: int16({ versions: '3+' })
    }), { versions: '3+', tag: 0 }),
    finalizedFeaturesEpoch: int64({ versions: '3+', tag: 1, default: -1 }),
    finalizedFeatures: array(struct({
      name: string({ versions: '3+' }),
      maxVersionLevel: int16({ versions: '3+' }),
      minVersionLevel: int16({ versions: '3+' })
    }), { versions: '3+', tag: 2 }),
    zkMigrationReady: bool({ versions: '3+', tag: 3, default: false })
  }
})
