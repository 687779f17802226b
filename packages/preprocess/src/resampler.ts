import type { MarkReader, MarkWriter } from './mark.ts';
import { phasesOf, ratioOf, reachOf, refuseHuge } from './resample.ts';

/** `resample`, as the samples come. */
export interface Resampler {
  /** Index of the first sample that it will return, at the new rate, where position 0 is the same in both. */
  readonly begin: number;
  /**
   * @returns the samples whose every neighbour is there by now
   * @throws BrinkError E_DECODE as `resample`
   */
  readonly run: (samples: Float32Array) => Float32Array<ArrayBuffer>;
  readonly write: (mark: MarkWriter) => void;
}

/**
 * @param from the position of the first sample that will come, or the mark of another one. At position 0 zeros lie
 * before it, as at the beginning of a file; elsewhere the first output is the first that needs none.
 * @throws BrinkError E_SHAPE
 */
export function createResampler(fromHz: number, toHz: number, from: number | MarkReader): Resampler {
  const { up, down } = ratioOf(fromHz, toHz);
  const tapsOf = phasesOf(up, down);
  let { next, tail, tailAt } = typeof from === 'number' ? startAt(from, up, down) : readState(from);
  // Position next · down / up of the input, split without rounding, and then counted on.
  let whole = Number((BigInt(next) * BigInt(down)) / BigInt(up));
  let phase = Number((BigInt(next) * BigInt(down)) % BigInt(up));

  const run = (samples: Float32Array) => {
    const all = new Float32Array(tail.length + samples.length);
    all.set(tail);
    all.set(samples, tail.length);
    const end = tailAt + all.length;
    const out = new Float32Array(Math.max(0, Math.ceil(((end - whole) * up) / down)) + 1);
    let count = 0;
    let { first, taps } = tapsOf(phase);
    while (whole + first + taps.length <= end) {
      const start = whole + first;
      let sum = 0;
      for (let t = Math.max(0, -start); t < taps.length; t++) {
        sum += (taps[t] as number) * (all[start + t - tailAt] as number);
      }
      out[count] = sum;
      if (!Number.isFinite(out[count])) refuseHuge(next, toHz);
      count++;
      next++;
      phase += down;
      whole += Math.floor(phase / up);
      phase %= up;
      ({ first, taps } = tapsOf(phase));
    }
    const used = Math.min(all.length, Math.max(0, whole + first - tailAt));
    tail = all.slice(used);
    tailAt += used;
    return out.slice(0, count);
  };

  const write = (mark: MarkWriter) => {
    mark.number(next);
    mark.number(tailAt);
    mark.floats(tail);
  };
  return { begin: next, run, write };
}

function startAt(at: number, up: number, down: number) {
  const reach = at === 0 ? 0 : BigInt(reachOf(up, down));
  const next = at === 0 ? 0 : Number(((BigInt(at) + BigInt(reach)) * BigInt(up) + BigInt(down) - 1n) / BigInt(down));
  return { next, tail: new Float32Array(), tailAt: at };
}

function readState(mark: MarkReader) {
  const next = mark.number();
  const tailAt = mark.number();
  return { next, tailAt, tail: mark.floats() };
}
