/** A broker in a process of its own, for what the kernel does to processes: `broker-child.mjs OPTIONS`. Prints its log, and its port as the first line. */
import { Broker } from './store.mjs'

const say = (level) => (fields, message) => console.log(`${level} ${message ?? fields}`)
const logger = { level: 'info', trace: () => {}, debug: () => {}, info: say('info'), warn: say('warn'), error: say('error'), fatal: say('fatal') }
const broker = await Broker.start({ ...JSON.parse(process.argv[2]), logger })
console.log(`ready ${broker.brokers[0].split(':').at(-1)} ${broker.storage?.name ?? ''}`)
process.on('SIGTERM', () => {
  broker.close().then(() => process.exit(0), (error) => {
    console.log(`error ${error.message}`)
    process.exit(1)
  })
})
