// Agreement of several pipelines, or devices, within one key: each one's last decision is its vote.

/** By voter: when its last decision was received, and whether the condition held on it. */
export type Votes = Readonly<Record<string, readonly [atMs: number, holds: boolean]>>;

/** Of a quorum of devices: more than these are not remembered at once. */
const VOTERS_MAX = 256;

/** Votes that are older than the newest by more than `withinMs` are gone: they can never count again. */
export function addVote(votes: Votes, voter: string, atMs: number, holds: boolean, withinMs: number): Votes {
  const before = Object.hasOwn(votes, voter) ? votes[voter] : undefined;
  // What it said later stands.
  if (before !== undefined && before[0] > atMs) return votes;
  const all = Object.entries({ ...votes, [voter]: [atMs, holds] as const });
  const newestMs = Math.max(...all.map(([, [votedMs]]) => votedMs));
  const fresh = all.filter(([, [votedMs]]) => votedMs >= newestMs - withinMs);
  if (fresh.length <= VOTERS_MAX) return Object.fromEntries(fresh);
  const [first] = fresh.map(([name, [votedMs, held]]) => ({ name, votedMs, held })).sort(leastUseful);
  return Object.fromEntries(fresh.filter(([name]) => name !== first?.name));
}

type Listed = { readonly name: string; readonly votedMs: number; readonly held: boolean };
const leastUseful = (a: Listed, b: Listed) =>
  Number(a.held) - Number(b.held) || a.votedMs - b.votedMs || (a.name < b.name ? -1 : 1);

/** Who agrees, in order of name. */
export function agreeing(votes: Votes): string[] {
  return Object.keys(votes)
    .filter((voter) => votes[voter]?.[1])
    .sort();
}

/** Undefined where nobody voted. */
export function newestVoteMs(votes: Votes | undefined): number | undefined {
  const times = Object.values(votes ?? {}).map(([atMs]) => atMs);
  return times.length === 0 ? undefined : Math.max(...times);
}

export function shiftVotes(votes: Votes, backMs: number): Votes {
  return Object.fromEntries(Object.entries(votes).map(([voter, [atMs, holds]]) => [voter, [atMs - backMs, holds]]));
}
