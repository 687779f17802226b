import type { MarkReader, MarkWriter } from './mark.ts';

/** The last numbers of a row at absolute positions, for those who look back a bounded way. */
export interface Trail {
  /** One past the last position. */
  readonly end: number;
  readonly push: (value: number) => void;
  readonly at: (position: number) => number;
  /** What lies before is given up; it costs nothing to say so often. */
  readonly drop: (before: number) => void;
  readonly write: (mark: MarkWriter) => void;
}

/**
 * @param from the position of the first number, or the mark of another one
 * @param single every number is a float32: the mark is half as long
 */
export function createTrail(from: number | MarkReader, single = false): Trail {
  let data = new Float64Array(256);
  // data[first] is at `base`, and `length` numbers are there.
  let [base, first, length] = [typeof from === 'number' ? from : from.number(), 0, 0];
  const push = (value: number) => {
    if (first + length === data.length) {
      const room = 2 * length > data.length ? new Float64Array(2 * data.length) : data;
      room.set(data.subarray(first, first + length));
      data = room;
      first = 0;
    }
    data[first + length] = value;
    length++;
  };
  if (typeof from !== 'number') for (const value of single ? from.floats() : from.doubles()) push(value);
  return {
    get end() {
      return base + length;
    },
    push,
    at: (position) => data[first + position - base] as number,
    drop: (before) => {
      const gone = Math.min(length, before - base);
      if (gone <= 0) return;
      base += gone;
      first += gone;
      length -= gone;
    },
    write: (mark) => {
      mark.number(base);
      const kept = data.subarray(first, first + length);
      if (single) mark.floats(Float32Array.from(kept));
      else mark.doubles(kept);
    },
  };
}
