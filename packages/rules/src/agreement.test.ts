import { describe, expect, it } from 'vitest';
import { decision, play, rule, shut, T0 } from './engine.testing.ts';
import { addVote, agreeing, NO_VOTES, type Votes } from './votes.ts';

const scene = { pipeline: 'scene' };
const both = (change: Record<string, unknown> = {}) =>
  rule({ on: ['pets', 'scene'], quorum: { pipelines: 2, within_ms: 2000 }, on_release: [shut], ...change });

describe('a quorum of pipelines', () => {
  it('acts when both agree within the time, and says who did', () => {
    const flap = play(both());
    expect(flap.see(0, 'cat')).toEqual([]);
    const seen = decision(2, 2000, { label: 'cat', ...scene });
    const [action] = flap.run({ kind: 'decision', decision: seen, receivedMs: T0 + 2000, nowMs: T0 + 2000 });
    expect(action?.because.quorum).toEqual({ of: 'pipeline', at_least: 2, within_ms: 2000, agree: ['pets', 'scene'] });
  });

  it('does not when the other was too long ago, or has changed its mind', () => {
    const late = play(both());
    late.see(0, 'cat');
    expect(late.see(2001, 'cat', scene)).toEqual([]);
    const changed = play(both());
    changed.see(0, 'cat');
    changed.see(100, 'dog');
    expect(changed.see(200, 'cat', scene)).toEqual([]);
  });

  it('counts one pipeline once, however often it says so', () => {
    const flap = play(both());
    for (let at = 0; at < 10; at++) expect(flap.see(at * 10, 'cat')).toEqual([]);
  });

  it('is released when it is lost', () => {
    const flap = play(both());
    flap.see(0, 'cat');
    expect(flap.see(100, 'cat', scene)).toHaveLength(1);
    expect(flap.see(200, 'cat')).toEqual([]);
    expect(flap.see(300, 'dog', scene)).toHaveLength(1);
    expect(flap.at()?.state).toBe('idle');
  });

  it('does not take an older decision for a change of mind', () => {
    const flap = play(both());
    flap.see(500, 'cat');
    flap.see(400, 'dog');
    expect(flap.see(600, 'cat', scene)).toHaveLength(1);
  });

  it('goes together with `for`', () => {
    const flap = play(both({ for: { at_least: 2, of: 2 } }));
    expect([0, 100, 200].map((at) => flap.see(at, 'cat', at === 100 ? scene : {}).length)).toEqual([0, 0, 1]);
  });

  it('works on when the clock is set back by a day', () => {
    const flap = play(both());
    flap.see(0, 'cat');
    flap.see(100, 'dog', scene);
    flap.see(-86_400_000, 'dog');
    flap.see(-86_400_000 + 100, 'cat');
    expect(flap.see(-86_400_000 + 3000, 'cat')).toEqual([]);
    expect(flap.see(-86_400_000 + 3100, 'cat', scene)).toHaveLength(1);
  });
});

describe('a rule with one machine for all', () => {
  it('has a key that can be named', () => {
    const flap = play(rule({ by: [] }));
    flap.see(0, 'cat');
    flap.see(1, 'cat', { device: 'cam-2' });
    expect([...flap.saved.keys()]).toEqual(['*']);
  });
});

describe('a quorum of devices', () => {
  const three = rule({ by: [], quorum: { devices: 3, within_ms: 1000 } });

  it('acts when so many devices agree', () => {
    const flap = play(three);
    expect(flap.see(0, 'cat', { device: 'cam-1' })).toEqual([]);
    expect(flap.see(100, 'cat', { device: 'cam-2' })).toEqual([]);
    expect(flap.see(200, 'cat', { device: 'cam-1' })).toEqual([]);
    expect(flap.see(300, 'cat', { device: 'cam-3' })).toHaveLength(1);
  });

  it('remembers a bounded number of them, those that agree longest', () => {
    let votes: Votes = NO_VOTES;
    for (let at = 0; at < 1000; at++) votes = addVote(votes, `cam-${at}`, at, at % 4 === 0, 1e9);
    expect(votes.list).toHaveLength(256);
    expect(agreeing(votes)).toHaveLength(250);
  });
});
