import type { Numbers } from './messages.ts';

export const NO_NUMBERS: Numbers = { through: 0, above: [] };

/**
 * Gaps that are remembered per boot. Who leaves more is a device that numbers what it never sends; the oldest gap is then taken as
 * given up, as if it had been retired.
 */
const GAPS_MAX = 1000;

export function isTaken({ through, above }: Numbers, seq: number): boolean {
  return seq <= through || above.some(([first, last]) => seq >= first && seq <= last);
}

/** @returns the numbers with this one; the same object where it was there */
export function withNumber(numbers: Numbers, seq: number): Numbers {
  if (isTaken(numbers, seq)) return numbers;
  const { through, above } = numbers;
  if (above.length === 0 && seq === through + 1) return { through: seq, above };
  const at = above.findIndex(([first]) => first > seq);
  const place = at < 0 ? above.length : at;
  const before = above[place - 1];
  const after = above[place];
  const joinsBefore = before !== undefined && before[1] === seq - 1;
  const joinsAfter = after !== undefined && after[0] === seq + 1;
  const joined = [joinsBefore ? before[0] : seq, joinsAfter ? after[1] : seq] as const;
  const next = [
    ...above.slice(0, joinsBefore ? place - 1 : place),
    joined,
    ...above.slice(joinsAfter ? place + 1 : place),
  ];
  return closed(through, next);
}

/** Whether numbers are left out between the highest so far and this one. */
export function isLeap({ through, above }: Numbers, seq: number): boolean {
  const highest = above.at(-1)?.[1] ?? through;
  return highest > 0 && seq > highest + 1;
}

/** All numbers below are given up. */
export function withoutBelow(numbers: Numbers, below: number): Numbers {
  return below - 1 <= numbers.through ? numbers : closed(below - 1, numbers.above);
}

function closed(from: number, above: Numbers['above']): Numbers {
  let through = from;
  let rest = 0;
  for (const [first, last] of above) {
    if (first > through + 1 && above.length - rest <= GAPS_MAX) break;
    through = Math.max(through, last);
    rest += 1;
  }
  return { through, above: above.slice(rest) };
}
