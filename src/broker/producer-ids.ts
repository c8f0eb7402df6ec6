/** Producer ids that are never given twice, across restarts (KIP-98). */
export interface ProducerIds {
  next (): Promise<number>
}
