import { BrinkError, type Decision, type PublishedConfiguration } from '@brink/protocol';
import {
  adoptState,
  type CompiledRules,
  compileRules,
  type EmittedAction,
  type EngineState,
  emptyState,
  type KeyState,
  type RuleEvent,
  reduce,
  restoreState,
  ruleContextOf,
} from '@brink/rules';
import { type ArmingOrder, armingOf, loadArming, saveArming } from './arming.ts';
import type { HungRule } from './messages.ts';
import type { Activation, FireOrder } from './records.ts';
import { loadPublished, savePublished } from './revisions.ts';
import type { Store } from './store.ts';
import { createRuleWatch, type RuleWatch } from './watchdog.ts';

interface DirtyKey {
  readonly rule: string;
  readonly key: string;
  readonly state: KeyState | undefined;
}

/**
 * The rules at work and where they stand; what changed is written once per transaction.
 * @param watch hears which rule is evaluated
 */
export function createRulebook(store: Store, watch: RuleWatch = createRuleWatch(undefined)) {
  let compiled: CompiledRules | undefined;
  let state: EngineState = emptyState();
  const dirty = createDirty(store);
  let newestTrigger = 0;

  /** @returns the actions that the event leads to */
  function apply(event: RuleEvent): EmittedAction[] {
    if (compiled === undefined) return [];
    const actions: EmittedAction[] = [];
    const { effects } = reduce(state, event, compiled, watch.at);
    watch.at(undefined);
    for (const effect of effects) {
      if (effect.kind === 'action') actions.push(effect.action);
      else if (effect.kind === 'health') dirty.rules.add(effect.rule);
      else if (effect.kind === 'arming') dirty.arming.add(effect.rule);
      else {
        dirty.keys.set(`${effect.rule}~${effect.key}`, effect);
        newestTrigger = Math.max(newestTrigger, effect.state?.trigger?.n ?? 0);
      }
    }
    return actions;
  }

  const flush = () => dirty.write(state);

  return {
    flush,

    /** Reads what was at work when the ledger was closed. @returns why it cannot be, where it cannot */
    restore(): string | undefined {
      state = loadState(store);
      try {
        const published = loadPublished(store);
        compiled = published === undefined ? undefined : compile(published);
        watch.names(compiled?.byName.keys() ?? []);
        return undefined;
      } catch (error) {
        compiled = undefined;
        return `the last configuration's rules cannot be used: ${BrinkError.from(error).message}`;
      }
    },

    /** After a ROLLBACK: what is on disk is what happened. */
    forget(): void {
      dirty.clear();
      newestTrigger = 0;
      this.restore();
    },

    /** @throws BrinkError E_RULE, E_CONFIG: nothing has changed then */
    configure(published: PublishedConfiguration, nowMs: number, activation: Activation): void {
      const next = compile(published);
      flush();
      const before = Object.keys(state.rules);
      const aside = Object.keys(state.arming);
      state = adoptState(state, compiled, next);
      compiled = next;
      watch.names(next.byName.keys());
      for (const rule of aside) dirty.arming.add(rule);
      for (const rule of before) if (!Object.hasOwn(state.rules, rule)) deleteRule(store, rule);
      savePublished(store, published, { ...activation, nowMs });
    },

    decision(decision: Decision, receivedMs: number, nowMs: number): EmittedAction[] {
      // Most pipelines have no rule: nothing to look at then.
      if (compiled?.byPipeline.has(decision.pipeline) !== true) return [];
      return apply({ kind: 'decision', decision, receivedMs, nowMs });
    },
    tick: (dueMs: number, nowMs: number) => apply({ kind: 'tick', dueMs, nowMs }),
    /** The clock was set: every machine's times move along. */
    shift: (shiftMs: number) => void apply({ kind: 'clock', shiftMs }),
    /** @param nowMs when it was sent; default: as soon as it was emitted */
    action(rule: string, key: string, id: string, change: 'sent' | 'acked' | 'unsent', nowMs?: number): void {
      apply({ kind: 'action', rule, key, id, change, ...(nowMs === undefined ? {} : { nowMs }) });
    },

    ...createOrders({ apply, compiled: () => compiled, arming: () => state.arming }),

    /** Whether the decision that was just looked at is one that a machine acts on, now or when its timer fires. */
    refersTo: (n: number) => newestTrigger === n,
    /** Running numbers of all that machines would act on. */
    triggers(): Set<number> {
      const keys = Object.values(state.rules).flatMap((memory) => Object.values(memory.keys));
      return new Set(keys.flatMap(({ trigger }) => (trigger === undefined ? [] : [trigger.n])));
    },

    get revision(): string {
      return compiled?.revision ?? '000000000000';
    },
    get nextTimerMs(): number | undefined {
      return state.timers[0]?.[0];
    },
  };
}
export type Rulebook = ReturnType<typeof createRulebook>;

