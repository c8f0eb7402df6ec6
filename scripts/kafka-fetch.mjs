/**
 * Fetches Java artifacts with all they need from Maven's repository, once, into the shared cache, and gives their class path.
 * As a command: `node scripts/kafka-fetch.mjs [group:artifact:version ...]`, by default Apache Kafka's server and tools.
 */
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { cached, execute, system } from '../compat-tests/driver/prepare.mjs'

export const KAFKA_VERSION = '4.3.1'
export const KAFKA_ARTIFACTS = [`org.apache.kafka:kafka_2.13:${KAFKA_VERSION}`, `org.apache.kafka:kafka-tools:${KAFKA_VERSION}`]

/** The class path of the artifacts and what they depend on. */
export async function mavenClasspath (name, artifacts) {
  const folder = await cached(`maven-${name}`, artifacts, async (target) => {
    await system({ command: 'mvn', package: 'maven' }, { command: 'java', package: 'openjdk-17-jre-headless' })
    await writeFile(path.join(target, 'pom.xml'), pom(artifacts))
    await execute('mvn', ['-q', '-B', 'dependency:copy-dependencies', '-DoutputDirectory=lib', '-DincludeScope=runtime'], { cwd: target })
  })
  return path.join(folder, 'lib/*')
}

function pom (artifacts) {
  const dependencies = artifacts.map((artifact) => {
    const [group, name, version] = artifact.split(':')
    return `<dependency><groupId>${group}</groupId><artifactId>${name}</artifactId><version>${version}</version></dependency>`
  })
  return `<project><modelVersion>4.0.0</modelVersion><groupId>haulout</groupId><artifactId>fetch</artifactId><version>1</version>
<packaging>pom</packaging><dependencies>${dependencies.join('')}</dependencies></project>`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const artifacts = process.argv.length > 2 ? process.argv.slice(2) : KAFKA_ARTIFACTS
  console.log(await mavenClasspath('kafka', artifacts))
}
