/** The logger of a broker that was given none: says nothing, and spares the process loading a logging library. */
import type { Logger } from 'pino'

const nothing = (): void => {}

const silent = { level: 'silent', fatal: nothing, error: nothing, warn: nothing, info: nothing, debug: nothing, trace: nothing, silent: nothing, child: () => silent }

export const SILENT_LOGGER = silent as unknown as Logger
