/** The classic consumer groups of this broker: members, generations, offsets. */
import type { Logger } from 'pino'
import type { BrokerConfig } from '../config/broker-config.js'
import type { Clock } from '../clock.js'
import type { Topics } from '../topics/topics.js'

export interface GroupCoordinator {
  /** Answers every member that waits, and stops. */
  close (): Promise<void>
}

export interface GroupCoordinatorOptions {
  readonly topics: Topics
  readonly config: BrokerConfig
  readonly clock: Clock
  readonly logger: Logger
}

export async function openGroupCoordinator (_options: GroupCoordinatorOptions): Promise<GroupCoordinator> {
  return { close: async () => {} }
}
