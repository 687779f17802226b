import type { Decision, RuleConfig } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { compileRules } from './compile.ts';
import type { EmittedAction } from './emission.ts';
import { context, decision, id, open, play, rule, shut, T0 } from './engine.testing.ts';
import { adoptState, KEYS_MAX, type RuleEvent, reduce } from './engine.ts';
import { runRuleTests } from './rule-tests.ts';
import { type EngineState, emptyState, type KeyState, restoreState } from './state.ts';

describe('a rule without `for`', () => {
  it('acts when its condition begins to hold, once, and again after it stopped', () => {
    const flap = play(rule());
    expect(flap.see(0, 'dog')).toEqual([]);
    expect(flap.see(100, 'cat')).toEqual([id(2)]);
    expect(flap.see(200, 'cat')).toEqual([]);
    expect(flap.see(300, 'dog')).toEqual([]);
    expect(flap.see(400, 'cat')).toEqual([id(5)]);
  });

  it('tells what it saw with each action', () => {
    const flap = play(rule({ when: 'decision.label == "cat" && decision.score >= 0.6' }));
    const seen = decision(7, 50);
    const [action] = flap.run({ kind: 'decision', decision: seen, receivedMs: T0 + 50, nowMs: T0 + 62 });
    expect(action).toEqual({
      ...{ id: id(7), rule: 'flap', key: 'cam-1', phase: 'then', index: 0, decision: seen.id, n: 7, fate: 'pending' },
      config: { command: { device: 'feeder-1', name: 'open', args: {}, expires_ms: 10_000, ack: 'required' } },
      staleMs: T0 + 50 + 10_000,
      because: {
        ...{ rule: 'flap', key: 'cam-1', before: 'idle', after: 'active', age_ms: 12, stale_ms_max: 10_000 },
        condition: { field: 'when', text: 'decision.label == "cat" && decision.score >= 0.6', holds: true },
        values: { 'decision.label': 'cat', 'decision.score': 0.9 },
        ...{ at: new Date(T0 + 50).toISOString(), revision: 'c7f1a2000000' },
      },
    });
  });

  it('keeps one machine per key', () => {
    const flap = play(rule({ by: ['device', 'label'], when: 'decision.score > 0.5' }));
    expect(flap.see(0, 'a ~ b/é')).toEqual([id(1)]);
    expect(flap.see(1, 'x')).toEqual([id(2)]);
    expect(flap.see(2, 'x')).toEqual([]);
    expect(flap.see(3, 'x', { device: 'cam-2' })).toHaveLength(1);
    expect([...flap.saved.keys()]).toEqual(['cam-1:a%20%7E%20b%2F%C3%A9', 'cam-1:x', 'cam-2:x']);
  });

  it('keeps a key that would name a prototype apart from it', () => {
    const flap = play(rule({ by: ['label'], when: 'true' }));
    flap.see(0, '__proto__');
    expect(Object.keys(flap.state.rules.flap?.keys ?? {})).toEqual(['%5F_proto%5F_']);
  });
});

describe('for: n of m', () => {
  const twoOfThree = rule({ for: { at_least: 2, of: 3 } });

  it('acts on the decision that completes the count', () => {
    const flap = play(twoOfThree);
    expect(flap.see(0, 'cat')).toEqual([]);
    expect(flap.at()).toEqual({ state: 'arming', sinceMs: T0, history: '1' });
    expect(flap.see(100, 'dog')).toEqual([]);
    expect(flap.see(200, 'cat')).toEqual([id(3)]);
    expect(flap.at()).toEqual({ state: 'active', sinceMs: T0 + 200, emitted: true });
  });

  it('forgets what is older than the last m', () => {
    const flap = play(twoOfThree);
    const labels = ['cat', 'dog', 'dog', 'cat', 'dog', 'dog', 'cat'];
    expect(labels.flatMap((label, at) => flap.see(at, label))).toEqual([]);
    expect(flap.at()?.history).toBe('001');
  });

  it('wants fresh evidence after its release', () => {
    const flap = play(twoOfThree);
    expect(['cat', 'cat', 'dog', 'cat', 'cat'].map((label, at) => flap.see(at, label).length)).toEqual([0, 1, 0, 0, 1]);
  });

  it('lets a late decision count, but not act', () => {
    const flap = play(rule({ for: { at_least: 3, of: 5 } }));
    flap.see(100, 'cat');
    flap.see(200, 'cat');
    expect(flap.see(50, 'cat')).toEqual([]);
    expect(flap.at()?.history).toBe('111');
    expect(flap.see(300, 'dog')).toEqual([]);
    expect(flap.see(400, 'cat')).toEqual([id(5)]);
  });

  it('is bounded', () => {
    const flap = play(rule({ for: { at_least: 1000, of: 1000 } }));
    for (let at = 0; at < 1500; at++) flap.see(at, at % 2 ? 'cat' : 'dog');
    expect(flap.at()?.history).toHaveLength(1000);
  });
});

