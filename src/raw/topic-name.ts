/**
 * Names of topics are any text; names of logs are folders. What is not `[A-Za-z0-9_-]` is written as `.` and two upper-case
 * hexadecimal digits per byte of UTF-8, so no topic has a name like those that this library keeps for itself.
 */
import { LogError } from '../log/log.js'

/** Where the positions of cursors are. */
export const CURSOR_LOG_NAME = '.cursors'
const LOG_NAME_BYTES_MAX = 255

/** Throws LogError 'malformed' for a name that cannot be kept. */
export function logNameOf (topic: string): string {
  if (typeof topic !== 'string' || topic === '') throw new LogError('malformed', `a topic's name is a text of at least one character, not ${JSON.stringify(topic) ?? String(topic)}`)
  if (/\p{Surrogate}/u.test(topic)) throw new LogError('malformed', `the topic's name ${JSON.stringify(topic)} is not well-formed Unicode`)
  const name = topic.replace(/[^A-Za-z0-9_-]/gu, (character) => [...Buffer.from(character)].map((byte) => `.${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''))
  if (name.length > LOG_NAME_BYTES_MAX) throw new LogError('malformed', `the topic's name is too long: '${name}' has ${name.length} bytes, at most ${LOG_NAME_BYTES_MAX} are allowed`)
  return name
}

/** undefined for a log that is no topic. */
export function topicNameOf (logName: string): string | undefined {
  if (!/^([A-Za-z0-9_-]|\.[0-9A-F]{2})+$/.test(logName)) return undefined
  try {
    return decodeURIComponent(logName.replaceAll('.', '%'))
  } catch {
    return undefined
  }
}
