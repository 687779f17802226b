import { BrinkError, type OutputOf } from '@brink/protocol';
import type { PictureSize } from './decode.ts';

type Priors = OutputOf<'ssd'>['priors'];
type Maps = Extract<Priors, { maps: unknown }>['maps'];

const PRIORS_MAX = 500_000;

/**
 * The boxes from which an SSD measures: x y (centre) w h, parts of the picture, one behind the other.
 * @throws BrinkError E_PASSPORT
 */
export function priorsOf(
  priors: Priors,
  input: () => PictureSize,
  files: ReadonlyMap<string, Uint8Array> | undefined,
): Float64Array {
  if ('maps' in priors) return generated(priors.maps, input());
  const bytes = files?.get(priors.file);
  if (bytes === undefined) {
    throw new BrinkError('E_PASSPORT', `output.priors.file is "${priors.file}", which files does not list`);
  }
  const numbers = priors.file.endsWith('.json') ? fromJson(bytes, priors.file) : fromFloats(bytes, priors.file);
  if (numbers.length === 0 || numbers.length % 4 !== 0 || numbers.length > 4 * PRIORS_MAX) {
    throw new BrinkError('E_PASSPORT', `${priors.file} has ${numbers.length} numbers; expected four for every prior`);
  }
  if (!numbers.every(Number.isFinite))
    throw new BrinkError('E_PASSPORT', `${priors.file} has numbers that are not finite`);
  return priors.form === 'centre' ? numbers : toCentres(numbers);
}

/** Cell by cell, row by row; the sizes of a cell in their order. */
function generated(maps: Maps, { width, height }: PictureSize): Float64Array {
  const count = maps.reduce((sum, { columns, rows, sizes }) => sum + columns * rows * sizes.length, 0);
  if (count > PRIORS_MAX) {
    throw new BrinkError('E_PASSPORT', `output.priors.maps make ${count} priors; expected at most ${PRIORS_MAX}`);
  }
  const out = new Float64Array(count * 4);
  let at = 0;
  for (const { columns, rows, stride, sizes } of maps) {
    const [stepX, stepY] = stride === undefined ? [1 / columns, 1 / rows] : [stride / width, stride / height];
    for (let cell = 0; cell < columns * rows; cell++) {
      const x = ((cell % columns) + 0.5) * stepX;
      const y = (Math.floor(cell / columns) + 0.5) * stepY;
      for (const size of sizes) {
        const [w, h] = typeof size === 'number' ? [size, size] : size;
        out.set([x, y, w / width, h / height], at);
        at += 4;
      }
    }
  }
  return out;
}

function fromJson(bytes: Uint8Array, file: string): Float64Array {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (reason) {
    throw new BrinkError('E_PASSPORT', `${file} is not JSON: ${BrinkError.from(reason).detail}`, { cause: reason });
  }
  const flat = Array.isArray(json) ? json.flat() : [];
  if (flat.length === 0 || !flat.every((value) => typeof value === 'number')) {
    throw new BrinkError('E_PASSPORT', `${file} is no list of priors; expected [[x, y, w, h], …]`);
  }
  return Float64Array.from(flat);
}

function fromFloats(bytes: Uint8Array, file: string): Float64Array {
  if (bytes.byteLength % 4 !== 0) {
    throw new BrinkError('E_PASSPORT', `${file} has ${bytes.byteLength} bytes; expected float32 values`);
  }
  const copy = bytes.slice();
  return Float64Array.from(new Float32Array(copy.buffer, copy.byteOffset, copy.byteLength / 4));
}

function toCentres(corners: Float64Array): Float64Array {
  const out = new Float64Array(corners.length);
  for (let at = 0; at < corners.length; at += 4) {
    const [x0, y0, x1, y1] = corners.subarray(at, at + 4) as unknown as [number, number, number, number];
    out.set([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], at);
  }
  return out;
}
