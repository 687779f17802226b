/** What a bench gives back; `main` adds the machine and prints it as one JSON line. */
export interface BenchResult {
  readonly figure: number | null;
  readonly unit: string;
  readonly bar: number;
  /** Whether the figure must not be above the bar; else not below it. */
  readonly atMost?: boolean;
  /** What must not happen and did, so many times: more than 0 is no pass, whatever the figure. */
  readonly broken?: number;
  readonly variants: Record<string, unknown>;
  readonly rounds: readonly unknown[];
}

export interface Bench {
  readonly what: string;
  run(report: (line: string) => void): Promise<BenchResult>;
}
