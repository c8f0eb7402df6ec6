/**
 * Members of different clients in one group: they join one after the other, one leaves, one is killed, while records keep coming. All
 * partitions must be covered again each time, and no record may be lost. With the assignor `range`, which all of them can speak, and
 * once more with `cooperative-sticky` (KIP-429) for those that say that they can.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerProcess } from '../brokers.mjs'
import { endGroup, run, start } from '../programs.mjs'
import { createTopic } from '../wire.mjs'

const GROUP_SIZE_MAX = 4
const PARTITION_COUNT = 8
const SESSION_TIMEOUT_MS = 6_000
const SETTLE_MS_MAX = 20_000
const ROUND_RECORD_COUNT = 200

export async function groups (clients, context) {
  const able = clients.filter(({ member }) => member !== false)
  if (able.length === 0) return
  const handCount = Math.ceil(able.length / GROUP_SIZE_MAX)
  const hands = Array.from({ length: handCount }, (_, hand) => able.filter((_, at) => at % handCount === hand))
  if (hands.at(-1).length === 1) hands.at(-1).push(able[0])
  const tables = hands.map((hand) => ({ hand, assignor: 'range' }))
  const cooperative = able.filter((client) => client.cooperative)
  if (cooperative.length > 1) tables.push({ hand: cooperative, assignor: 'cooperative-sticky' })
  await context.forAll(tables, 'groups', (table) => groupOf(table, context))
}

async function groupOf ({ hand, assignor }, context) {
  const title = hand.map(({ name }) => name).join(' + ') + (assignor === 'range' ? '' : `, ${assignor}`)
  const broker = await BrokerProcess.start(context.broker)
  const scene = new Scene(broker, hand[0], assignor)
  const check = (name, ok, detail, ms) => context.check('groups', 'groups', `${title}: ${name}`, ok, detail, ms)
  const settled = async (name, limitMs = SETTLE_MS_MAX) => {
    const { ms, ok } = await scene.settle(limitMs)
    check(name, ok, ok ? '' : scene.describe(), ms)
  }
  try {
    await createTopic(broker.port, scene.topic, PARTITION_COUNT)
    const writing = scene.write()
    for (const client of hand) {
      scene.join(client)
      await settled(`${client.name} joins, all partitions covered`)
    }
    await scene.leave(scene.members[0])
    await settled(`${hand[0].name} leaves, all partitions covered`)
    if (scene.members.length > 1) {
      const victim = scene.members[0]
      await scene.kill(victim)
      await settled(`${victim.client.name} is killed, covered again after its session timeout of ${SESSION_TIMEOUT_MS} ms`, SESSION_TIMEOUT_MS + SETTLE_MS_MAX)
    }
    scene.stopWriting = true
    const writtenCount = await writing
    const missing = await scene.untilSeen(writtenCount)
    check('nothing lost', missing.length === 0, missing.length === 0 ? `${writtenCount} records, ${scene.repeatedCount} of them delivered again` : `${missing.length} of ${writtenCount} missing: ${missing.slice(0, 10)}; ${scene.describe()}`)
    check('no programs failed', scene.failures.length === 0, scene.failures.join('; '))
  } finally {
    for (const { child } of scene.members) endGroup(child)
    scene.stopWriting = true
    await broker.stop({ keep: context.keep })
  }
}

/** One group on one topic: who is in it, who has which partitions, what was written and what was seen. */
class Scene {
  topic = 'shared'
  members = []
  failures = []
  repeatedCount = 0
  stopWriting = false
  #broker
  #writer
  #assignor
  #seen = new Set()

  constructor (broker, writer, assignor) {
    this.#broker = broker
    this.#writer = writer
    this.#assignor = assignor
  }

  /** Writes records, a few at a time, until told to stop; resolves to how many. */
  async write () {
    let count = 0
    while (!this.stopWriting) {
      const result = await run(this.#writer, 'produce', {
        bootstrap: this.#broker.bootstrap, topic: this.topic, partitions: PARTITION_COUNT, writer: 'shared', ranges: `none:${count}:${count + ROUND_RECORD_COUNT}`
      })
      if (!result.ok) {
        this.failures.push(`${this.#writer.name}: ${result.problems}`)
        break
      }
      count += ROUND_RECORD_COUNT
      await sleep(300)
    }
    return count
  }

  join (client) {
    const member = { client, partitions: [], leaving: false }
    const options = { bootstrap: this.#broker.bootstrap, topic: this.topic, group: 'shared', sessiontimeout: SESSION_TIMEOUT_MS }
    if (this.#assignor !== 'range') options.assignor = this.#assignor
    const { child, output } = start(client, 'member', options, (line) => {
      const [kind, ...fields] = line.split(' ')
      if (kind === 'A') member.partitions = fields[0] ? fields[0].split(',').map(Number) : []
      if (kind === 'R') {
        const index = Number(fields[3])
        if (this.#seen.has(index)) this.repeatedCount++
        this.#seen.add(index)
      }
    })
    Object.assign(member, { child, output })
    output.ended.then((code) => {
      if (!member.leaving) this.failures.push(`${client.name} ended by itself with ${code}: ${(output.stdout.slice(-300) + output.stderr).slice(-1500)}`)
    })
    this.members.push(member)
  }

  async leave (member) {
    member.leaving = true
    member.child.stdin.end()
    const hurry = setTimeout(() => {
      this.failures.push(`${member.client.name} did not leave within 15 s`)
      endGroup(member.child)
    }, 15_000)
    await member.output.ended
    clearTimeout(hurry)
    this.members.splice(this.members.indexOf(member), 1)
  }

  async kill (member) {
    member.leaving = true
    endGroup(member.child)
    await member.output.ended
    this.members.splice(this.members.indexOf(member), 1)
  }

  /** Waits until every partition belongs to exactly one member and every member has one. */
  async settle (limitMs) {
    const startedAtMs = performance.now()
    for (;;) {
      const all = this.members.flatMap(({ partitions }) => partitions)
      const ok = all.length === PARTITION_COUNT && new Set(all).size === PARTITION_COUNT && this.members.every(({ partitions }) => partitions.length > 0)
      const ms = Math.round(performance.now() - startedAtMs)
      if (ok || ms > limitMs) return { ok, ms }
      await sleep(20)
    }
  }

  /** Waits until all records were seen; resolves to the indexes of those that were not. */
  async untilSeen (count) {
    const deadlineMs = performance.now() + SETTLE_MS_MAX
    while (this.#seen.size < count && performance.now() < deadlineMs) await sleep(50)
    return Array.from({ length: count }, (_, index) => index).filter((index) => !this.#seen.has(index))
  }

  describe () {
    return [...this.members.map(({ client, partitions }) => `${client.name} has ${partitions.join(',') || 'nothing'}`), ...this.failures].join('; ')
  }
}
