#!/usr/bin/env node
/** The `haulout` command: reads the arguments and hands over. Everything that costs time to load is loaded by the command that needs it. */
import { createRequire } from 'node:module'
import { Command, InvalidArgumentError, Option } from 'commander'
import { BACKEND_CHOICES, SEGMENT_COMPRESSIONS } from '../log/log.js'
import type { LogArguments } from './log-commands.js'
import type { StartArguments } from './start.js'

const { version } = createRequire(import.meta.url)('../../../package.json') as { version: string }

/** Those of log-commands.ts, which is loaded by the commands that need it. */
const LAYOUT_CHOICES = ['auto', 'record-batch', 'raw']

function parsePort (text: string): number {
  const port = Number(text)
  if (!/^\d+$/.test(text) || port > 65535) throw new InvalidArgumentError('A port is a number from 0 (any free one) to 65535.')
  return port
}

function collectOverride (text: string, before: Record<string, string>): Record<string, string> {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('Write name=value, e.g. num.partitions=4.')
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) }
}

const program = new Command('haulout')
  .description('The Kafka broker you npm install')
  .version(version)
  .showHelpAfterError('(haulout --help shows what there is)')

program.command('start')
  .description('start a broker and keep it running')
  .option('-p, --port <number>', 'TCP port; 0 takes a free one (default: 9092)', parsePort)
  .option('--host <address>', 'address to listen on (default: 127.0.0.1)')
  .option('--metrics-port <number>', 'TCP port of metrics and health over HTTP; 0 takes a free one (default: none)', parsePort)
  .option('-d, --data-dir <folder>', 'folder of the data, made if missing (default: ./haulout-data)')
  .option('--no-create-if-missing', 'refuse a folder that has no data yet: its disk may not be mounted')
  .addOption(new Option('--storage <kind>', 'memory keeps nothing').choices(['disk', 'memory']))
  .addOption(new Option('--backend <name>', 'I/O of the store on disk').choices(BACKEND_CHOICES))
  .addOption(new Option('--flush <policy>', 'when an acknowledgement is sent: each = when the records are on stable storage; or N ms, N bytes, none').argParser(parseFlush))
  .addOption(new Option('--segment-compression <codec>', 'compress sealed segments in the background (default: none)').choices(SEGMENT_COMPRESSIONS))
  .option('-c, --config <file>', "settings as in Kafka's server.properties")
  .option('-o, --override <name=value>', 'one setting; may be repeated', collectOverride, {})
  .addOption(new Option('--log-level <level>', 'least important log line to print (default: info)').choices(['debug', 'info', 'warn', 'error', 'silent']))
  .addHelpText('after', `
Settings come from the file, then from the environment (KAFKA_NUM_PARTITIONS=4 is num.partitions=4; HAULOUT_PORT, HAULOUT_DATA_DIR and so on
are the options above), then from the options: the last one counts.

Examples:
  haulout start                                   on 127.0.0.1:9092, data in ./haulout-data
  haulout start --port 0 --storage memory         on a free port, nothing kept
  haulout start -c server.properties -o num.partitions=4
  haulout start -o listeners=LOCAL://127.0.0.1:9092,ALL://0.0.0.0:9093 -o advertised.listeners=ALL://broker.lan:9093`)
  .action(async (options: StartArguments) => {
    const { start } = await import('./start.js')
    await start({ ...options, version })
  })

interface FolderArguments extends LogArguments { readonly to: string }

function addLogCommand (name: 'inspect' | 'verify' | 'salvage', description: string): Command {
  const command = logCommands.command(name).description(description)
    .argument('[folder]', 'data folder (default: HAULOUT_DATA_DIR, else ./haulout-data)')
    .option('--log <name>', 'only this log; a topic\'s are named <topic>-<partition>')
    .addOption(new Option('--layout <name>', 'how entries are laid out; auto finds it out from the entries').choices(LAYOUT_CHOICES).default('auto'))
    .option('--json', 'print one JSON object')
  if (name !== 'inspect') command.option('--while-in-use', 'do not refuse a folder that a process uses')
  return command.action(async (folder: string | undefined, given: FolderArguments) => {
    const commands = await import('./log-commands.js')
    await commands[name](folder ?? process.env['HAULOUT_DATA_DIR'] ?? './haulout-data', given)
  })
}

const logCommands = program.command('log').description('look at the logs of a data folder, check them, save what can be saved; nothing in it is changed')
addLogCommand('inspect', 'list logs, segments, offsets, recovery points and what stands behind the last entry')
addLogCommand('verify', 'read every entry and say what is damaged, where, what it means and what to do; exit code 2 if anything is')
addLogCommand('salvage', 'copy every valid entry into a new folder and say what was lost; exit code 2 if anything was')
  .requiredOption('--to <folder>', 'new folder, or an empty one')

function parseFlush (text: string): string {
  if (!/^(each|none|\d+ ?(ms|bytes))$/.test(text)) throw new InvalidArgumentError("Write each, none, or a number with its unit: 200ms, 65536bytes.")
  return text
}

await program.parseAsync()
