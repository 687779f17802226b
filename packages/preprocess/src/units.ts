import type { AudioInput } from '@brink/protocol';
import { normalisePeak } from './normalise.ts';
import { createSpectrum, type Spectrum } from './spectrum.ts';
import { windowsIn, windowsOf } from './windows.ts';

/** Every unit of a recording for one input, made as it is asked for. */
export interface Units {
  readonly count: number;
  /** Per unit the tensor of `wireHeads`: float32, its bytes. */
  readonly tensors: Iterable<Uint8Array>;
  /** Per unit what was measured while it was cut, for the `values` of its result. */
  readonly values?: readonly Readonly<Record<string, number>>[];
}

/**
 * A recording → the tensors of an `audio` input.
 * @param samples mono, at `audio.rate_hz`, the first at position 0
 * @throws BrinkError E_PASSPORT where the numbers of `mfcc` cannot be
 */
export function audioUnits(samples: Float32Array, audio: AudioInput): Units {
  const tensorOf = createAudioTensor(audio);
  function* tensors() {
    for (const window of windowsOf(samples, audio)) yield tensorOf(window);
  }
  return { count: windowsIn(samples.length, audio).count, tensors: tensors() };
}

/** Tables of the spectra in use; they are the same for every device of a stream. */
const spectra = new WeakMap<AudioInput, Spectrum>();

/**
 * The samples of one window, its context in front → its tensor.
 * @returns from an array that it may change. @throws BrinkError E_PASSPORT where the numbers of `mfcc` cannot be
 */
export function createAudioTensor(audio: AudioInput): (window: Float32Array<ArrayBuffer>) => Uint8Array {
  let spectrum = spectra.get(audio);
  if (spectrum === undefined && audio.mfcc !== undefined) {
    spectrum = createSpectrum(audio.mfcc, audio.rate_hz);
    spectra.set(audio, spectrum);
  }
  return (window) => {
    if (audio.normalise === 'peak') normalisePeak(window);
    return bytesOf(spectrum === undefined ? window : spectrum(window));
  };
}

function bytesOf(values: Float32Array<ArrayBuffer>): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
