/** A promise, and the functions that settle it. A rejection that nobody handles is not reported as unhandled: whoever wants to know has the promise. */
export interface Deferred {
  readonly promise: Promise<void>
  readonly resolve: (value: void | Promise<void>) => void
  readonly reject: (error: unknown) => void
}

export function deferred (): Deferred {
  let resolve!: Deferred['resolve']
  let reject!: Deferred['reject']
  const promise = new Promise<void>((...functions) => { [resolve, reject] = functions })
  promise.catch(ignore)
  return { promise, resolve, reject }
}

function ignore (): void {}
