import {
  type Backtest,
  type Configuration,
  type Decision,
  type PublishedConfiguration,
  type RuleConfig,
  underName,
} from '@brink/protocol';
import { compileRules, ruleContextOf } from '@brink/rules';
import type { Row, Store } from '../ledger/store.ts';
import { approximations } from './approximations.ts';
import { createComparison } from './comparison.ts';
import type { BacktestOrder, Concerned } from './order.ts';

export interface BacktestLimits {
  /** Running numbers that one statement looks at: none holds the WAL back for long. */
  readonly windowRows?: number;
  readonly decisionsMax?: number;
  readonly timeMsMax?: number;
  readonly timerGraceMs?: number;
}

const WINDOW_ROWS = 2000;
const DECISIONS_MAX = 5_000_000;
const TIME_MS_MAX = 600_000;
/** As the ledger's. */
const TIMER_GRACE_MS = 200;
/** What comes late (durable streams, after an outage) stands behind what is newer: so far back it is looked for. */
const NUMBERS_BACK = 10_000;
const WARM_UP_MS_MAX = 86_400_000;
const WARM_UP_MS_MIN = 60_000;

/**
 * Two configurations' rules over the decisions that are stored: what would fire, and what would no longer. Reads in short
 * statements on a connection of its own; the writer never waits for it.
 * @throws BrinkError E_RULE, E_CONFIG where rules do not compile
 */
export function runBacktest(store: Store, order: BacktestOrder, limits: BacktestLimits = {}): Backtest {
  const started = performance.now();
  const { sinceMs, untilMs } = order;
  const concerned = concernedRules(order);
  const warmUpMs = warmUpOf(concerned.flatMap(({ configs }) => configs));
  const timerGraceMs = limits.timerGraceMs ?? TIMER_GRACE_MS;
  const names = new Set(concerned.map(({ rule }) => rule));
  const comparison = createComparison(compiled(order.before, names), compiled(order.after, names), {
    ...{ timerGraceMs, sinceMs, rules: concerned, listed: order.listed },
  });
  const span = { sinceMs: sinceMs - warmUpMs, untilMs };
  const pipelines = new Set(concerned.flatMap(({ configs }) => configs.flatMap(({ on }) => on)));
  const read = readAll(store, { ...span, pipelines }, limits, (decision, ms) => comparison.see(decision, ms));
  if (read.error === undefined) comparison.passTo(untilMs - timerGraceMs);
  return {
    ...{ since: iso(sinceMs), until: iso(untilMs), against: order.before.revision },
    ...{ complete: read.error === undefined, ...(read.error === undefined ? {} : { error: read.error }) },
    ...{ decisions: read.count, through: read.lastMs === undefined ? null : iso(read.lastMs) },
    ...comparison.result(),
    approximate: approximations(store, { order, concerned, warmUpMs, firstMs: read.firstMs }),
    took_ms: Math.round(performance.now() - started),
  };
}

function concernedRules({ before, after, rules }: BacktestOrder): Concerned[] {
  const olds = before.configuration.rules;
  const news = after.configuration.rules;
  const all = [...new Set([...Object.keys(olds), ...Object.keys(news)])].sort();
  const concerned = (rules ?? all).map((rule): Concerned => {
    const [old, fresh] = [underName(olds, rule), underName(news, rule)];
    const change =
      old === undefined
        ? 'added'
        : fresh === undefined
          ? 'removed'
          : changed(old, fresh, before, after)
            ? 'changed'
            : 'same';
    return { rule, change, configs: [old, fresh].filter((config) => config !== undefined) };
  });
  // Where nothing differs, and nothing was asked for by name, it shows what the rules do as they are.
  const differing = concerned.filter(({ change }) => change !== 'same');
  return rules === undefined && differing.length > 0 ? differing : concerned;
}

/** Zones and the site's time zone are part of what a rule means. */
function changed(old: RuleConfig, fresh: RuleConfig, before: PublishedConfiguration, after: PublishedConfiguration) {
  const meaning = (rule: RuleConfig, { configuration }: PublishedConfiguration) => {
    const { tests: _, ...rest } = rule;
    const zones = streamsOf(rule, configuration).map((stream) => stream.zones);
    return JSON.stringify([rest, zones, configuration.site.timezone, configuration.site.notify]);
  };
  return meaning(old, before) !== meaning(fresh, after);
}

