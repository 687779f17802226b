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

/** @param from the position of the first number, or the mark of another one */
export function createTrail(from: number | MarkReader): Trail {
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
  if (typeof from !== 'number') for (const value of from.doubles()) push(value);
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
      mark.doubles(data.subarray(first, first + length));
    },
  };
}
