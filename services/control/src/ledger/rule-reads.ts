import type { RuleArming, RuleConfig, RuleKeyState, RuleState } from '@brink/protocol';
import { holdingIn, type KeyState } from '@brink/rules';
import { waitsFor } from '../rules/waits.ts';
import { armingShown, loadArming } from './arming.ts';
import { all, one } from './pages.ts';
import { loadPublished } from './revisions.ts';
import { iso } from './rows.ts';
import type { Store } from './store.ts';

/** Keys of one rule that are shown. */
const KEYS_SHOWN_MAX = 1000;

export function createRuleReads(store: Store) {
  return {
    ruleStates: (rule?: string, nowMs = Date.now()) => ruleStates(store, rule, nowMs),
    setAside: (nowMs = Date.now()) => setAside(store, nowMs),
  };
}

function ruleStates(store: Store, wanted: string | undefined, nowMs: number): RuleState[] {
  const active = Object.entries(loadPublished(store)?.configuration.rules ?? {});
  const rules = wanted === undefined ? active : active.filter(([rule]) => rule === wanted);
  const arming = new Map(loadArming(store));
  return rules.map(([rule, config]) => {
    const health = one(store, 'SELECT errors, last_error FROM rule WHERE name = ?', rule);
    const text = `SELECT key, body FROM rule_state WHERE rule = ? ORDER BY key LIMIT ${KEYS_SHOWN_MAX}`;
    return {
      rule,
      arming: armingShown(arming.get(rule), nowMs),
      errors: Number(health?.errors ?? 0),
      ...(typeof health?.last_error === 'string' ? { last_error: health.last_error } : {}),
      keys: all(store, text, rule).map((row) =>
        keyState(config, String(row.key), JSON.parse(String(row.body)) as KeyState, nowMs),
      ),
    };
  });
}

function keyState(config: RuleConfig, key: string, state: KeyState, nowMs: number): RuleKeyState {
  const { history, dueMs, cooldown, trigger } = state;
  return {
    ...{ key, state: state.state, since: iso(state.sinceMs), waits_for: waitsFor(config, state, nowMs) },
    ...(dueMs === undefined ? {} : { due: iso(dueMs) }),
    ...(cooldown === undefined ? {} : { cooldown_until: iso(cooldown.untilMs) }),
    ...(history === undefined ? {} : { holding: holdingIn(state), seen: history.length }),
    ...(trigger === undefined ? {} : { decision: trigger.id }),
  };
}

function setAside(store: Store, nowMs: number): (RuleArming & { rule: string })[] {
  const active = loadPublished(store)?.configuration.rules ?? {};
  return loadArming(store)
    .filter(([rule]) => Object.hasOwn(active, rule))
    .map(([rule, arming]) => ({ rule, ...armingShown(arming, nowMs) }))
    .filter(({ state }) => state !== 'armed');
}
