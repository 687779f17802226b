// Agreement of several pipelines, or devices, within one key: each one's last decision is its vote.

type Vote = readonly [voter: string, atMs: number, holds: boolean];

export interface Votes {
  /** When the newest vote was received. */
  readonly newestMs: number;
  /** Per voter one: when its last decision was received, and whether the condition held on it. */
  readonly list: readonly Vote[];
}

export const NO_VOTES: Votes = { newestMs: 0, list: [] };

/** Of a quorum of devices: more than these are not remembered at once. */
const VOTERS_MAX = 256;

/** Votes that are older than the newest by more than `withinMs` are gone: they can never count again. */
export function addVote(votes: Votes, voter: string, atMs: number, holds: boolean, withinMs: number): Votes {
  const place = votes.list.findIndex(([name]) => name === voter);
  const before = votes.list[place];
  // What it said later stands.
  if (before !== undefined && before[1] > atMs) return votes;
  const newestMs = Math.max(votes.newestMs, atMs);
  const list = votes.list.slice();
  list[before === undefined ? list.length : place] = [voter, atMs, holds];
  const oldestMs = newestMs - withinMs;
  const fresh = list.some((vote) => vote[1] < oldestMs) ? list.filter((vote) => vote[1] >= oldestMs) : list;
  return { newestMs, list: fresh.length > VOTERS_MAX ? withoutLeast(fresh) : fresh };
}

function withoutLeast(list: readonly Vote[]): readonly Vote[] {
  const [least] = [...list].sort(
    ([a, atA, heldA], [b, atB, heldB]) => Number(heldA) - Number(heldB) || atA - atB || (a < b ? -1 : 1),
  );
  return list.filter((vote) => vote !== least);
}

export const countAgreeing = ({ list }: Votes): number => list.reduce((count, [, , holds]) => count + Number(holds), 0);

/** Who agrees, in order of name. */
export const agreeing = ({ list }: Votes): string[] =>
  list
    .filter(([, , holds]) => holds)
    .map(([voter]) => voter)
    .sort();

export const shiftVotes = ({ newestMs, list }: Votes, backMs: number): Votes => ({
  newestMs: newestMs - backMs,
  list: list.map(([voter, atMs, holds]) => [voter, atMs - backMs, holds]),
});
