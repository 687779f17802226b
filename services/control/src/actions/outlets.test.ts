import { type TargetConfig, TargetSchema } from '@brink/protocol';
import { createTestClock } from '@brink/runtime';
import { describe, expect, it } from 'vitest';
import type { AttemptOutcome, LeasedAction } from '../ledger/records.ts';
import { createOutlets } from './outlets.ts';

const target = (name: string) => TargetSchema.parse({ webhook: `https://${name}.example/` });
const targets = (count: number): Record<string, TargetConfig> =>
  Object.fromEntries(Array.from({ length: count }, (_, n) => [`t${n}`, target(`t${n}`)]));

function open(all: Record<string, TargetConfig>) {
  const clock = createTestClock();
  const named = { ...all };
  const outlets = createOutlets({ inFlightMax: 100 }, { clock, random: () => 0.5, targets: () => named });
  const begin = (outlet: string, times: number) => {
    for (let n = 0; n < times; n++) outlets.began(action(outlet));
  };
  return { clock, outlets, begin, named };
}

const action = (outlet: string, askedMs = 0): LeasedAction => ({
  ...{ id: 'x~r~0', kind: 'webhook', decision: 'x', target: outlet.slice(3), outlet, at_ms: 0, asked_ms: askedMs },
  ...{ config: { webhook: { target: outlet.slice(3), body: {}, expires_ms: 1000 } } },
  ...{ attempt: 1, expires_ms: 0, leased_until_ms: 0 },
});
const failed: AttemptOutcome = { id: 'x', attempt: 1, result: 'failed', code: 'E_TIMEOUT', detail: '', retryMs: 0 };
const acked: AttemptOutcome = { id: 'x', attempt: 1, result: 'acked', status: 200 };
const dead = (code: string): AttemptOutcome => ({ id: 'x', attempt: 1, result: 'dead', code, detail: '' });

describe('the room of the outlets', () => {
  it('is never more than there is, and each has room for one, though all others hang', () => {
    const { outlets, begin } = open(targets(50));
    // All but one hang with as many as they get, and the broker too.
    for (;;) {
      const { limit, rooms } = outlets.rooms(true);
      const greedy = Object.entries(rooms).find(([outlet, room]) => outlet !== 'to:t49' && room > 0 && limit > 0);
      if (greedy === undefined) break;
      begin(greedy[0], 1);
    }
    expect(outlets.inFlight).toBeLessThan(100);
    expect(outlets.rooms(true)).toMatchObject({ rooms: { 'to:t49': 1 } });
    begin('to:t49', 1);
    expect(outlets.inFlight).toBeLessThanOrEqual(100);
  });

  it('of MQTT is what HTTP does not take, and none while the broker is away', () => {
    const { outlets, begin } = open(targets(50));
    for (let n = 0; n < 50; n++) begin(`to:t${n}`, outlets.rooms(true).rooms[`to:t${n}`] ?? 0);
    expect(outlets.inFlight).toBeLessThanOrEqual(60);
    expect(outlets.rooms(true).rooms['mqtt']).toBeGreaterThanOrEqual(40);
    expect(outlets.rooms(false).rooms['mqtt']).toBe(0);
  });
});

describe('a target', () => {
  it('is left alone for twice as long each time, at most a minute, and is as before once it answers', async () => {
    const { outlets, clock } = open(targets(1));
    const attempt = (outcome: AttemptOutcome) => {
      outlets.began(action('to:t0'));
      outlets.ended(action('to:t0'), outcome);
    };
    for (let n = 0; n < 4; n++) attempt(failed);
    expect(outlets.rooms(true).rooms['to:t0']).toBe(4);
    for (const waitMs of [5000, 10_000, 20_000, 40_000, 60_000, 60_000]) {
      attempt(failed);
      expect(outlets.rooms(true).rooms['to:t0']).toBe(0);
      expect(outlets.nextMs()).toBe(waitMs);
      await clock.advance(waitMs);
      expect(outlets.rooms(true).rooms['to:t0']).toBe(1);
    }
    attempt(acked);
    expect([outlets.rooms(true).rooms['to:t0'], outlets.nextMs()]).toEqual([4, undefined]);
  });

  it('that asks for time gets it, and no more than five minutes', () => {
    for (const [asked, waits] of [
      [30_000, 30_000],
      [86_400_000, 300_000],
    ] as const) {
      const { outlets } = open(targets(1));
      outlets.began(action('to:t0'));
      outlets.ended(action('to:t0'), failed, asked);
      expect(outlets.nextMs()).toBe(waits);
    }
  });

  it('that refuses a message is there; one whose address is not allowed says nothing of it', () => {
    const { outlets } = open(targets(1));
    const attempt = (outcome: AttemptOutcome) => {
      outlets.began(action('to:t0'));
      outlets.ended(action('to:t0'), outcome);
    };
    for (let n = 0; n < 4; n++) attempt(failed);
    attempt(dead('E_SSRF_BLOCKED'));
    expect(outlets.states()['t0']?.failures).toBe(4);
    attempt(dead('E_ACTION_REFUSED'));
    expect(outlets.states()['t0']?.failures).toBe(0);
  });

  it('that is gone is there again under another URL', async () => {
    const { outlets, clock, named } = open(targets(1));
    outlets.began(action('to:t0'));
    outlets.ended(action('to:t0'), dead('E_TARGET_GONE'));
    const goneAt = clock.now();
    expect(() => outlets.check(action('to:t0', goneAt))).toThrow('E_TARGET_GONE');
    expect(() => outlets.check(action('to:t0', goneAt + 1))).not.toThrow();
    named['t0'] = target('elsewhere');
    expect(() => outlets.check(action('to:t0', goneAt))).not.toThrow();
    expect(outlets.states()['t0']?.state).toBe('closed');
  });
});
