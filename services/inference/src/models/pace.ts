/** How often is looked, and how long is waited. Tests have less time. */
export interface Pace {
  /** between two looks at the models folder */
  readonly lookMs: number;
  /** between two looks of somebody who waits until it rests */
  readonly restMs: number;
  /** A version that is retired takes what comes for so long: gateways hear of it a moment later, and what they sent meanwhile counts. */
  readonly graceMs: number;
  /** The first runs of a graph may take so long at least, whatever `run_ms_max` allows later. */
  readonly firstRunMsMax: number;
}

export const PACE: Pace = { lookMs: 1000, restMs: 200, graceMs: 500, firstRunMsMax: 10_000 };
