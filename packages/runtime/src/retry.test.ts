import { BrinkError } from '@brink/protocol';
import { describe, expect, test } from 'vitest';
import { createTestClock } from './clock.ts';
import { type Part, startAll, stopAll } from './part.ts';
import { cancelled, createBackoff, fullJitter, wait } from './retry.ts';

const take = (count: number, waits: Generator<number>) => Array.from({ length: count }, () => waits.next().value);

describe('full jitter', () => {
  test('doubles its ceiling up to the cap', () => {
    expect(
      take(
        6,
        fullJitter({ baseMs: 100, capMs: 1000 }, () => 1),
      ),
    ).toEqual([100, 200, 400, 800, 1000, 1000]);
  });

  test('draws from all of [0, ceiling)', () => {
    expect(
      take(
        3,
        fullJitter({ baseMs: 100, capMs: 1000 }, () => 0),
      ),
    ).toEqual([0, 0, 0]);
    expect(
      take(
        2,
        fullJitter({ baseMs: 100, capMs: 1000 }, () => 0.5),
      ),
    ).toEqual([50, 100]);
  });

  test('keeps to a cap below its base, and does not overflow', () => {
    expect(
      take(
        2,
        fullJitter({ baseMs: 100, capMs: 10 }, () => 1),
      ),
    ).toEqual([10, 10]);
    expect(
      take(
        5000,
        fullJitter({ baseMs: 1, capMs: 7 }, () => 1),
      ).at(-1),
    ).toBe(7);
  });
});

describe('the waits of something that is kept up', () => {
  test('begin again only after it was up for a second', async () => {
    const clock = createTestClock();
    const backoff = createBackoff({ baseMs: 10, capMs: 1000 }, { clock, random: () => 1 });
    expect([backoff.next(), backoff.next()]).toEqual([10, 20]);
    backoff.up();
    await clock.advance(999);
    expect(backoff.next()).toBe(40);
    backoff.up();
    await clock.advance(1000);
    expect([backoff.next(), backoff.next()]).toEqual([10, 20]);
  });
});

describe('waiting', () => {
  test('takes the time of its clock', async () => {
    const clock = createTestClock();
    let done = false;
    const waiting = wait(100, clock).then(() => {
      done = true;
    });
    await clock.advance(99);
    expect(done).toBe(false);
    await clock.advance(1);
    await waiting;
    expect(clock.monotonic()).toBe(100);
  });

  test('ends at once with E_CANCELLED when the signal aborts, and leaves no timer', async () => {
    const clock = createTestClock();
    const caller = new AbortController();
    const waiting = wait(100, clock, caller.signal);
    caller.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'E_CANCELLED' });
    await expect(wait(100, clock, caller.signal)).rejects.toMatchObject({ code: 'E_CANCELLED' });
  });

  test('hands on the reason of the abort where it is one of ours, and time-outs as E_TIMEOUT', () => {
    const caller = new AbortController();
    caller.abort(new BrinkError('E_EXPIRED', 'late'));
    expect(cancelled(caller.signal).code).toBe('E_EXPIRED');
    const timed = new AbortController();
    timed.abort(new DOMException('too slow', 'TimeoutError'));
    expect(cancelled(timed.signal).code).toBe('E_TIMEOUT');
  });
});

describe('the test clock', () => {
  test('fires in the order of due times, also what is set on the way', async () => {
    const clock = createTestClock(1000);
    const fired: string[] = [];
    clock.setTimeout(() => fired.push('b'), 20);
    clock.setTimeout(() => {
      fired.push(`a at ${clock.now()}`);
      clock.setTimeout(() => fired.push('a2'), 5);
    }, 10);
    clock.clearTimeout(clock.setTimeout(() => fired.push('never'), 1));
    await clock.advance(30);
    expect(fired).toEqual(['a at 1010', 'a2', 'b']);
    expect(clock.now()).toBe(1030);
  });
});

describe('parts', () => {
  const parts = (log: string[], failing?: string): Part[] =>
    ['a', 'b', 'c'].map((name) => ({
      start: async () => {
        log.push(`start ${name}`);
        if (name === failing) throw new BrinkError('E_PORT', name);
      },
      stop: async () => {
        log.push(`stop ${name}`);
        if (name === failing) throw new BrinkError('E_INTERNAL', name);
      },
    }));
  const never = new AbortController().signal;

  test('start in order and stop in reverse', async () => {
    const log: string[] = [];
    const all = parts(log);
    await startAll(all, never);
    await stopAll(all);
    expect(log).toEqual(['start a', 'start b', 'start c', 'stop c', 'stop b', 'stop a']);
  });

  test('that fail take back those before them', async () => {
    const log: string[] = [];
    await expect(startAll(parts(log, 'b'), never)).rejects.toMatchObject({ code: 'E_PORT' });
    expect(log).toEqual(['start a', 'start b', 'stop b', 'stop a']);
  });

  test('are all stopped, even when one cannot', async () => {
    const log: string[] = [];
    await expect(stopAll(parts(log, 'b'))).rejects.toMatchObject({ code: 'E_INTERNAL' });
    expect(log).toEqual(['stop c', 'stop b', 'stop a']);
  });

  test('are not started after the signal', async () => {
    const log: string[] = [];
    const gone = AbortSignal.abort();
    await expect(startAll(parts(log), gone)).rejects.toMatchObject({ code: 'E_CANCELLED' });
    expect(log).not.toContain('start a');
  });
});
