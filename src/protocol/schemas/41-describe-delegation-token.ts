import { api, array, bytes, int16, int32, int64, string, struct } from '../schema.js'

export const describeDelegationToken = api({
  key: 41,
  name: 'DescribeDelegationToken',
  versions: '1-3',
  flexible: '2+',
  request: {
    owners: array(struct({
      principalType: string(),
      principalName: string()
    }), { nullable: '0+' })
  },
  response: {
    errorCode: int16(),
    tokens: array(struct({
      principalType: string(),
      principalName: string(),
      tokenRequesterPrincipalType: string({ versions: '3+' }),
      tokenRequesterPrincipalName: string({ versions: '3+' }),
      issueTimestamp: int64(),
      expiryTimestamp: int64(),
      maxTimestamp: int64(),
      tokenId: string(),
      hmac: bytes(),
      renewers: array(struct({
        principalType: string(),
        principalName: string()
      }))
    })),
    throttleTimeMs: int32()
  }
})
