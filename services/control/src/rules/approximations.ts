import type { Backtest, PublishedConfiguration } from '@brink/protocol';
import { loadArming } from '../ledger/arming.ts';
import type { Store } from '../ledger/store.ts';
import type { BacktestOrder, Concerned } from './order.ts';

type Approximation = Backtest['approximate'][number];

interface Tried {
  readonly order: BacktestOrder;
  readonly concerned: readonly Concerned[];
  readonly warmUpMs: number;
  /** received_at of the first decision that was read. */
  readonly firstMs: number | undefined;
}

/** Why the answer may not be what really would have happened, each by name. */
export function approximations(store: Store, tried: Tried): Approximation[] {
  const pipelines = new Set(tried.concerned.flatMap(({ configs }) => configs.flatMap(({ on }) => on)));
  return [
    ...notKept(store, tried.order, pipelines),
    ...neverStored(store, pipelines),
    ...tooOld(store, tried),
    ...atWorkForLonger(tried),
    ...setAside(store, tried.concerned),
  ];
}

/** A pipeline that at some time in the span did not keep every decision: `for`, `absent` and counts see fewer than there were. */
function notKept(
  store: Store,
  { before, sinceMs, untilMs }: BacktestOrder,
  names: ReadonlySet<string>,
): Approximation[] {
  const published = [before, ...activeBetween(store, sinceMs, untilMs)];
  const found = new Map<string, string>();
  for (const { configuration } of published) {
    for (const stream of Object.values(configuration.streams)) {
      for (const [name, { keep }] of Object.entries(stream.pipelines)) {
        if (keep !== undefined && keep !== 'all' && names.has(name)) found.set(name, JSON.stringify(keep));
      }
    }
  }
  return [...found].map(([pipeline, keep]) => ({
    pipeline,
    why: `not every decision of it is kept (keep: ${keep}); the rules saw more than is stored`,
  }));
}

function activeBetween(store: Store, sinceMs: number, untilMs: number): PublishedConfiguration[] {
  const rows = store
    .sql(
      `SELECT body FROM config_revision WHERE revision IN (
         SELECT revision FROM config_activation WHERE at_ms < ?2 AND id >= (
           SELECT coalesce(max(id), 0) FROM config_activation WHERE at_ms <= ?1))`,
    )
    .all(sinceMs, untilMs);
  return rows.map((row) => JSON.parse(String(row.body)) as PublishedConfiguration);
}

function neverStored(store: Store, pipelines: ReadonlySet<string>): Approximation[] {
  const stored = new Set(
    store
      .sql('SELECT DISTINCT pipeline FROM lane')
      .all()
      .map((row) => String(row.pipeline)),
  );
  return [...pipelines]
    .filter((pipeline) => !stored.has(pipeline))
    .map((pipeline) => ({ pipeline, why: 'no decision of it is stored' }));
}

/** Retention has been at work: the stored decisions begin later than what was asked for. */
function tooOld(store: Store, { order, firstMs }: Tried): Approximation[] {
  const first = Number(store.sql('SELECT min(n) AS n FROM decision').get()?.n ?? 1);
  if (first <= 1 || firstMs === undefined || firstMs <= order.sinceMs) return [];
  const since = new Date(firstMs).toISOString();
  return [{ why: `older decisions are no longer kept; the first that was read is of ${since}` }];
}

/** What a rule waits for lies further back than the warm-up goes. */
function atWorkForLonger({ concerned, warmUpMs }: Tried): Approximation[] {
  return concerned.flatMap(({ rule, configs }) => {
    const longest = Math.max(
      ...configs.flatMap((config) => [config.cooldown_ms, config.absent_ms ?? 0, config.release?.ms ?? 0]),
    );
    if (longest <= warmUpMs) return [];
    return [{ rule, why: `it looks back ${longest} ms; the run began ${warmUpMs} ms before since` }];
  });
}

function setAside(store: Store, concerned: readonly Concerned[]): Approximation[] {
  const names = new Set(concerned.map(({ rule }) => rule));
  return loadArming(store)
    .filter(([rule]) => names.has(rule))
    .map(([rule, { state }]) => ({ rule, why: `it is or was ${state}; here it runs as if it were armed` }));
}
