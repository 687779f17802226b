import { BrinkError } from '@brink/protocol';
import { type Clock, wait } from '@brink/runtime';

// What is done to frames on their way from where they come to where they go, whatever they are.

/**
 * Until the signal aborts, even while the source gives nothing, as stdin that nobody writes into.
 * @throws BrinkError E_TIMEOUT where nothing has come for `idleMs`
 */
export async function* until<T>(
  source: AsyncIterable<T>,
  d: { signal: AbortSignal; clock: Clock; idleMs?: number },
): AsyncGenerator<T, void> {
  const { signal, clock, idleMs = 0 } = d;
  const from = source[Symbol.asyncIterator]();
  // One that is settled and thrown away at each turn: a bridge that runs for months must not collect anything on the signal.
  let turn = Promise.withResolvers<IteratorResult<T, unknown>>();
  const onAbort = () => turn.resolve({ done: true, value: undefined });
  signal.addEventListener('abort', onAbort);
  try {
    while (!signal.aborted) {
      turn = Promise.withResolvers();
      const { resolve, reject } = turn;
      from.next().then(resolve, reject);
      const silent = () => reject(new BrinkError('E_TIMEOUT', `nothing came for ${idleMs} ms (--idle-ms)`));
      const timer = idleMs > 0 ? clock.setTimeout(silent, idleMs) : undefined;
      const { done, value } = await turn.promise.finally(() => timer !== undefined && clock.clearTimeout(timer));
      if (done === true) return;
      yield value;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    // Not awaited: it may be in the middle of a read that never ends.
    Promise.resolve(from.return?.()).catch(() => {});
  }
}

/** Each when it is due: by the clock, so that what the sending takes does not add up. */
export async function* paced<T extends { readonly ms?: number }>(
  source: AsyncIterable<T>,
  { fps, fast }: { fps?: number; fast?: boolean },
  d: { signal: AbortSignal; clock: Clock },
): AsyncGenerator<T, void> {
  let dueMs: number | undefined;
  for await (const frame of source) {
    dueMs ??= d.clock.monotonic();
    const ms = dueMs - d.clock.monotonic();
    if (ms > 0) await wait(ms, d.clock, d.signal).catch(() => {});
    if (d.signal.aborted) return;
    yield frame;
    dueMs += fast === true ? 0 : fps === undefined ? (frame.ms ?? 0) : 1000 / fps;
  }
}

/** The newest that there is; those that nobody asked for meanwhile are left out. The source never waits. */
export async function* newestOf<T>(source: AsyncIterable<T>, leftOut: () => void): AsyncGenerator<T, void> {
  let waiting: { one: T } | undefined;
  let end: { error?: unknown } | undefined;
  let told = Promise.withResolvers<void>();
  const read = async () => {
    for await (const one of source) {
      if (waiting !== undefined) leftOut();
      waiting = { one };
      told.resolve();
    }
  };
  read()
    .then(() => (end = {}))
    .catch((error: unknown) => (end = { error }))
    .finally(() => told.resolve());
  for (;;) {
    const next = waiting;
    if (next === undefined) {
      if (end !== undefined) break;
      told = Promise.withResolvers();
      await told.promise;
      continue;
    }
    waiting = undefined;
    yield next.one;
  }
  if ('error' in end) throw end.error;
}

/** At most so many. */
export async function* atMost<T>(source: AsyncIterable<T>, count = Number.POSITIVE_INFINITY): AsyncGenerator<T, void> {
  let left = count;
  for await (const one of source) {
    yield one;
    left -= 1;
    if (left <= 0) return;
  }
}
