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
} from '@brink/rules';
import type { Store } from './store.ts';

/** The rules at work and where they stand; what changed is written once per transaction. */
export function createRulebook(store: Store) {
  let compiled: CompiledRules | undefined;
  let state: EngineState = emptyState();
  const dirtyKeys = new Map<string, { rule: string; key: string; state: KeyState | undefined }>();
  const dirtyRules = new Set<string>();

  function load(): EngineState {
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
    );
  }

  function compile({ configuration, revision }: PublishedConfiguration): CompiledRules {
    const pipelines = Object.values(configuration.streams).flatMap((stream) => Object.keys(stream.pipelines));
    return compileRules(configuration.rules, { pipelines, mqttAllow: configuration.site.mqtt_allow, revision });
  }

  /** @returns the actions that the event leads to */
  function apply(event: RuleEvent): EmittedAction[] {
    if (compiled === undefined) return [];
    const { effects } = reduce(state, event, compiled);
    const actions: EmittedAction[] = [];
    for (const effect of effects) {
      if (effect.kind === 'action') actions.push(effect.action);
      else if (effect.kind === 'health') dirtyRules.add(effect.rule);
      else dirtyKeys.set(`${effect.rule}~${effect.key}`, effect);
    }
    return actions;
  }

  function forgetRulesThatWent(before: EngineState): void {
    for (const name of Object.keys(before.rules)) {
      if (Object.hasOwn(state.rules, name)) continue;
      store.sql('DELETE FROM rule_state WHERE rule = ?').run(name);
      store.sql('DELETE FROM rule WHERE name = ?').run(name);
    }
  }

  return {
    /** Reads what was at work when the ledger was closed. @returns why it cannot be, where it cannot */
    restore(): string | undefined {
      state = load();
      const row = store.sql('SELECT body FROM config_revision ORDER BY activated_ms DESC, rowid DESC LIMIT 1').get();
      if (row === undefined) return undefined;
      try {
        compiled = compile(JSON.parse(String(row.body)) as PublishedConfiguration);
        return undefined;
      } catch (error) {
        return `the last configuration's rules cannot be used: ${BrinkError.from(error).message}`;
      }
    },

    /** @throws BrinkError E_RULE, E_CONFIG: nothing has changed then */
    configure(published: PublishedConfiguration, nowMs: number): void {
      const next = compile(published);
      this.flush();
      const before = state;
      state = adoptState(state, compiled, next);
      compiled = next;
      forgetRulesThatWent(before);
      store
        .sql(
          `INSERT INTO config_revision VALUES (?, ?, ?)
           ON CONFLICT DO UPDATE SET body = excluded.body, activated_ms = excluded.activated_ms`,
        )
        .run(published.revision, JSON.stringify(published), nowMs);
    },

    decision(decision: Decision, receivedMs: number, nowMs: number): EmittedAction[] {
      // Most pipelines have no rule: nothing to look at then.
      if (compiled?.byPipeline.has(decision.pipeline) !== true) return [];
      return apply({ kind: 'decision', decision, receivedMs, nowMs });
    },
    tick: (dueMs: number, nowMs: number) => apply({ kind: 'tick', dueMs, nowMs }),
    action(rule: string, key: string, id: string, change: 'sent' | 'acked' | 'unsent'): void {
      apply({ kind: 'action', rule, key, id, change });
    },

    flush(): void {
      for (const { rule, key, state: saved } of dirtyKeys.values()) {
        if (saved === undefined) store.sql('DELETE FROM rule_state WHERE rule = ? AND key = ?').run(rule, key);
        else {
          store
            .sql('INSERT INTO rule_state VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body')
            .run(rule, key, JSON.stringify(saved));
        }
      }
      dirtyKeys.clear();
      for (const name of dirtyRules) {
        const memory = state.rules[name];
        store
          .sql(
            'INSERT INTO rule VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET errors = excluded.errors, last_error = excluded.last_error',
          )
          .run(name, memory?.errors ?? 0, memory?.lastError ?? null);
      }
      dirtyRules.clear();
    },

    /** After a ROLLBACK: what is on disk is what happened. */
    forget(): void {
      dirtyKeys.clear();
      dirtyRules.clear();
      compiled = undefined;
      this.restore();
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
