import { createTestClock, systemClock, wait } from '@brink/runtime';
import { expect, test } from 'vitest';
import { atMost, newestOf, paced, until } from './flow.ts';

async function* counting(count: number): AsyncGenerator<{ n: number; ms: number }> {
  for (let n = 1; n <= count; n++) yield { n, ms: 100 };
}
const never = new AbortController().signal;

test('frames at a pace are due by the clock, not so long after the last one was sent', async () => {
  for (const [pace, expected] of [
    [{}, [0, 100, 200, 300]],
    [{ fps: 4 }, [0, 250, 500, 750]],
    [{ fast: true }, [0, 30, 60, 90]],
  ] as const) {
    const clock = createTestClock();
    const times: number[] = [];
    const sending = (async () => {
      for await (const _ of paced(counting(4), pace, { signal: never, clock })) {
        times.push(clock.monotonic());
        // Sending takes time too.
        await wait(30, clock);
      }
    })();
    let sent = false;
    sending.then(() => (sent = true)).catch(() => {});
    while (!sent) await clock.advance(10);
    expect(times).toEqual(expected);
  }
});

test('the newest is what there is when it is asked for, and those before it are counted', async () => {
  let left = 0;
  const newest = newestOf(counting(5), () => (left += 1));
  const first = await newest.next();
  await new Promise((resolve) => setImmediate(resolve));
  const rest: number[] = [];
  for await (const { n } of newest) rest.push(n);
  expect(rest.at(-1) ?? first.value?.n).toBe(5);
  expect(1 + rest.length + left).toBe(5);
});

test('what goes wrong at the source reaches who asks, after what came before it', async () => {
  async function* failing() {
    yield 1;
    throw new Error('the pipe broke');
  }
  const seen: number[] = [];
  const reading = (async () => {
    for await (const one of newestOf(failing(), () => {})) seen.push(one);
  })();
  await expect(reading).rejects.toThrow('the pipe broke');
  expect(seen).toEqual([1]);
});

test('a source that gives nothing is left when the signal says so, and told to end', async () => {
  let ended = false;
  const silent: AsyncIterable<number> = {
    [Symbol.asyncIterator]: () => ({
      next: () => new Promise(() => {}),
      return: async () => {
        ended = true;
        return { done: true, value: undefined };
      },
    }),
  };
  const stop = new AbortController();
  const reading = until(silent, { signal: stop.signal, clock: systemClock }).next();
  stop.abort();
  expect(await reading).toEqual({ done: true, value: undefined });
  expect(ended).toBe(true);
  await expect(until(silent, { signal: never, clock: systemClock, idleMs: 5 }).next()).rejects.toMatchObject({
    code: 'E_TIMEOUT',
  });
});

test('at most so many are taken of a source', async () => {
  const taken: number[] = [];
  for await (const { n } of atMost(counting(9), 3)) taken.push(n);
  expect(taken).toEqual([1, 2, 3]);
});
