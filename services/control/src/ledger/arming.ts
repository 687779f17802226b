import { BrinkError, type RuleArming } from '@brink/protocol';
import type { Arming } from '@brink/rules';
import { iso } from './rows.ts';
import type { Store } from './store.ts';

/** What a person asks for; when it began is the log's to say. */
export type ArmingOrder = Omit<Arming, 'sinceMs' | 'under'>;

/** @throws BrinkError E_BAD_REQUEST where it would be over at once */
export function armingOf(order: ArmingOrder, nowMs: number): Arming {
  if (order.untilMs === undefined || order.untilMs > nowMs) return { ...order, sinceMs: nowMs };
  throw new BrinkError('E_BAD_REQUEST', `until ${iso(order.untilMs)} is over; expected a time to come`);
}

/** Rules that are set aside, those that are gone from the configuration too: they must not come back armed. */
export function loadArming(store: Store): [rule: string, arming: Arming][] {
  const rows = store.sql('SELECT rule, body FROM rule_arming ORDER BY rule').all();
  return rows.map((row) => [String(row.rule), JSON.parse(String(row.body)) as Arming]);
}

export function saveArming(store: Store, rule: string, arming: Arming | undefined): void {
  if (arming === undefined) {
    store.sql('DELETE FROM rule_arming WHERE rule = ?').run(rule);
    return;
  }
  store
    .sql('INSERT INTO rule_arming VALUES (?, ?) ON CONFLICT DO UPDATE SET body = excluded.body')
    .run(rule, JSON.stringify(arming));
}

/** As people see it: a snooze that is over is over. */
export function armingShown(arming: Arming | undefined, nowMs: number): RuleArming {
  if (arming === undefined || (arming.untilMs !== undefined && nowMs >= arming.untilMs)) return { state: 'armed' };
  const { state, untilMs, sinceMs, by, note } = arming;
  return {
    state,
    ...(untilMs === undefined ? {} : { until: iso(untilMs) }),
    ...{ by, since: iso(sinceMs) },
    ...(note === undefined ? {} : { note }),
  };
}
