import { expect, it } from 'vitest';
import { addSeen, hasSeen, RANGES_MAX, type SeenRanges } from './seen.ts';

/** A linear congruential generator (Numerical Recipes): the same run everywhere. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

it('numbers without gaps are one watermark', () => {
  const seen: SeenRanges = { through: 0, ranges: [] };
  for (let seq = 1; seq <= 1000; seq++) addSeen(seen, seq);
  expect(seen).toEqual({ through: 1000, ranges: [] });
});

it('numbers that begin late and skip are ranges', () => {
  const seen: SeenRanges = { through: 0, ranges: [] };
  for (const seq of [10, 11, 13, 12, 20, 19, 5]) addSeen(seen, seq);
  expect(seen).toEqual({
    through: 0,
    ranges: [
      [5, 5],
      [10, 13],
      [19, 20],
    ],
  });
  for (const seq of [1, 2, 3, 4]) addSeen(seen, seq);
  expect(seen.through).toBe(5);
});

it.each([1, 2, 3, 4, 5])('says exactly what a set of all numbers says, as long as gaps are few (seed %i)', (seed) => {
  const random = seeded(seed);
  const seen: SeenRanges = { through: 0, ranges: [] };
  const all = new Set<number>();
  for (let count = 0; count < 2000; count++) {
    const seq = 1 + Math.floor(random() * 200);
    addSeen(seen, seq);
    all.add(seq);
    const probe = 1 + Math.floor(random() * 210);
    expect(hasSeen(seen, probe)).toBe(all.has(probe));
  }
});

it('never forgets a number, and stays bounded by closing its oldest gap', () => {
  const seen: SeenRanges = { through: 0, ranges: [] };
  let closed = 0;
  for (let seq = 2; seq <= 4000; seq += 2) closed += addSeen(seen, seq);
  expect(seen.ranges).toHaveLength(RANGES_MAX);
  expect(closed).toBe(2000 - RANGES_MAX);
  for (let seq = 2; seq <= 4000; seq += 2) expect(hasSeen(seen, seq)).toBe(true);
  expect(hasSeen(seen, 3999)).toBe(false);
});