/** What people, and the watchdog, ask of a rule by name. */
function createOrders(d: {
  readonly apply: (event: RuleEvent) => EmittedAction[];
  readonly compiled: () => CompiledRules | undefined;
  readonly arming: () => EngineState['arming'];
}) {
  const has = (rule: string) => d.compiled()?.byName.has(rule) === true;

  /** @throws BrinkError E_NOT_FOUND */
  function known(rule: string): void {
    if (!has(rule)) throw new BrinkError('E_NOT_FOUND', `there is no rule "${rule}"`);
  }

  return {
    /** @throws BrinkError E_NOT_FOUND, E_BAD_REQUEST */
    arm(rule: string, order: ArmingOrder | undefined, nowMs: number): void {
      known(rule);
      d.apply({ kind: 'arm', rule, arming: order === undefined ? undefined : armingOf(order, nowMs) });
    },

    /** Rules that hung when they were evaluated last. Those that are gone are left out. */
    rest(hung: readonly HungRule[], nowMs: number): void {
      for (const { rule, note } of hung.filter((one) => has(one.rule))) {
        d.apply({ kind: 'arm', rule, arming: { state: 'hung', sinceMs: nowMs, by: 'brink', note } });
      }
    },

    /** @throws BrinkError E_NOT_FOUND, E_CONFLICT */
    fire({ rule, phase, decision, sample, by }: FireOrder, nowMs: number): EmittedAction[] {
      known(rule);
      if (d.arming()[rule]?.state === 'hung') {
        throw new BrinkError('E_CONFLICT', `rule "${rule}" rests: an evaluation of it did not end; arm it first`);
      }
      const receivedMs = decision.received_at === undefined ? nowMs : Date.parse(decision.received_at);
      return d.apply({ kind: 'fire', rule, phase, decision, sample, receivedMs, by, nowMs });
    },
  };
}

/** What changed since it was last written. */
function createDirty(store: Store) {
  const keys = new Map<string, DirtyKey>();
  const rules = new Set<string>();
  const arming = new Set<string>();
  function clear(): void {
    for (const part of [keys, rules, arming]) part.clear();
  }
  return {
    ...{ keys, rules, arming, clear },
    write(state: EngineState): void {
      for (const dirty of keys.values()) saveKey(store, dirty);
      for (const rule of rules) saveHealth(store, rule, state);
      for (const rule of arming) saveArming(store, rule, state.arming[rule]);
      clear();
    },
  };
}

const compile = ({ configuration, revision }: PublishedConfiguration): CompiledRules =>
  compileRules(configuration.rules, ruleContextOf(configuration, revision));

function loadState(store: Store): EngineState {
  const rows = store.sql('SELECT rule, key, body FROM rule_state').all();
  const health = store.sql('SELECT name, errors, last_error FROM rule').all();
  return restoreState(
    rows.map((row) => ({
      rule: String(row.rule),
      key: String(row.key),
      state: JSON.parse(String(row.body)) as KeyState,
    })),
    health.map((row) => ({
      rule: String(row.name),
      errors: Number(row.errors),
      ...(row.last_error === null ? {} : { lastError: String(row.last_error) }),
    })),
    loadArming(store),
  );
}

function saveKey(store: Store, { rule, key, state }: DirtyKey): void {
  if (state === undefined) store.sql('DELETE FROM rule_state WHERE rule = ? AND key = ?').run(rule, key);
  else {
    store
      .sql('INSERT INTO rule_state VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body')
      .run(rule, key, JSON.stringify(state));
  }
}

function saveHealth(store: Store, rule: string, state: EngineState): void {
  const memory = state.rules[rule];
  store
    .sql(
      `INSERT INTO rule VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET errors = excluded.errors, last_error = excluded.last_error`,
    )
    .run(rule, memory?.errors ?? 0, memory?.lastError ?? null);
}

function deleteRule(store: Store, rule: string): void {
  store.sql('DELETE FROM rule_state WHERE rule = ?').run(rule);
  store.sql('DELETE FROM rule WHERE name = ?').run(rule);
}
