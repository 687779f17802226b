import type { MarkReader, MarkWriter } from './mark.ts';

// Whether a window can be trusted, measured on the samples as they came. Doubtful are:
// - a window whose every sample, in every channel, is exactly 0: nothing was connected;
// - of sound (full scale is known there, 1): clipped, which is when at least a hundredth of the window lies in runs of
//   three or more equal samples in a row of at least 0.99. A loud tone that is not clipped has no three equal samples there.

const FULL_SCALE = 0.99;
const RUN = 3;
const SHARE = 0.01;

export interface Quality {
  readonly push: (channels: readonly Float32Array[]) => void;
  /** @returns whether the samples `from` to before `to` are doubtful. Costs nothing that grows with them. */
  readonly bad: (from: number, to: number) => boolean;
  readonly drop: (before: number) => void;
  readonly write: (mark: MarkWriter) => void;
}

/**
 * @param sound whether full scale is 1; the first channel is looked at
 * @param shortest window that will be asked for
 * @param from the position of the first sample that will come, or the mark of another one
 */
export function createQuality(sound: boolean, shortest: number, from: number | MarkReader): Quality {
  const silence = createSilence(shortest, from);
  const clipping = sound ? createClipping(from) : undefined;
  return {
    push: (channels) => {
      silence.push(channels);
      clipping?.push(channels[0] as Float32Array);
    },
    bad: (start, end) => {
      if (silence.covers(start, end)) return true;
      return clipping !== undefined && clipping.count(start, end) >= SHARE * (end - start);
    },
    drop: (before) => {
      silence.drop(before);
      clipping?.drop(before);
    },
    write: (mark) => {
      silence.write(mark);
      clipping?.write(mark);
    },
  };
}

/** Remembers where nothing but zeros came, if it is long enough for a window. */
function createSilence(shortest: number, mark: number | MarkReader) {
  let at = typeof mark === 'number' ? mark : mark.number();
  /** Where the zeros begin that go on until `at`. */
  let since = typeof mark === 'number' ? mark : mark.number();
  let runs: { readonly from: number; readonly to: number }[] = [];
  return {
    push: (channels: readonly Float32Array[]) => {
      const [first = new Float32Array(), ...others] = channels;
      for (let i = 0; i < first.length; i++, at++) {
        if (first[i] === 0 && others.every((samples) => samples[i] === 0)) continue;
        if (at - since >= shortest) runs.push({ from: since, to: at });
        since = at + 1;
      }
    },
    covers: (from: number, to: number) => since <= from || runs.some((run) => run.from <= from && to <= run.to),
    drop: (before: number) => {
      if (runs[0] !== undefined && runs[0].to < before) runs = runs.filter(({ to }) => to >= before);
    },
    write: (to: MarkWriter) => {
      to.number(at);
      to.number(since);
    },
  };
}

interface Run {
  readonly from: number;
  readonly to: number;
  /** Samples of this run and of those before it. */
  readonly total: number;
}

/** Counts the samples that are clipped. */
function createClipping(mark: number | MarkReader) {
  let at = typeof mark === 'number' ? mark : mark.number();
  /** The value of the last sample, and since where it has not changed. */
  let held = typeof mark === 'number' ? Number.NaN : mark.number();
  let since = typeof mark === 'number' ? mark : mark.number();
  let total = 0;
  let runs: Run[] = [];
  const length = () => (Math.abs(held) >= FULL_SCALE && at - since >= RUN ? at - since : 0);
  const before = (position: number) => {
    let [low, high] = [0, runs.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((runs[middle] as Run).from < position) low = middle + 1;
      else high = middle;
    }
    const last = runs[low - 1];
    const ended =
      last === undefined
        ? runs[0]
          ? runs[0].total - (runs[0].to - runs[0].from)
          : total
        : last.total - Math.max(0, last.to - position);
    return ended + (length() === 0 ? 0 : Math.max(0, position - since));
  };
  return {
    push: (samples: Float32Array) => {
      for (const value of samples) {
        if (value !== held) {
          if (length() > 0) {
            total += length();
            runs.push({ from: since, to: at, total });
          }
          held = value;
          since = at;
        }
        at++;
      }
    },
    count: (from: number, to: number) => before(to) - before(from),
    drop: (position: number) => {
      if (runs[0] !== undefined && runs[0].to < position) runs = runs.filter(({ to }) => to >= position);
    },
    write: (to: MarkWriter) => {
      to.number(at);
      to.number(held);
      to.number(since);
    },
  };
}
