/** Work that is done by so many at the same time; the others follow in the order in which they came. */
export class Turns {
  private working = 0
  private readonly waiting: (() => void)[] = []

  constructor (private readonly workingMax: number) {}

  async take<T> (work: () => Promise<T>): Promise<T> {
    if (this.working >= this.workingMax) await new Promise<void>((resolve) => this.waiting.push(resolve))
    else this.working++
    try {
      return await work()
    } finally {
      const next = this.waiting.shift()
      if (next === undefined) this.working--
      else next()
    }
  }
}
