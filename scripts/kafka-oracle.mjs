/** Kafka's own codecs as an oracle: what its generated classes make of a message's bytes (scripts/DecodeFrames.java). */
import { spawn } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { system, javaBuild } from '../compat-tests/driver/prepare.mjs'
import { mavenClasspath } from './kafka-fetch.mjs'

export const ORACLE_VERSION = '4.4.0'
const artifacts = [`org.apache.kafka:kafka-clients:${ORACLE_VERSION}`, 'com.fasterxml.jackson.core:jackson-databind:2.21.2', 'org.slf4j:slf4j-nop:1.7.36']
const source = path.join(path.dirname(fileURLToPath(import.meta.url)), 'DecodeFrames.java')

/**
 * Decodes bodies `{ key, direction: 'request' | 'response', version, body: Buffer }`; one result for each: `{ value, written }` with the
 * value as Kafka's JSON and the bytes (hex) that Kafka writes for it, or `{ error }`.
 */
export async function decodeWithKafka (messages) {
  const libraries = await mavenClasspath(`kafka-oracle-${ORACLE_VERSION}`, artifacts)
  await system({ command: 'javac', package: 'openjdk-17-jdk-headless' })
  const classpath = await javaBuild('decode-frames', [source], libraries)
  const input = messages.map(({ key, direction, version, body }) => `${key} ${direction} ${version} ${body.toString('hex')}\n`).join('')
  const lines = (await pipe('java', ['-Xmx512m', '-XX:+UseSerialGC', '-cp', classpath, 'DecodeFrames'], input)).trimEnd().split('\n')
  if (lines.length !== messages.length) throw new Error(`${messages.length} messages, but ${lines.length} answers`)
  return lines.map((line) => {
    if (line.startsWith('error: ')) return { error: line.slice('error: '.length) }
    const [json, written] = line.split('\t')
    return { value: JSON.parse(json), written }
  })
}

function pipe (command, args, input) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    const chunks = []
    child.stdout.on('data', (chunk) => chunks.push(chunk))
    child.on('error', reject)
    child.on('close', (code) => code === 0 ? resolve(Buffer.concat(chunks).toString()) : reject(new Error(`${command} ended with ${code}`)))
    child.stdin.on('error', reject)
    child.stdin.end(input)
  })
}
