/** What the parts of the contract share. */
import type { Test } from 'tap'
import { LogError, type FlushPolicy, type Log, type LogErrorCode, type LogStore } from '../../src/log/log.js'
import { entriesOf, entry } from './entries.js'

export interface StoreUnderTest {
  readonly name: string
  readonly reopens: boolean
  /** Who opens a folder that is open joins its store. */
  readonly shared?: boolean
  /** Default `disk`. */
  readonly place?: 'disk' | 'memory'
  readonly open: (folder: string, flushPolicy?: FlushPolicy) => Promise<LogStore>
}

/** Registers a test on a store in a folder of its own. */
export type Register = (name: string, body: (t: Test, store: LogStore, folder: string) => Promise<void>) => void

export const ALL = { bytesMax: 100_000_000 }

/** The code of the LogError that a call ends with, at once or later. */
export async function codeOf (call: () => unknown): Promise<LogErrorCode | undefined> {
  try {
    await call()
    return undefined
  } catch (error) {
    if (error instanceof LogError) return error.code
    throw error
  }
}

export async function appendAll (log: Log, entries: readonly Buffer[]): Promise<void> {
  await Promise.all(entries.map((entry) => log.append(entry)).map(async ({ committed }) => await committed))
}

export const numbered = (count: number, from = 0, bytes = 100): Buffer[] => Array.from({ length: count }, (_, index) => entry({ id: from + index, bytes }))
export const ids = async (log: Log, offset = log.startOffset): Promise<number[]> => entriesOf(await log.read(offset, ALL)).map(({ id }) => id)
export const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, index) => from + index)
export const boundaries = (log: Log): (number | boolean)[][] => log.segments().map(({ baseOffset, endOffset, sealed }) => [baseOffset, endOffset, sealed])
