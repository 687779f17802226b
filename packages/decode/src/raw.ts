import { BrinkError } from '@brink/protocol';

/** As ffmpeg calls them. Little-endian. */
export type RawEncoding = 'f32le' | 's16le';

/**
 * Numbers and nothing else: the channels of one moment after each other, moment after moment.
 * @param channels how many
 * @returns per channel its samples, integers as they are
 * @throws BrinkError E_SHAPE where the last moment is not whole; E_NUMBER where a number is not finite
 */
export function readRaw(bytes: Uint8Array, encoding: RawEncoding, channels: number): Float32Array<ArrayBuffer>[] {
  const width = encoding === 'f32le' ? 4 : 2;
  const length = bytes.byteLength / (width * channels);
  if (!Number.isInteger(length)) {
    const expected = `a multiple of ${width * channels}: ${encoding}, ${channels} channel${channels === 1 ? '' : 's'}`;
    throw new BrinkError('E_SHAPE', `${bytes.byteLength} bytes; expected ${expected}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: channels }, (_, c) => {
    const samples = new Float32Array(length);
    for (let i = 0; i < length; i++) {
      const at = (i * channels + c) * width;
      const value = encoding === 'f32le' ? view.getFloat32(at, true) : view.getInt16(at, true);
      if (!Number.isFinite(value)) {
        throw new BrinkError('E_NUMBER', `raw samples: ${value} at byte ${at}; expected a finite float32`);
      }
      samples[i] = value;
    }
    return samples;
  });
}
