import { api, array, bytes, int16, int32, int8, string, struct } from '../schema.js'

export const alterUserScramCredentials = api({
  key: 51,
  name: 'AlterUserScramCredentials',
  versions: '0',
  flexible: '0+',
  request: {
    deletions: array(struct({
      name: string(),
      mechanism: int8()
    })),
    upsertions: array(struct({
      name: string(),
      mechanism: int8(),
      iterations: int32(),
      salt: bytes(),
      saltedPassword: bytes()
    }))
  },
  response: {
    throttleTimeMs: int32(),
    results: array(struct({
      user: string(),
      errorCode: int16(),
      errorMessage: string({ nullable: '0+' })
    }))
  }
})
