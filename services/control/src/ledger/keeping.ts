import type { Configuration, KeepConfig, Outcome } from '@brink/protocol';

/** What a lane kept last: of it depends whether the next one is kept. */
export interface LastKept {
  /** What it said, as far as a change of it counts; undefined: nothing was kept yet. */
  sign: string | undefined;
  /** received_ms of it. */
  ms: number | undefined;
}

/** Which decisions become rows. Numbers, counts, rules and the feed know every decision, kept or not. */
export function createKeeping() {
  let keep = new Map<string, KeepConfig>();
  return {
    configure(configuration: Configuration | undefined): void {
      const pipelines = Object.values(configuration?.streams ?? {}).flatMap((stream) =>
        Object.entries(stream.pipelines),
      );
      keep = new Map(pipelines.map(([name, pipeline]) => [name, pipeline.keep]));
    },
    /** A pipeline that is gone, of which an outcome still comes, keeps all. */
    all: (pipeline: string) => (keep.get(pipeline) ?? 'all') === 'all',
    /** @returns whether it is kept for its own sake; `last` is then what it says */
    wants(outcome: Outcome, last: LastKept): boolean {
      const how = keep.get(outcome.pipeline) ?? 'all';
      if (how === 'all') return true;
      if (how === 'changes') {
        const sign = signOf(outcome);
        if (sign === last.sign) return false;
        last.sign = sign;
      } else {
        const { ms } = last;
        // A clock that was set back must not silence it until it is there again.
        const passedMs = ms === undefined ? Number.POSITIVE_INFINITY : Math.abs(outcome.received_ms - ms);
        if (passedMs < how.every_ms) return false;
      }
      last.ms = outcome.received_ms;
      return true;
    },
  };
}
export type Keeping = ReturnType<typeof createKeeping>;

/**
 * What has to differ for a decision to be a change: outcome, error, model, label, quality, and how many objects there are of each
 * label. Scores and boxes differ always. A result without a label (values, an embedding) is its own sign.
 */
function signOf({ outcome, error, model, result }: Outcome): string {
  const parts: unknown[] = [outcome, error?.code, model.name, model.version, result?.quality];
  if (result?.objects !== undefined) parts.push(countsOf(result.objects.map(({ label }) => label)));
  else if (result?.label !== undefined) parts.push(result.label);
  else parts.push(result);
  return JSON.stringify(parts);
}

function countsOf(labels: readonly string[]): [label: string, count: number][] {
  const counts = new Map<string, number>();
  for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
}
