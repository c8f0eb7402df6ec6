/**
 * `npm test [-- TAP'S ARGUMENTS]`: runs tap without its module hooks. They watch every module that a test loads, for coverage and mocks, of
 * which nothing is used here, and cost each of the test processes as much as loading the modules does.
 */
import { spawnSync } from 'node:child_process'

const WITHOUT_HOOKS = `import module, { syncBuiltinESMExports } from 'node:module'
module.register = () => {}
syncBuiltinESMExports()`

const env = { ...process.env, NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import=data:text/javascript,${encodeURIComponent(WITHOUT_HOOKS)}`.trim() }
const { status, error } = spawnSync('tap', process.argv.slice(2), { stdio: 'inherit', env })
if (error !== undefined) throw error
process.exitCode = status ?? 1
