import type { SignalInput } from '@brink/protocol';
import { pauseOf } from './cuts.ts';
import type { MarkReader, MarkWriter } from './mark.ts';
import { createPeakFinder } from './peaks.ts';

/** Where a unit lies in the conditioned samples, per input: `from` to before `to`, its context included. */
export interface UnitCut {
  readonly inputs: readonly { readonly from: number; readonly to: number }[];
  /** Where what it decides about begins, after the context. */
  readonly start: number;
  readonly values?: Readonly<Record<string, number>>;
}

/** Tells which units are whole by now. */
export interface Cutter {
  /** @param clean what came to the first input, channel by channel, since the last call */
  readonly next: (clean: readonly Float32Array[]) => UnitCut[];
  /** Position in the conditioned samples; no unit that comes later looks at anything before it. */
  readonly neededFrom: () => number;
  readonly write: (mark: MarkWriter) => void;
}

/** As much of a `Line` as it takes to cut it. */
export interface Cuttable {
  /** Where the first window of `hop` begins that has all of its samples. */
  readonly first: number;
  /** One past the last conditioned sample. */
  readonly end: number;
  readonly window: number;
  readonly context: number;
}

/** A unit is where every input has its window. @param hop the same for all */
export function createHopCutter(lines: readonly Cuttable[], hop: number, mark?: MarkReader): Cutter {
  let start = mark === undefined ? Math.max(...lines.map(({ first }) => first)) : mark.number();
  const context = Math.max(...lines.map((line) => line.context));
  return {
    next: () => {
      const cuts: UnitCut[] = [];
      for (; lines.every(({ end, window }) => start + window <= end); start += hop) {
        const inputs = lines.map((line) => ({ from: start - line.context, to: start + line.window }));
        cuts.push({ inputs, start });
      }
      return cuts;
    },
    neededFrom: () => Math.max(0, start - context),
    write: (to) => to.number(start),
  };
}

/**
 * A unit for each peak of one channel, as `cutsOf` cuts a file.
 * @param begin of the conditioned samples
 */
export function createPeakCutter(line: Cuttable, begin: number, signal: SignalInput, mark?: MarkReader): Cutter {
  const { window, rate_hz, before = 0, until, rate_as, channels, trigger } = signal;
  const spec = trigger?.peaks as NonNullable<typeof trigger>['peaks'];
  const channel = spec.channel === undefined ? 0 : channels.indexOf(spec.channel);
  const origin = mark === undefined ? begin : mark.number();
  const finder = createPeakFinder(rate_hz, spec, mark ?? begin);
  const pause = pauseOf(rate_hz);
  const needsNext = until !== undefined || rate_as !== undefined;
  /** Peaks whose units are not whole yet, with the one behind each that is known; of a gap between peaks the last is none. */
  let peaks: number[] = mark === undefined ? [] : [...mark.doubles()];

  const unitOf = (peak: number, next: number | undefined): UnitCut => {
    const from = peak - before;
    const to = until === undefined || next === undefined ? from + window : Math.min(next, from + window);
    const values =
      rate_as === undefined || next === undefined ? {} : { values: { [rate_as]: (60 * rate_hz) / (next - peak) } };
    return { inputs: [{ from, to }], start: from, ...values };
  };
  /** @returns undefined where what comes later will tell, [] where it has no unit */
  const decide = (peak: number, next: number | undefined): UnitCut[] | undefined => {
    if (peak - before < origin) return [];
    if (needsNext) {
      if ((next ?? finder.earliest) - peak > pause) return [];
      if (next === undefined) return undefined;
    }
    const unit = unitOf(peak, next);
    return (unit.inputs[0]?.to ?? 0) <= line.end ? [unit] : undefined;
  };

  return {
    next: (clean) => {
      peaks.push(...finder.push(clean[channel] as Float32Array));
      const cuts: UnitCut[] = [];
      let done = 0;
      for (; done < peaks.length; done++) {
        const unit = decide(peaks[done] as number, peaks[done + 1]);
        if (unit === undefined) break;
        cuts.push(...unit);
      }
      peaks = peaks.slice(done);
      return cuts;
    },
    neededFrom: () => Math.max(origin, Math.min(peaks[0] ?? Number.POSITIVE_INFINITY, finder.earliest) - before),
    write: (to) => {
      to.number(origin);
      finder.write(to);
      to.doubles(peaks);
    },
  };
}