function streamsOf({ on }: RuleConfig, { streams }: Configuration): Configuration['streams'][string][] {
  const pipelines = new Set([on].flat());
  return Object.values(streams).filter((stream) => Object.keys(stream.pipelines).some((name) => pipelines.has(name)));
}

function compiled({ configuration, revision }: PublishedConfiguration, names: ReadonlySet<string>) {
  const rules = Object.entries(configuration.rules).filter(([rule]) => names.has(rule));
  return compileRules(Object.fromEntries(rules), ruleContextOf(configuration, revision));
}

/** How far back a rule looks: what begins before `since` counts as it did. */
function warmUpOf(rules: readonly RuleConfig[]): number {
  const spans = rules.flatMap((rule) => [
    rule.cooldown_ms,
    rule.release?.ms ?? 0,
    rule.absent_ms ?? 0,
    rule.quorum?.within_ms ?? 0,
    rule.for !== undefined && 'ms' in rule.for ? rule.for.ms : 0,
  ]);
  return Math.min(Math.max(WARM_UP_MS_MIN, ...spans), WARM_UP_MS_MAX);
}

interface Span {
  readonly sinceMs: number;
  readonly untilMs: number;
  readonly pipelines: ReadonlySet<string>;
}

interface ReadSummary {
  readonly count: number;
  readonly firstMs: number | undefined;
  readonly lastMs: number | undefined;
  /** Why it ended early. */
  readonly error?: string;
}

function readAll(
  store: Store,
  { sinceMs, untilMs, pipelines }: Span,
  limits: BacktestLimits,
  see: (decision: Decision, receivedMs: number) => void,
): ReadSummary {
  const decisionsMax = limits.decisionsMax ?? DECISIONS_MAX;
  const overAt = performance.now() + (limits.timeMsMax ?? TIME_MS_MAX);
  const lanes = lanesOf(store, pipelines);
  let count = 0;
  let firstMs: number | undefined;
  let lastMs: number | undefined;
  for (const rows of windows(store, sinceMs, limits.windowRows ?? WINDOW_ROWS)) {
    for (const row of rows) {
      const receivedMs = Number(row.received_ms);
      if (!lanes.has(Number(row.lane)) || receivedMs < sinceMs || receivedMs >= untilMs) continue;
      if (count === decisionsMax) return { count, firstMs, lastMs, error: `more than ${decisionsMax} decisions` };
      see(JSON.parse(String(row.body)) as Decision, receivedMs);
      count += 1;
      firstMs ??= receivedMs;
      lastMs = receivedMs;
    }
    if (performance.now() > overAt) return { count, firstMs, lastMs, error: 'it took longer than its limit' };
  }
  return { count, firstMs, lastMs };
}

function lanesOf(store: Store, pipelines: ReadonlySet<string>): ReadonlySet<number> {
  const rows = store.sql('SELECT id, pipeline FROM lane').all();
  return new Set(rows.filter((row) => pipelines.has(String(row.pipeline))).map((row) => Number(row.id)));
}

/** All rows in order of their numbers, a window of numbers at a time, from about `sinceMs` on. */
function* windows(store: Store, sinceMs: number, width: number): Generator<Row[]> {
  const last = Number(store.sql('SELECT max(n) AS n FROM decision').get()?.n ?? 0);
  for (let after = startOf(store, sinceMs, last); after < last; after += width) {
    const through = Math.min(after + width, last);
    yield store
      .sql('SELECT n, lane, received_ms, body FROM decision WHERE n > ? AND n <= ? ORDER BY n')
      .all(after, through) as Row[];
  }
}

/** Numbers follow time nearly: the last number before `sinceMs`, found by halving, and some way back. */
function startOf(store: Store, sinceMs: number, last: number): number {
  const receivedMs = (n: number) =>
    Number(
      store.sql('SELECT received_ms FROM decision WHERE n >= ? ORDER BY n LIMIT 1').get(n)?.received_ms ?? Infinity,
    );
  let low = Number(store.sql('SELECT min(n) AS n FROM decision').get()?.n ?? 0);
  const first = low;
  let high = last;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (receivedMs(middle) < sinceMs) low = middle + 1;
    else high = middle;
  }
  return Math.max(first, low - NUMBERS_BACK) - 1;
}

const iso = (ms: number) => new Date(ms).toISOString();
