import { BrinkError } from '@brink/protocol';

// What a stream's steps know, as bytes: every step writes what it holds and reads it back in the same order. Numbers are
// little-endian, so that a mark can move to another machine.

export interface MarkWriter {
  /** Any float64; positions stay exact up to 2^53. */
  readonly number: (value: number) => void;
  /** float32, exact where every value is one. */
  readonly floats: (values: Float32Array) => void;
  readonly doubles: (values: Float64Array | readonly number[]) => void;
}

export interface MarkReader {
  readonly number: () => number;
  readonly floats: () => Float32Array<ArrayBuffer>;
  readonly doubles: () => Float64Array<ArrayBuffer>;
}

export function createMarkWriter(): MarkWriter & { readonly bytes: () => Uint8Array } {
  let view = new DataView(new ArrayBuffer(1024));
  let at = 0;
  const room = (bytes: number) => {
    if (at + bytes <= view.byteLength) return;
    const wider = new Uint8Array(2 * (at + bytes));
    wider.set(new Uint8Array(view.buffer, 0, at));
    view = new DataView(wider.buffer);
  };
  const number = (value: number) => {
    room(8);
    view.setFloat64(at, value, true);
    at += 8;
  };
  return {
    number,
    floats: (values) => {
      number(values.length);
      room(4 * values.length);
      for (const value of values) {
        view.setFloat32(at, value, true);
        at += 4;
      }
    },
    doubles: (values) => {
      number(values.length);
      for (const value of values) number(value);
    },
    bytes: () => new Uint8Array(view.buffer, 0, at).slice(),
  };
}

/** @throws BrinkError E_STORAGE_CORRUPT from its functions where the bytes end too early or make no sense */
export function createMarkReader(bytes: Uint8Array): MarkReader & { readonly end: () => void } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const corrupt = (): never => {
    throw new BrinkError('E_STORAGE_CORRUPT', `a mark of ${bytes.byteLength} bytes cannot be read at byte ${at}`);
  };
  const number = () => {
    if (at + 8 > view.byteLength) corrupt();
    at += 8;
    return view.getFloat64(at - 8, true);
  };
  const list = (size: number) => {
    const length = number();
    if (!Number.isInteger(length) || length < 0 || at + size * length > view.byteLength) corrupt();
    at += size * length;
    return { length, begin: at - size * length };
  };
  return {
    number,
    floats: () => {
      const { length, begin } = list(4);
      return Float32Array.from({ length }, (_, i) => view.getFloat32(begin + 4 * i, true));
    },
    doubles: () => {
      const { length, begin } = list(8);
      return Float64Array.from({ length }, (_, i) => view.getFloat64(begin + 8 * i, true));
    },
    end: () => {
      if (at !== view.byteLength) corrupt();
    },
  };
}