describe('for: ms', () => {
  const held = rule({ for: { ms: 1000 } });

  it('acts at the due time, in the name of the last decision that held', () => {
    const flap = play(held);
    flap.see(0, 'cat');
    flap.see(500, 'cat');
    expect(flap.tick(999)).toEqual([]);
    expect(flap.tick(3000)).toEqual([id(2, 0, `cam-1~${T0 + 1000}~`)]);
    expect(flap.at()?.sinceMs).toBe(T0 + 1000);
  });

  it('fires the timers of a key before its later decision', () => {
    const flap = play(held);
    flap.see(0, 'cat');
    expect(flap.see(1500, 'dog')).toEqual([id(1, 0, `cam-1~${T0 + 1000}~`)]);
    expect(flap.at()).toEqual({ state: 'idle', sinceMs: T0 + 1500 });
  });

  it('begins again when the condition stops holding', () => {
    const flap = play(held);
    flap.see(0, 'cat');
    flap.see(900, 'dog');
    flap.see(950, 'cat');
    expect(flap.tick(1949)).toEqual([]);
    expect(flap.tick(1950)).toHaveLength(1);
  });

  it("is not hurried by another device's frames", () => {
    const alone = play(held);
    const together = play(held);
    for (const flap of [alone, together]) flap.see(0, 'cat');
    together.see(1005, 'cat', { device: 'cam-2' });
    for (const flap of [alone, together]) expect(flap.see(995, 'dog')).toEqual([]);
    expect(together.at()).toEqual(alone.at());
  });

  it('fills templates from the decision it was armed by', () => {
    const command = {
      device: 'feeder-1',
      name: 'open',
      args: { score: '${decision.score}', text: '${device}: ${decision.label}' },
    };
    const flap = play(rule({ for: { ms: 1000 }, does: [{ command }] }));
    flap.see(0, 'cat', { score: 0.75 });
    const [action] = flap.run({ kind: 'tick', dueMs: T0 + 2000, nowMs: T0 + 2000 });
    expect(action?.config).toMatchObject({ command: { args: { score: 0.75, text: 'cam-1: cat' } } });
    expect(action?.because).toMatchObject({
      timer_due: new Date(T0 + 1000).toISOString(),
      values: { 'decision.label': 'cat' },
    });
  });
});

describe('release', () => {
  it('takes its own condition and its own time', () => {
    const flap = play(rule({ release: { when: 'decision.score < 0.4', ms: 1000 }, on_release: [shut] }));
    expect(flap.see(0, 'cat')).toEqual([id(1)]);
    expect(flap.see(100, 'dog', { score: 0.5 })).toEqual([]);
    expect(flap.at()?.state).toBe('active');
    flap.see(200, 'dog', { score: 0.3 });
    expect(flap.at()?.state).toBe('releasing');
    flap.see(300, 'dog', { score: 0.5 });
    expect(flap.at()?.state).toBe('active');
    flap.see(400, 'dog', { score: 0.3 });
    expect(flap.tick(1400)).toEqual([id(5, 1, `cam-1~${T0 + 1400}~`)]);
    expect(flap.at()).toEqual({ state: 'idle', sinceMs: T0 + 1400 });
  });

  it('undoes nothing that was not done', () => {
    const flap = play(rule({ on_release: [shut], cooldown_ms: 60_000 }));
    expect(flap.see(0, 'cat')).toEqual([id(1)]);
    expect(flap.see(1, 'dog')).toEqual([id(2, 1)]);
    expect(flap.see(2, 'cat')).toEqual([]);
    expect(flap.see(3, 'dog')).toEqual([]);
  });
});

