import { type Decision, RuleSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { compileRules } from './compile.ts';
import type { EmittedAction } from './emission.ts';
import { adoptState, type RuleEvent, reduce } from './engine.ts';
import { type Arming, emptyState, restoreState } from './state.ts';

const T0 = Date.parse('2026-11-22T16:00:00Z');
const CONTEXT = { pipelines: ['pets'], mqttAllow: [], revision: 'c7f1a2000000' };

const flapRule = (fields: Record<string, unknown> = {}) =>
  RuleSchema.parse(
    Object.fromEntries([
      ...Object.entries({ on: 'pets', when: 'decision.label == "cat"', cooldown_ms: 60_000, ...fields }),
      ['then', [{ command: { device: 'feeder-1', name: 'open', args: { who: '${decision.label}' } } }]],
      ['on_release', [{ command: { device: 'feeder-1', name: 'shut' } }]],
    ]),
  );

function play(fields: Record<string, unknown> = {}) {
  const compiled = compileRules({ flap: flapRule(fields) }, CONTEXT);
  const state = emptyState();
  let n = 0;
  const run = (event: RuleEvent): EmittedAction[] =>
    reduce(state, event, compiled).effects.flatMap((effect) => (effect.kind === 'action' ? [effect.action] : []));
  return {
    ...{ state, compiled, run },
    see(at: number, label: string): EmittedAction[] {
      n += 1;
      const decision = { ...seen(n, label), received_at: new Date(T0 + at).toISOString() };
      return run({ kind: 'decision', decision, receivedMs: T0 + at, nowMs: T0 + at });
    },
    arm: (arming?: Arming) => run({ kind: 'arm', rule: 'flap', arming }),
  };
}

function seen(n: number, label: string): Decision {
  return {
    ...{ v: 1, id: `cam-1.front.k3v9.${n}.0.pets`, n, device: 'cam-1', stream: 'front', pipeline: 'pets' },
    ...{ outcome: 'decided', task: 'classification', label, score: 0.9 },
    ...{ frames: { boot: 'k3v9', first: n, last: n, received: 1 }, model: { name: 'cifar-net', version: 3 } },
    ...{ received_at: new Date(T0).toISOString(), latency_ms: 1, revision: '' },
  };
}

const off: Arming = { state: 'disarmed', sinceMs: T0, by: 'ann', note: 'the flap is being painted' };
const fates = (actions: readonly EmittedAction[]) => actions.map(({ fate, error }) => [fate, error?.code]);

describe('a rule that is disarmed', () => {
  it('goes on watching: what it leads to is suppressed, with the reason, and costs no cooldown', () => {
    const flap = play();
    flap.arm(off);
    const [action] = flap.see(0, 'cat');
    expect(action).toMatchObject({ fate: 'suppressed', error: { code: 'E_RULE_DISARMED' } });
    expect(action?.error?.detail).toBe(
      'the rule is disarmed, by ann since 2026-11-22T16:00:00.000Z: the flap is being painted',
    );
    expect(flap.state.rules.flap?.keys['cam-1']).toEqual({ state: 'active', sinceMs: T0 });
    flap.see(10, 'dog');
    flap.arm();
    expect(fates(flap.see(20, 'cat'))).toEqual([['pending', undefined]]);
  });

  it('is the only one: without the event the same decisions are acted on', () => {
    const flap = play();
    expect(fates(flap.see(0, 'cat'))).toEqual([['pending', undefined]]);
  });

  it('still undoes what went out before', () => {
    const flap = play();
    flap.see(0, 'cat');
    flap.arm(off);
    expect(fates(flap.see(10, 'dog'))).toEqual([['pending', undefined]]);
    flap.see(20, 'cat');
    expect(flap.see(30, 'dog')).toEqual([]);
  });

  it('stays so when the rule changes, is away for a while, and when the state is restored', () => {
    const flap = play();
    flap.arm(off);
    const changed = compileRules({ flap: flapRule({ when: 'decision.score > 0.5' }) }, CONTEXT);
    const none = compileRules({}, CONTEXT);
    const away = adoptState(adoptState(flap.state, flap.compiled, none), none, changed);
    expect(away.arming).toEqual({ flap: off });
    expect(restoreState([], [], [['flap', off]]).arming).toEqual({ flap: off });
  });
});

describe('a rule that hung', () => {
  const hung: Arming = { state: 'hung', sinceMs: T0 + 5, by: 'brink' };
  const changed = compileRules({ flap: flapRule({ when: 'decision.score > 0.5' }) }, CONTEXT);

  it('and had been disarmed is disarmed again when it is changed', () => {
    const flap = play();
    flap.arm(off);
    flap.arm(hung);
    flap.arm(hung);
    expect(flap.state.arming.flap).toEqual({ ...hung, under: off });
    expect(adoptState(flap.state, flap.compiled, flap.compiled).arming.flap?.state).toBe('hung');
    expect(adoptState(flap.state, flap.compiled, changed).arming).toEqual({ flap: off });
  });

  it('stays hung when it is disarmed, and is disarmed when it is changed', () => {
    const flap = play();
    flap.arm(hung);
    flap.arm(off);
    expect(flap.state.arming.flap?.state).toBe('hung');
    expect(adoptState(flap.state, flap.compiled, changed).arming).toEqual({ flap: off });
  });

  it('is evaluated again when a person arms it', () => {
    const flap = play();
    flap.arm(off);
    flap.arm(hung);
    flap.arm();
    expect(fates(flap.see(10, 'cat'))).toEqual([['pending', undefined]]);
  });
});

describe('a rule that is snoozed', () => {
  it('acts again from `until` on, by rule time', () => {
    const flap = play({ cooldown_ms: 0 });
    flap.arm({ ...off, state: 'snoozed', untilMs: T0 + 1000 });
    expect(fates(flap.see(999, 'cat'))).toEqual([['suppressed', 'E_RULE_DISARMED']]);
    flap.see(999, 'dog');
    expect(fates(flap.see(1000, 'cat'))).toEqual([['pending', undefined]]);
  });

  it('counts a timer by when it was due, not by when its tick came', () => {
    const flap = play({ for: { ms: 500 } });
    flap.arm({ ...off, state: 'snoozed', untilMs: T0 + 1000 });
    flap.see(400, 'cat');
    expect(fates(flap.run({ kind: 'tick', dueMs: T0 + 2000, nowMs: T0 + 2000 }))).toEqual([
      ['suppressed', 'E_RULE_DISARMED'],
    ]);
  });
});

describe('a test fire', () => {
  const fire = (fields: Partial<Extract<RuleEvent, { kind: 'fire' }>> = {}): RuleEvent => ({
    ...{ kind: 'fire', rule: 'flap', phase: 'then', decision: seen(7, 'dog'), sample: false, by: 'ann' },
    ...{ receivedMs: T0, nowMs: T0 + 5000, ...fields },
  });

  it('emits the actions whatever the condition says, and changes nothing else', () => {
    const flap = play();
    flap.see(0, 'cat');
    const before = JSON.stringify(flap.state);
    flap.arm(off);
    const [action] = flap.run(fire());
    expect(action).toMatchObject({
      ...{ id: `cam-1.front.k3v9.7.0.pets~flap~@test~${T0 + 5000}~0`, key: '@test', fate: 'pending' },
      config: { command: { args: { who: 'dog' } } },
      because: { test: { by: 'ann' }, condition: { holds: false }, values: { 'decision.label': 'dog' } },
    });
    flap.arm();
    flap.run({ kind: 'action', rule: 'flap', key: '@test', id: action?.id ?? '', change: 'unsent' });
    expect(JSON.stringify(flap.state)).toBe(before);
  });

  it('of the release has ids of its own', () => {
    const [action] = play().run(fire({ phase: 'on_release' }));
    expect(action).toMatchObject({ phase: 'on_release', index: 1, config: { command: { name: 'shut' } } });
  });

  it('of a sample that lacks what a template reads is dead, and says what is missing', () => {
    const { label: _, ...sample } = seen(7, 'dog');
    const [action] = play().run(fire({ decision: sample, sample: true }));
    expect(action).toMatchObject({ fate: 'dead', error: { code: 'E_RULE' }, because: { test: { sample: true } } });
  });

  it('of no rule is nothing', () => {
    expect(play().run(fire({ rule: 'other' }))).toEqual([]);
  });
});

describe('a log in which rules are set aside', () => {
  /** 400 entries, the same in every run: decisions of two devices, ticks, and rules that are set aside and armed again. */
  function someLog(): RuleEvent[] {
    let at = 0;
    let seed = 5;
    const next = (below: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return (seed >>> 8) % below;
    };
    return Array.from({ length: 400 }, (_, index): RuleEvent => {
      at += next(400);
      const nowMs = T0 + at;
      const kind = next(20);
      if (kind === 0) return { kind: 'arm', rule: 'flap', arming: { ...off, sinceMs: nowMs } };
      if (kind === 1)
        return {
          kind: 'arm',
          rule: 'flap',
          arming: { ...off, state: 'snoozed', sinceMs: nowMs, untilMs: nowMs + 3000 },
        };
      if (kind < 5) return { kind: 'arm', rule: 'flap', arming: undefined };
      if (kind < 7) return { kind: 'tick', dueMs: nowMs, nowMs };
      const decision = { ...seen(index + 1, next(3) === 0 ? 'dog' : 'cat'), device: `cam-${next(2)}` };
      return { kind: 'decision', decision, receivedMs: nowMs, nowMs };
    });
  }

  const compiled = compileRules({ flap: flapRule({ for: { ms: 300 }, cooldown_ms: 1000 }) }, CONTEXT);
  const runOn = (state: ReturnType<typeof emptyState>, log: readonly RuleEvent[]) =>
    log.flatMap((event) => reduce(state, event, compiled).effects);

  it('leads to the same wherever it is split and the state restored from what was saved', () => {
    const log = someLog();
    const whole = runOn(emptyState(), log);
    const fatesSeen = new Set(whole.map((effect) => (effect.kind === 'action' ? effect.action.fate : effect.kind)));
    expect([...fatesSeen].sort()).toEqual(['arming', 'pending', 'save', 'suppressed']);
    for (let split = 0; split <= log.length; split += 13) {
      const first = emptyState();
      const before = runOn(first, log.slice(0, split));
      const saved = JSON.parse(JSON.stringify(first)) as typeof first;
      const rows = Object.entries(saved.rules).flatMap(([rule, { keys }]) =>
        Object.entries(keys).map(([key, state]) => ({ rule, key, state })),
      );
      const second = restoreState(rows, [], Object.entries(saved.arming));
      expect([...before, ...runOn(second, log.slice(split))]).toEqual(whole);
    }
  });
});
