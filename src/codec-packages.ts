/** Loads a codec's package when bytes must first be opened: most brokers never need one, and none fails to start for lack of one. */
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const loaded = new Map<string, unknown>()

/** The codec is not on this machine: nothing is wrong with the bytes. The message says what to install. */
export class CodecUnavailableError extends Error {
  override readonly name = 'CodecUnavailableError'
}

/** The first of a package's `modules` that loads, once for the whole process. */
export function loadCodec<T> (packageName: string, ...modules: readonly string[]): T {
  const known = loaded.get(modules[0]!)
  if (known !== undefined) return known as T
  const errors: unknown[] = []
  for (const module of modules) {
    try {
      const found: unknown = require(module)
      loaded.set(modules[0]!, found)
      return found as T
    } catch (error) {
      errors.push(error)
    }
  }
  throw new CodecUnavailableError(`${packageName} is not installed: npm install ${packageName}`, { cause: errors[0] })
}