describe('cooldown', () => {
  const cooled = rule({ cooldown_ms: 60_000 });
  const settle = (flap: ReturnType<typeof play>, n: number, change: 'sent' | 'unsent') =>
    flap.run({ kind: 'action', rule: 'flap', key: 'cam-1', id: id(n), change });

  it('holds from the action on', () => {
    const flap = play(cooled);
    const acted = [0, 10_000, 30_000, 59_999, 60_000].map((at) => {
      const ids = flap.see(at, 'cat');
      if (ids[0]) flap.run({ kind: 'action', rule: 'flap', key: 'cam-1', id: ids[0], change: 'sent' });
      flap.see(at, 'dog');
      return ids.length;
    });
    expect(acted).toEqual([1, 0, 0, 0, 1]);
  });

  it('is given back when the action ends without having been sent', () => {
    const flap = play(cooled);
    flap.see(0, 'cat');
    expect(flap.at()?.cooldown).toMatchObject({ untilMs: T0 + 60_000, open: [id(1)], sent: false });
    settle(flap, 1, 'unsent');
    expect(flap.at()?.cooldown).toBeUndefined();
    flap.see(1, 'dog');
    expect(flap.see(2, 'cat')).toHaveLength(1);
  });

  it('stays when one of several actions was sent', () => {
    const flap = play(rule({ cooldown_ms: 60_000, does: [open, shut] }));
    flap.see(0, 'cat');
    settle(flap, 1, 'sent');
    flap.run({ kind: 'action', rule: 'flap', key: 'cam-1', id: id(1, 1), change: 'unsent' });
    expect(flap.at()?.cooldown?.untilMs).toBe(T0 + 60_000);
  });
});

describe('an old trigger', () => {
  it('is recorded as suppressed and reserves no cooldown', () => {
    const flap = play(rule({ stale_ms_max: 5000, cooldown_ms: 60_000, on_release: [shut] }));
    const seen = decision(1, 0);
    const [action] = flap.run({ kind: 'decision', decision: seen, receivedMs: T0, nowMs: T0 + 5001 });
    expect(action).toMatchObject({ fate: 'suppressed', error: { code: 'E_ACTION_STALE' }, because: { age_ms: 5001 } });
    expect(flap.at()).toEqual({ state: 'active', sinceMs: T0, missed: true });
    expect(flap.see(1, 'dog')).toEqual([]);
  });

  it('is made up for by the first decision in time on which the condition still holds, once', () => {
    const flap = play(rule({ stale_ms_max: 5000, cooldown_ms: 60_000, on_release: [shut] }));
    const old = { kind: 'decision', decision: decision(1, 0), receivedMs: T0, nowMs: T0 + 20_000 } as const;
    expect(flap.run(old).map((action) => action.fate)).toEqual(['suppressed']);
    flap.see(14_000, 'cat', {}, 5001);
    const seen = decision(7, 19_990);
    const [made, ...more] = flap.run({ kind: 'decision', decision: seen, receivedMs: T0 + 19_990, nowMs: T0 + 20_000 });
    expect([made?.id, made?.fate, made?.because.before, more]).toEqual([id(7), 'pending', 'active', []]);
    expect(flap.see(20_100, 'cat')).toEqual([]);
    expect(flap.see(20_200, 'dog')).toHaveLength(1);
  });

  it('of a release leaves it to be made up for: by the first decision in time that says the same, once', () => {
    const flap = play(rule({ stale_ms_max: 5000, cooldown_ms: 60_000, on_release: [shut], release: { ms: 1000 } }));
    expect(flap.see(0, 'cat')).toEqual([id(1)]);
    flap.see(100, 'dog');
    // Nobody looked for a minute.
    const late = flap.run({ kind: 'tick', dueMs: T0 + 60_000, nowMs: T0 + 60_000 });
    expect(late.map(({ phase, fate }) => [phase, fate])).toEqual([['on_release', 'suppressed']]);
    expect(flap.at()).toMatchObject({ state: 'idle', emitted: true });
    flap.see(50_000, 'dog', {}, 10_010);
    // It holds again, within the cooldown: what was done stands.
    expect(flap.see(59_000, 'cat')).toEqual([]);
    flap.see(60_200, 'dog', {}, 6000);
    expect(flap.tick(67_000).length).toBe(1);
    expect(flap.at()).toMatchObject({ state: 'idle', emitted: true });
    const seen = decision(9, 70_000, { label: 'dog' });
    const made = flap.run({ kind: 'decision', decision: seen, receivedMs: T0 + 70_000, nowMs: T0 + 70_010 });
    expect(made.map(({ phase, fate, decision: of }) => [phase, fate, of])).toEqual([
      ['on_release', 'pending', seen.id],
    ]);
    expect(flap.see(70_100, 'dog')).toEqual([]);
    expect(flap.at()?.emitted).toBeUndefined();
  });

  it('may be as old as stale_ms_max', () => {
    const flap = play(rule({ stale_ms_max: 5000 }));
    const [action] = flap.run({ kind: 'decision', decision: decision(1, 0), receivedMs: T0, nowMs: T0 + 5000 });
    expect(action?.fate).toBe('pending');
  });
});

