import { arch, availableParallelism, cpus, platform } from 'node:os';

/** Rounds with baselines further apart than this say more about the machine than about the system. */
const BASELINE_SPREAD_MAX = 0.2;
const ROUNDS_MAX = 9;
const ROUNDS_GOOD = 3;

interface Round {
  readonly baseline: readonly [before: number, after: number];
  readonly system: number;
  /** system ÷ mean of the two baselines */
  readonly ratio: number;
  readonly good: boolean;
}

export interface Series {
  readonly figure: number | null;
  readonly rounds: readonly Round[];
}

/**
 * Measures baseline, system, baseline until three rounds are good, nine at most.
 * @param baseline frames per second of the raw loop, or whatever else is measured
 * @param system the same of the whole
 * @param o unit of what they give; baseline: what is said for it
 * @returns the median ratio of three good rounds; null where there were not three
 */
export async function measureRounds(
  baseline: () => Promise<number>,
  system: () => Promise<number>,
  report: (line: string) => void,
  o: { unit?: string; baseline?: string } = {},
): Promise<Series> {
  const { unit = 'frames/s', baseline: word = 'raw' } = o;
  const rounds: Round[] = [];
  const good = () => rounds.filter((round) => round.good);
  while (good().length < ROUNDS_GOOD && rounds.length < ROUNDS_MAX) {
    const before = await baseline();
    const figure = await system();
    const after = await baseline();
    const mean = (before + after) / 2;
    const round: Round = {
      baseline: [rounded(before), rounded(after)],
      system: rounded(figure),
      ratio: Number((figure / mean).toFixed(3)),
      good: Math.abs(before - after) / mean <= BASELINE_SPREAD_MAX,
    };
    rounds.push(round);
    report(
      `  round ${rounds.length}: ${word} ${round.baseline[0]} · system ${round.system} · ${word} ${round.baseline[1]} ${unit}` +
        ` → ${round.ratio}${round.good ? '' : ' (baselines too far apart, repeated)'}`,
    );
  }
  const ratios = good().map((round) => round.ratio);
  return { figure: ratios.length < ROUNDS_GOOD ? null : median(ratios), rounds };
}

/** Frames to whole ones, milliseconds to thousandths. */
const rounded = (value: number) => (value < 100 ? Number(value.toFixed(3)) : Math.round(value));

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] as number;
}

export function machine(): Record<string, string | number> {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    platform: `${platform()}-${arch()}`,
    node: process.version,
  };
}
