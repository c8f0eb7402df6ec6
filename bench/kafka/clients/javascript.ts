/** The clients written in JavaScript, each in a process of its own: kafkajs, and @platformatic/kafka on the newer Node that it wants. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { orLeftOut } from '../../store/measurement.js'
import { ROOT } from '../../store/tools.js'
import { output } from '../programs.js'
import { npmInstall } from '../tools.js'

export type JavaScriptClient = 'kafkajs' | 'platformatic'

export interface JavaScriptFigures {
  readonly records: number
  readonly bytes: number
  /** Warm-up included. */
  readonly wholeBytes: number
  readonly seconds: number
}

export async function javaScript (client: JavaScriptClient, verb: 'produce' | 'consume', settings: Readonly<Record<string, string | number>>): Promise<JavaScriptFigures> {
  const packages = await orLeftOut(`${client} cannot be installed here`, async () => await npmInstall(path.join(ROOT, 'compat-tests', client)))
  const newer = path.join(packages, `node_modules/node-linux-${process.arch}/bin/node`)
  const node = client === 'platformatic' && existsSync(newer) ? newer : process.execPath
  return JSON.parse(await output(node, [path.join(ROOT, 'bench/kafka/clients/javascript.mjs'), client, verb, JSON.stringify(settings), packages])) as JavaScriptFigures
}