describe('a clock that was set back', () => {
  it('does not silence a rule until it is there again, and shortens nothing', () => {
    const flap = play(rule({ for: { ms: 1000 }, cooldown_ms: 60_000 }));
    const hourBack = -3_600_000;
    flap.see(0, 'cat');
    flap.see(hourBack, 'cat');
    expect(flap.at()).toMatchObject({ state: 'arming', sinceMs: T0 + hourBack + 10, dueMs: T0 + hourBack + 1010 });
    expect(flap.tick(hourBack + 1009)).toEqual([]);
    expect(flap.tick(hourBack + 1010)).toHaveLength(1);
  });

  it('is not what a gateway has whose clock is ahead', () => {
    const flap = play(rule({ for: { ms: 1000 } }));
    flap.see(0, 'cat', {}, -600_000);
    expect(flap.see(500, 'cat', {}, -600_000)).toEqual([]);
    expect(flap.see(1000, 'cat', {}, -600_000)).toHaveLength(1);
  });
});

describe('a cooldown', () => {
  const told = (change: 'sent' | 'unsent', atMs: number, action = id(1)): RuleEvent => ({
    ...{ kind: 'action', rule: 'flap', key: 'cam-1', id: action, change, nowMs: T0 + atMs },
  });
  const cooled = rule({ cooldown_ms: 10_000 });
  const acts = (flap: ReturnType<typeof play>, atMs: number) => {
    const ids = flap.see(atMs, 'cat');
    flap.see(atMs, 'dog');
    return ids.length;
  };

  it('counts from when the action really left', () => {
    const flap = play(cooled);
    acts(flap, 0);
    flap.run(told('sent', 4010));
    expect([10_000, 13_999, 14_000].map((at) => acts(flap, at))).toEqual([0, 0, 1]);
  });

  it('has not begun while nothing could be sent, but silences for a minute more at most', () => {
    const flap = play(cooled);
    acts(flap, 0);
    expect([10_000, 69_999, 70_000].map((at) => acts(flap, at))).toEqual([0, 0, 1]);
  });
});

describe('more keys than may be', () => {
  it('are forgotten in the same order after a restart', () => {
    const config = rule({ by: ['label'], when: 'decision.score > 0.5' });
    const twins = [play(config), play(config)] as const;
    for (let index = 0; index < KEYS_MAX; index++) {
      for (const twin of twins) {
        twin.see(index % 7, `l${index}`);
        if (index % 1000 === 999) twin.see(index % 7, `l${index}`, { score: 0.1 });
      }
    }
    const [before, twin] = twins;
    Object.assign(twin.state, restart(twin.state));
    for (const label of ['x', 'y']) for (const flap of twins) flap.see(KEYS_MAX, label);
    expect(bytesOf(twin.state)).toBe(bytesOf(before.state));
    expect(before.state.rules.flap?.errors).toBe(0);
  });

  it('make room by forgetting the one idle for longest; those at work stay', () => {
    const flap = play(rule({ by: ['label'], when: 'decision.score > 0.5' }));
    for (let index = 0; index <= KEYS_MAX; index++) {
      flap.see(index, `l${index}`);
      if (index === 7) flap.see(index, 'l7', { score: 0.1 });
    }
    const memory = flap.state.rules.flap;
    expect([memory?.size, Object.keys(memory?.keys ?? {}).length]).toEqual([KEYS_MAX, KEYS_MAX]);
    expect([memory?.keys.l7, memory?.keys.l6?.state]).toEqual([undefined, 'active']);
    expect(flap.see(20_000, 'one more')).toEqual([]);
    expect(memory).toMatchObject({ errors: 1, lastError: expect.stringContaining('more than 10000 keys') });
  });
});

