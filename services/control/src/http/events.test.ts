import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { Decision } from '@brink/protocol';
import { createRegistry, createTestClock, silentLogger } from '@brink/runtime';
import { expect, test } from 'vitest';
import type { CommittedDecision, DecisionQuery, LedgerReads } from '../ledger/records.ts';
import { createMetrics } from '../metrics.ts';
import { createEvents } from './events.ts';

const MB = 1024 * 1024;

/** @param bytes how long it is as text, about */
function committed(n: number, fields: Partial<Decision> = {}, bytes = 0): CommittedDecision {
  const decision = { n, device: 'cam-1', stream: 'front', pipeline: 'pets', outcome: 'decided', ...fields } as Decision;
  return { decision, json: JSON.stringify({ ...decision, text: 'x'.repeat(bytes) }) };
}

function setUp(stored: CommittedDecision[] = []) {
  const clock = createTestClock();
  const registry = createRegistry('control');
  const metrics = createMetrics(registry);
  const decisions = ({ after = 0, limit }: DecisionQuery) =>
    Promise.resolve({
      items: stored
        .map(({ json }) => JSON.parse(json) as Decision)
        .filter(({ n }) => n > after)
        .slice(0, limit),
    });
  const read = () => ({ decisions }) as unknown as LedgerReads;
  const events = createEvents({ clock, logger: silentLogger, metrics, read });
  return { clock, registry, events };
}

/** Without a socket it keeps all that is written, as one does whose client reads nothing. */
class Unread extends ServerResponse {
  readonly texts: string[] = [];
  constructor() {
    super(new IncomingMessage(new Socket()));
  }
  override write(chunk: unknown): boolean {
    this.texts.push(String(chunk));
    return super.write(chunk);
  }
}

test('ten thousand clients that never read hold no more than their share, and give their places to who comes', async () => {
  const { events, registry } = setUp();
  const there: Unread[] = [];
  let refused = 0;
  for (let i = 0; i < 10_000; i++) {
    const caller = `10.0.0.${i % 4}`;
    try {
      events.admit(caller);
    } catch (error) {
      expect(error).toMatchObject({ code: 'E_BUSY' });
      refused += 1;
      continue;
    }
    const response = new Unread();
    events.add(response, caller, {}, undefined);
    there.push(response);
  }
  expect([there.length, refused]).toEqual([200, 9800]);
  for (let n = 1; n <= 100; n++) events.decisions([committed(n, {}, 64 * 1024)]);
  const queued = there.map(({ writableLength }) => writableLength);
  // 6.4 MB were offered to each.
  expect(Math.max(...queued)).toBeLessThan(MB / 2);
  expect(queued.reduce((a, b) => a + b)).toBeLessThan(80 * MB);
  expect(await registry.metrics()).toMatch(/events_lagged_total\{[^}]*\} 200/);

  events.admit('10.0.0.9');
  expect(there.filter(({ destroyed }) => destroyed)).toHaveLength(1);
});

test('nobody alone takes all places', () => {
  const { events } = setUp();
  const listen = (caller: string) => {
    events.admit(caller);
    events.add(new Unread(), caller, {}, undefined);
  };
  for (let i = 0; i < 100; i++) listen('10.0.0.1');
  expect(() => listen('10.0.0.1')).toThrow(/E_BUSY.*same token or address/);
  listen('10.0.0.2');
});

test('one that has not read for a minute is sent away, one that reads again is told what it missed', async () => {
  const { events, clock } = setUp();
  events.start();
  const [never, again] = [new Unread(), new Unread()];
  for (const response of [never, again]) events.add(response, 'a', {}, undefined);
  for (let n = 1; n <= 20; n++) events.decisions([committed(n, {}, 100_000)]);
  Object.defineProperty(again, 'writableLength', { value: 0 });
  events.decisions([committed(21)]);
  expect(again.texts.at(-2)).toBe('event: lagged\ndata: {"missed":9,"last":11}\n\n');
  expect(again.texts.at(-1)).toContain('id: 21\n');
  await clock.advance(70_000);
  expect([never.destroyed, again.destroyed]).toEqual([true, false]);
  events.stop();
});

test('what is read from the ledger waits for the reader instead of being lost', async () => {
  const { events, clock } = setUp(Array.from({ length: 600 }, (_, i) => committed(i + 1, {}, 10_000)));
  const response = new Unread();
  events.add(response, 'a', {}, 100);
  await clock.advance(1);
  const sent = () => response.texts.filter((text) => text.startsWith('id:'));
  expect(sent().length).toBeLessThan(150);
  Object.defineProperty(response, 'writableLength', { value: 0, configurable: true });
  response.emit('drain');
  await clock.advance(1);
  expect(sent().map((text) => Number(/id: (\d+)/.exec(text)?.[1]))).toEqual(
    Array.from({ length: 500 }, (_, i) => i + 101),
  );
  expect(response.texts.join('')).not.toContain('lagged');
});

test.each([
  [{ device: 'cam-2' }, [2]],
  [{ pipeline: 'article' }, [3]],
  [{ label: 'cat' }, [4, 5]],
  [{ label: 'cat', score_min: 0.6 }, [5]],
  [{ outcome: 'dead' as const }, [6]],
])('a client that asks for %j hears of those alone', (filter, expected) => {
  const { events } = setUp();
  const response = new Unread();
  events.add(response, 'a', filter, undefined);
  events.decisions([
    committed(1, { score: 0.9, label: 'dog' }),
    committed(2, { device: 'cam-2' }),
    committed(3, { pipeline: 'article' }),
    committed(4, { label: 'cat', score: 0.5 }),
    committed(5, { label: 'cat', score: 0.7 }),
    committed(6, { outcome: 'dead' }),
  ]);
  const heard = response.texts.filter((text) => text.startsWith('id:'));
  expect(heard.map((text) => Number(/id: (\d+)/.exec(text)?.[1]))).toEqual(expected);
});
