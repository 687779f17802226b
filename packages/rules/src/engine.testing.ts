import { type Decision, type RuleConfig, RuleSchema } from '@brink/protocol';
import { compileRules, type RuleContext } from './compile.ts';
import type { EmittedAction } from './emission.ts';
import { type RuleEvent, reduce } from './engine.ts';
import { emptyState, type KeyState } from './state.ts';

export const T0 = 1_700_000_000_000;
export const context: RuleContext = { pipelines: ['pets', 'scene'], mqttAllow: ['lamp/'], revision: 'c7f1a2000000' };
export const open = { command: { device: 'feeder-1', name: 'open' } };
export const shut = { command: { device: 'feeder-1', name: 'shut' } };

/** `does` stands for `then`, for the sake of the linter. */
export function rule({ does = [open], ...config }: Record<string, unknown> = {}): RuleConfig {
  return RuleSchema.parse(
    Object.fromEntries([...Object.entries({ on: 'pets', when: 'decision.label == "cat"', ...config }), ['then', does]]),
  );
}

export function decision(n: number, atMs: number, fields: Partial<Decision> = {}): Decision {
  const device = fields.device ?? 'cam-1';
  const pipeline = fields.pipeline ?? 'pets';
  return {
    ...{
      v: 1,
      id: `${device}.front.k3v9.${n}.0.${pipeline}`,
      n,
      device,
      stream: 'front',
      pipeline,
      outcome: 'decided',
    },
    ...{
      task: 'classification',
      label: 'cat',
      score: 0.9,
      model: { name: 'm', version: 3 },
      latency_ms: 5,
      revision: 'r',
    },
    frames: { boot: 'k3v9', first: n, last: n, received: 1 },
    received_at: new Date(T0 + atMs).toISOString(),
    ...fields,
  } as Decision;
}

/** A rule's life, told in one line per event. */
export function play(config: RuleConfig, more: Partial<RuleContext> = {}) {
  const compiled = compileRules({ flap: config }, { ...context, ...more });
  const state = emptyState();
  const saved = new Map<string, KeyState>();
  let n = 0;
  const run = (event: RuleEvent): EmittedAction[] => {
    const { effects } = reduce(state, event, compiled);
    for (const effect of effects) if (effect.kind === 'save' && effect.state) saved.set(effect.key, effect.state);
    return effects.flatMap((effect) => (effect.kind === 'action' ? [effect.action] : []));
  };
  return {
    state,
    saved,
    run,
    see(atMs: number, label: string, fields: Partial<Decision> = {}, ageMs = 10) {
      n += 1;
      const seen = decision(n, atMs, { label, ...fields });
      return run({ kind: 'decision', decision: seen, receivedMs: T0 + atMs, nowMs: T0 + atMs + ageMs }).map(
        (a) => a.id,
      );
    },
    tick: (atMs: number) => run({ kind: 'tick', dueMs: T0 + atMs, nowMs: T0 + atMs }).map((a) => a.id),
    at: (key = 'cam-1') => state.rules.flap?.keys[key],
  };
}

export const id = (n: number, index = 0, timer = '') => `cam-1.front.k3v9.${n}.0.pets~flap~${timer}${index}`;