describe('what cannot be evaluated', () => {
  it('counts as not holding, and is counted', () => {
    const flap = play(rule({ when: 'decision.values.temperature > 30.0' }));
    expect(flap.see(0, 'cat')).toEqual([]);
    expect(flap.state.rules.flap).toMatchObject({
      errors: 1,
      lastError: expect.stringContaining('when, column 10: No such key'),
    });
    expect(flap.see(1, 'cat', { values: { temperature: 31 } })).toHaveLength(1);
  });

  it('leaves out expired and dead units, unless the rule asks for them', () => {
    const { label: _, ...rest } = decision(1, 0);
    const expired: Decision = { ...rest, outcome: 'expired', error: { code: 'E_EXPIRED', detail: '' } };
    const event: RuleEvent = { kind: 'decision', decision: expired, receivedMs: T0, nowMs: T0 };
    const blind = play(rule());
    blind.see(-100, 'cat');
    expect(blind.run(event)).toEqual([]);
    expect(blind.at()?.state).toBe('active');
    expect(play(rule({ when: 'decision.outcome == "expired"' })).run(event)).toHaveLength(1);
  });

  it('records an action as dead that would be larger than what can be sent', () => {
    const args = { many: '${decision.objects.map(a, decision.objects.map(b, b.label))}' };
    const flap = play(rule({ does: [{ command: { ...open.command, args } }] }));
    const objects = Array.from({ length: 200 }, () => ({ label: 'cat', score: 0.9, box: [0, 0, 1, 1] as never }));
    const seen = decision(1, 0, { objects });
    const [action] = flap.run({ kind: 'decision', decision: seen, receivedMs: T0, nowMs: T0 });
    expect([action?.fate, action?.error?.code, action?.config]).toEqual([
      ...['dead', 'E_TOO_LARGE'],
      { command: expect.objectContaining({ args }) },
    ]);
  });

  it('records an action whose template has no value as dead', () => {
    const command = { device: 'feeder-1', name: 'open', args: { t: '${decision.values.t}' } };
    const flap = play(rule({ does: [{ command }, shut] }));
    const actions = flap.run({ kind: 'decision', decision: decision(1, 0), receivedMs: T0, nowMs: T0 });
    expect(actions.map((action) => [action.fate, action.error?.code])).toEqual([
      ['dead', 'E_RULE'],
      ['pending', undefined],
    ]);
  });
});

describe('previous', () => {
  it("is the key's last decision, and nothing before the first", () => {
    const flap = play(rule({ when: 'has(previous.label) && previous.label != decision.label' }));
    expect(['cat', 'cat', 'dog', 'dog', 'cat'].map((label, at) => flap.see(at, label).length)).toEqual([0, 0, 1, 0, 1]);
    expect(flap.at()?.previous).toEqual({ label: 'cat' });
  });
});

describe('a change of rules', () => {
  it('keeps the machines of rules whose meaning stayed', () => {
    const before = compileRules({ flap: rule(), gone: rule(), changed: rule() }, context);
    const after = compileRules({ flap: rule({ does: [shut] }), changed: rule({ for: { ms: 5 } }) }, context);
    const state = emptyState();
    reduce(state, { kind: 'decision', decision: decision(1, 0), receivedMs: T0, nowMs: T0 }, before);
    expect(Object.keys(adoptState(state, before, after).rules)).toEqual(['flap']);
  });
});

describe('names that every object of JavaScript has', () => {
  it.each(['constructor', 'cam-9'])('are names like others: %s', (name) => {
    const compiled = compileRules({ [name]: rule({ for: { ms: 500 }, cooldown_ms: 1000 }) }, context);
    const state = emptyState();
    const seen = [0, 600, 900].flatMap((atMs, n) => {
      const event = { receivedMs: T0 + atMs, nowMs: T0 + atMs };
      const { effects } = reduce(
        state,
        { kind: 'decision', decision: decision(n + 1, atMs, { device: name }), ...event },
        compiled,
      );
      return effects.map(({ kind }) => kind);
    });
    expect(seen.filter((kind) => kind === 'action')).toHaveLength(1);
    expect(restoreState([]).rules[name]).toBeUndefined();
    expect(restoreState([]).arming[name]).toBeUndefined();
  });

  it('are pipelines like others', () => {
    const on = { ...context, pipelines: ['constructor'], zones: {}, streams: {} };
    const tests = [{ name: 'it fires', given: [{ at_ms: 0, decision: { label: 'cat' } }], expect: [{}] }];
    const config = { flap: rule({ on: 'constructor', when: 'decision.stream == "stream"', tests }) };
    expect(runRuleTests(config, on).map(({ ok }) => ok)).toEqual([true]);
  });
});

