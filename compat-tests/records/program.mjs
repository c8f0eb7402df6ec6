/**
 * What the client programs in JavaScript share: options, one JSON object as the last line, the loop of `consume` and `member`.
 * A program calls `runProgram({ create, produce, consume, member })`; each verb is given its options.
 */
import { parseExpectations, Verifier } from './records.mjs'

export const IDLE_LIMIT_MS = 30_000
const EXCESS_WAIT_MS = 300

export async function runProgram (verbs) {
  const [verb, ...rest] = process.argv.slice(2)
  const options = {}
  for (let at = 0; at + 1 < rest.length; at += 2) options[rest[at].replace(/^--/, '')] = rest[at + 1]
  if (options.partitions) options.partitions = Number(options.partitions)
  let result
  try {
    if (!verbs[verb]) throw new Error(`no verb ${verb}; there is ${Object.keys(verbs).join(', ')}`)
    result = { ok: true, ...(await verbs[verb](options)) }
  } catch (error) {
    result = { ok: false, problems: [String(error?.stack ?? error)] }
  }
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(result.ok ? 0 : 1))
}

/** What `consume` hands to the client's own loop: `take` for each record, `finished` resolves when it is time to commit and leave. */
export function expectRecords ({ expect, partitions }) {
  const verifier = new Verifier(parseExpectations(expect), partitions)
  let finish
  const finished = new Promise((resolve) => { finish = resolve })
  let timer = setTimeout(finish, IDLE_LIMIT_MS)
  let counted = 0
  return {
    finished,
    take (partition, offset, key, value, headers) {
      verifier.take(partition, offset, key, value, headers)
      if (verifier.complete || ++counted % 1000 === 0) {
        clearTimeout(timer)
        timer = setTimeout(finish, verifier.complete ? EXCESS_WAIT_MS : IDLE_LIMIT_MS)
      }
    },
    result: () => verifier.result()
  }
}

/** Output of `member`. */
export const memberOutput = {
  assigned (partitions) {
    process.stdout.write(`A ${[...partitions].sort((a, b) => a - b).join(',')}\n`)
  },
  record (partition, offset, key, value) {
    const [writer, index] = (value ?? key).toString('latin1').split(':', 2)
    process.stdout.write(`R ${partition} ${offset} ${writer} ${index}\n`)
  }
}

/** Resolves when stdin ends: the driver's word for `leave now`. */
export function untilTold () {
  return new Promise((resolve) => {
    process.stdin.on('end', resolve)
    process.stdin.on('close', resolve)
    process.stdin.resume()
  })
}
