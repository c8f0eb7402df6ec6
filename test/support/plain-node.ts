/**
 * Node processes as they are outside of tests. What the test runner loads into every process that a test starts, and into all its
 * threads, takes several times as long as most of them live, and is not what users have.
 */

/** An environment without the settings of whoever runs the tests, and without what the test runner loads into every process. */
export const plainEnvironment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(KAFKA_|HAULOUT_|CLUSTER_ID$|NODE_OPTIONS$|_?TAP)/.test(name)))

/** Options of a Worker: it takes NODE_OPTIONS of its environment whatever its execArgv says. */
export const PLAIN_WORKER = { execArgv: [], env: plainEnvironment }

/** Arguments of env(1) before a command: the runner's spawn() sets NODE_OPTIONS whatever the environment says. */
export const PLAIN: readonly string[] = ['-u', 'NODE_OPTIONS']

/** The same before a program for Node. */
export const PLAIN_NODE: readonly string[] = [...PLAIN, process.execPath]
