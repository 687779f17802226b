import { describe, expect, it } from 'vitest';
import { decision, play, rule, shut, T0 } from './engine.testing.ts';

const silent = (change: Record<string, unknown> = {}) =>
  rule({ when: undefined, absent_ms: 60_000, on_release: [shut], ...change });

describe('silence', () => {
  it('is noted when it lasted, in the name of the last decision, and ended by the next one', () => {
    const flap = play(silent());
    flap.see(0, 'cat');
    flap.see(30_000, 'dog');
    expect(flap.at()).toMatchObject({ state: 'arming', sinceMs: T0, dueMs: T0 + 90_000 });
    expect(flap.tick(89_999)).toEqual([]);
    const [action] = flap.run({ kind: 'tick', dueMs: T0 + 91_000, nowMs: T0 + 91_000 });
    expect(action).toMatchObject({
      ...{ id: `cam-1.front.k3v9.2.0.pets~flap~cam-1~${T0 + 90_000}~0`, phase: 'then', fate: 'pending' },
      because: { absent_ms: 60_000, timer_due: new Date(T0 + 90_000).toISOString(), condition: { holds: false } },
    });
    expect(flap.tick(900_000)).toEqual([]);
    expect(flap.see(1_000_000, 'cat')).toEqual(['cam-1.front.k3v9.3.0.pets~flap~1']);
    expect(flap.at()).toMatchObject({ state: 'arming', dueMs: T0 + 1_060_000 });
    expect(flap.tick(1_060_000)).toHaveLength(1);
  });

  it('is not one where only the order of arrival differs', () => {
    const flap = play(silent());
    flap.see(30_000, 'cat');
    flap.see(10_000, 'cat');
    expect(flap.at()?.dueMs).toBe(T0 + 90_000);
  });

  it('is broken by the decision that comes in time, though no tick came in between', () => {
    const flap = play(silent());
    flap.see(0, 'cat');
    expect(flap.see(59_999, 'cat')).toEqual([]);
    // One millisecond later its timer is due first.
    expect(flap.see(119_999, 'cat').map((name) => name.split('~').length)).toEqual([5, 3]);
  });

  it('may be that of what the condition says: decisions without it do not count, and do not end it', () => {
    const flap = play(silent({ when: 'decision.label == "cat"' }));
    flap.see(0, 'dog');
    expect(flap.at()?.dueMs).toBe(T0 + 60_000);
    flap.see(10_000, 'cat');
    flap.see(50_000, 'dog');
    expect(flap.tick(69_999)).toEqual([]);
    expect(flap.tick(70_000)).toHaveLength(1);
    expect(flap.see(80_000, 'dog')).toEqual([]);
    expect(flap.see(90_000, 'cat')).toHaveLength(1);
  });

  it('has a release of its own where one is given', () => {
    const flap = play(silent({ release: { when: 'decision.score > 0.95' } }));
    flap.see(0, 'cat');
    flap.tick(60_000);
    expect(flap.see(70_000, 'cat')).toEqual([]);
    expect(flap.see(80_000, 'cat', { score: 0.99 })).toHaveLength(1);
  });

  it('of one device is not broken by another', () => {
    const flap = play(silent());
    flap.see(0, 'cat');
    flap.see(50_000, 'cat', { device: 'cam-2' });
    expect(flap.tick(60_000)).toHaveLength(1);
  });

  it('that begins outside of `between` is noted when the window opens', () => {
    const flap = play(silent({ between: '22:30-23:00' }), { timezone: 'UTC' });
    flap.see(0, 'cat');
    expect(flap.tick(61_000)).toEqual([]);
    const opens = Date.parse('2023-11-14T22:30:00Z') - T0;
    expect(flap.at()).toMatchObject({ state: 'arming', dueMs: T0 + opens });
    expect(flap.tick(opens - 1)).toEqual([]);
    expect(flap.tick(opens)).toHaveLength(1);
  });

  it('that was noted long after it was due is suppressed', () => {
    const flap = play(silent());
    flap.see(0, 'cat');
    const [action] = flap.run({ kind: 'tick', dueMs: T0 + 86_400_000, nowMs: T0 + 86_400_000 });
    expect(action).toMatchObject({ fate: 'suppressed', error: { code: 'E_ACTION_STALE' } });
    expect(flap.see(86_400_001, 'cat')).toEqual([]);
  });

  it('that was noted too late is told when it lasts as long again', () => {
    const flap = play(silent({ on_release: [shut] }));
    flap.see(0, 'cat');
    const day = 86_400_000;
    expect(flap.tick(day)).toHaveLength(1);
    expect(flap.tick(day + 59_999)).toEqual([]);
    const [told, ...more] = flap.run({ kind: 'tick', dueMs: T0 + day + 60_000, nowMs: T0 + day + 60_100 });
    expect([told?.fate, told?.decision, more]).toEqual(['pending', 'cam-1.front.k3v9.1.0.pets', []]);
    expect(flap.tick(2 * day)).toEqual([]);
    expect(flap.see(2 * day + 1, 'cat')).toHaveLength(1);
  });

  it('whose end came too late is ended by the next decision', () => {
    const flap = play(silent({ on_release: [shut] }));
    flap.see(0, 'cat');
    expect(flap.tick(60_000)).toHaveLength(1);
    const late = decision(2, 70_000);
    const [end] = flap.run({ kind: 'decision', decision: late, receivedMs: T0 + 70_000, nowMs: T0 + 90_000 });
    expect(end?.fate).toBe('suppressed');
    expect(flap.see(91_000, 'cat')).toHaveLength(1);
    expect(flap.see(92_000, 'cat')).toEqual([]);
  });

  it('is watched on, and not for a day too long, when the clock is set back by a day', () => {
    const day = 86_400_000;
    const flap = play(silent());
    flap.see(-7 * day, 'cat');
    flap.see(0, 'cat');
    flap.see(-day, 'cat');
    flap.see(-day + 1000, 'cat');
    expect(flap.at()?.dueMs).toBe(T0 - day + 61_000);
    expect(flap.tick(-day + 61_000)).toHaveLength(1);
  });
});