// ---- properties ----

/** mulberry32 (https://gist.github.com/tommyettinger/46a874533244883189143505d203312c): a seed, the same run everywhere. */
function seeded(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const every: Record<string, RuleConfig> = {
  plain: rule({ cooldown_ms: 3000, on_release: [shut] }),
  count: rule({ for: { at_least: 2, of: 4 }, release: { when: 'decision.score < 0.3', ms: 400 }, on_release: [shut] }),
  held: rule({
    ...{ on: ['pets', 'scene'], for: { ms: 700 }, release: { ms: 300 }, stale_ms_max: 900 },
    does: [{ command: { device: 'feeder-1', name: 'open', args: { score: '${decision.score}' } } }],
  }),
  keyed: rule({
    by: ['stream', 'label'],
    when: 'decision.score > 0.5 && has(previous.label) && previous.label == "cat"',
  }),
  failing: rule({ when: 'decision.values.t > 1.0 || decision.label == "cat"', by: ['pipeline'] }),
  silent: rule({ when: undefined, absent_ms: 900, on_release: [shut], cooldown_ms: 2000 }),
  catless: rule({ absent_ms: 600, release: { when: 'decision.score > 0.5' }, between: '22:13-22:14' }),
  agreed: rule({ on: ['pets', 'scene'], quorum: { pipelines: 2, within_ms: 700 }, on_release: [shut] }),
  crowd: rule({ by: ['pipeline'], quorum: { devices: 2, within_ms: 500 }, for: { at_least: 2, of: 3 } }),
  timed: rule({ between: '22:13-22:14', for: { ms: 300 }, on_release: [shut] }),
};

/** Now and then the clock of the box is set: by a minute, by a day, forward and back. */
function jump(random: () => number): number {
  if (random() > 0.01) return 0;
  return (random() < 0.5 ? 60_000 : 86_400_000) * (random() < 0.5 ? 1 : -1);
}

function randomLog(seed: number, devices: string[], length = 300): RuleEvent[] {
  const random = seeded(seed);
  const pick = <T>(items: readonly T[]) => items[Math.floor(random() * items.length)] as T;
  const log: RuleEvent[] = [];
  let now = 0;
  for (let n = 1; n <= length; n++) {
    now += Math.floor(random() * 200) + jump(random);
    if (random() < 0.2) log.push({ kind: 'tick', dueMs: T0 + now, nowMs: T0 + now });
    const receivedMs = now - Math.floor(random() ** 4 * 2000);
    const fields = {
      device: pick(devices),
      label: pick(['cat', 'dog']),
      score: random(),
      pipeline: pick(['pets', 'scene']),
    };
    log.push({
      kind: 'decision',
      decision: decision(n, receivedMs, fields),
      receivedMs: T0 + receivedMs,
      nowMs: T0 + now,
    });
  }
  return log;
}

/** All that would be on disk, in one order. */
function bytesOf(state: EngineState): string {
  const rows = Object.entries(state.rules).flatMap(([name, { errors, lastError, keys }]) => [
    [name, errors, lastError],
    ...Object.entries(keys).map(([key, saved]) => [name, key, saved]),
  ]);
  return JSON.stringify([rows.map((row) => JSON.stringify(row)).sort(), state.timers]);
}

/** Effects of a log; actions' fates are fed back as the dispatcher would. @param between what happens to the state after each event */
function effectsOf(log: readonly RuleEvent[], between: (state: EngineState) => EngineState = (state) => state) {
  const compiled = compileRules(every, context);
  let state = emptyState();
  const effects: unknown[] = [];
  for (const event of log) {
    const reduced = reduce(state, event, compiled);
    effects.push(JSON.parse(JSON.stringify(reduced.effects)));
    for (const effect of reduced.effects) {
      if (effect.kind !== 'action' || effect.action.fate !== 'pending') continue;
      const { rule: name, key, id: action, n } = effect.action;
      const change = n % 3 === 0 ? 'unsent' : 'sent';
      const nowMs = 'nowMs' in event ? (event.nowMs ?? T0) + (n % 5) * 100 : T0;
      reduce(state, { kind: 'action', rule: name, key, id: action, change, nowMs }, compiled);
    }
    state = between(state);
  }
  effects.push(bytesOf(state));
  return effects;
}

/** Saved row by row and read again, in no particular order: what a restart does. */
function restart(state: EngineState): EngineState {
  const rows = Object.entries(state.rules).flatMap(([name, memory]) =>
    Object.entries(memory.keys).map(([key, saved]) => ({
      rule: name,
      key,
      state: JSON.parse(JSON.stringify(saved)) as KeyState,
    })),
  );
  const health = Object.entries(state.rules).map(([name, { errors, lastError }]) => ({
    ...{ rule: name, errors },
    ...(lastError === undefined ? {} : { lastError }),
  }));
  return restoreState(rows.reverse(), health);
}

const isAction = (effect: unknown) => typeof effect === 'object' && effect !== null && 'action' in effect;

const LONG = process.env.BRINK_TEST_SIZE === 'long';

describe('on random logs', () => {
  const seeds = Array.from({ length: LONG ? 25 : 5 }, (_, index) => index + 1);

  it.each(seeds)('the same log leads to the same effects, restarted after every event or not (seed %i)', (seed) => {
    const log = randomLog(seed, ['cam-1', 'cam-2', 'cam-3']);
    const once = effectsOf(log);
    expect(effectsOf(log, restart)).toEqual(once);
    expect(once.flat().filter((effect) => (effect as { kind: string }).kind === 'action').length).toBeGreaterThan(10);
  });

  it.each(seeds)('splitting it anywhere and restoring leaves the same bytes (seed %i)', (seed) => {
    const log = randomLog(seed, ['cam-1', 'cam-2'], 120);
    const whole = effectsOf(log);
    for (let at = seed; at < log.length; at += LONG ? 1 : 23) {
      let seen = 0;
      expect(effectsOf(log, (state) => (++seen === at ? restart(state) : state))).toEqual(whole);
    }
  });

  it('the negative control: bytes differ where one vote is lost', () => {
    const log = randomLog(2, ['cam-1', 'cam-2']);
    const forgetful = (state: EngineState): EngineState => {
      const again = restart(state);
      for (const [key, saved] of Object.entries(again.rules.agreed?.keys ?? {})) {
        const { votes: _, ...rest } = saved;
        (again.rules.agreed as { keys: Record<string, KeyState> }).keys[key] = rest;
      }
      return again;
    };
    expect(effectsOf(log, forgetful)).not.toEqual(effectsOf(log));
  });

  it('the negative control: a state that loses its timers in a restart gives other effects', () => {
    const log = randomLog(1, ['cam-1']);
    const forgetful = (state: EngineState): EngineState => ({ ...restart(state), timers: [] });
    expect(effectsOf(log, forgetful)).not.toEqual(effectsOf(log));
  });

  it.each(seeds.slice(0, 10))("adding a device never changes another's effects (seed %i)", (seed) => {
    const mixed = randomLog(seed, ['cam-1', 'cam-2']);
    const alone = mixed.filter(
      (event) => event.kind === 'tick' || (event.kind === 'decision' && event.decision.device === 'cam-1'),
    );
    const ofCam1 = (effects: unknown[]) =>
      effects
        .flat()
        .flatMap((effect) => (isAction(effect) ? [(effect as { action: EmittedAction }).action] : []))
        .filter((action) => action.key === 'cam-1');
    expect(ofCam1(effectsOf(mixed))).toEqual(ofCam1(effectsOf(alone)));
  });

  it('no id is used twice', () => {
    for (const seed of seeds) {
      const ids = effectsOf(randomLog(seed, ['cam-1', 'cam-2']))
        .flat()
        .flatMap((effect) => (isAction(effect) ? [(effect as { action: EmittedAction }).action.id] : []));
      expect(new Set(ids).size).toBe(ids.length);
    }
  });
});
