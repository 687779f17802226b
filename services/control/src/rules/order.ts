import type { Backtest, PublishedConfiguration, RuleConfig } from '@brink/protocol';

/** What a backtest compares. */
export interface BacktestOrder {
  readonly before: PublishedConfiguration;
  readonly after: PublishedConfiguration;
  /** Names; default: all that differ. */
  readonly rules?: readonly string[] | undefined;
  readonly sinceMs: number;
  readonly untilMs: number;
  /** Differences that are listed. */
  readonly listed: number;
}

/** A rule that is tried: as it is, as it would be, or both. */
export interface Concerned {
  readonly rule: string;
  readonly change: Backtest['rules'][number]['change'];
  readonly configs: readonly RuleConfig[];
}
