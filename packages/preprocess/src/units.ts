import type { AudioInput, SignalInput } from '@brink/protocol';
import { normaliseMinMax, normalisePeak, normaliseZScore } from './normalise.ts';
import { createSpectrum } from './spectrum.ts';
import { windowsIn, windowsOf } from './windows.ts';

/** Every unit of a recording for one input, made as it is asked for. */
export interface Units {
  readonly count: number;
  /** Per unit the tensor of `wireHeads`: float32, its bytes. */
  readonly tensors: Iterable<Uint8Array>;
}

/**
 * A recording → the tensors of an `audio` input.
 * @param samples mono, at `audio.rate_hz`, the first at position 0
 * @throws BrinkError E_PASSPORT where the numbers of `mfcc` cannot be
 */
export function audioUnits(samples: Float32Array, audio: AudioInput): Units {
  const spectrum = audio.mfcc === undefined ? undefined : createSpectrum(audio.mfcc, audio.rate_hz);
  function* tensors() {
    for (const window of windowsOf(samples, audio)) {
      if (audio.normalise === 'peak') normalisePeak(window);
      yield bytesOf(spectrum === undefined ? window : spectrum(window));
    }
  }
  return { count: windowsIn(samples.length, audio).count, tensors: tensors() };
}

const SIGNAL_NORMALISERS = { none: undefined, 'z-score': normaliseZScore, 'min-max': normaliseMinMax } as const;

/**
 * A measured signal → the tensors of a `signal` input.
 * @param channels in the order of `signal.channels`, all of one length, at `signal.rate_hz`
 */
export function signalUnits(channels: readonly Float32Array[], signal: SignalInput): Units {
  const { window, layout } = signal;
  const normalise = SIGNAL_NORMALISERS[signal.normalise];
  const [byChannel, byTime] = layout === 'channels-time' ? [window, 1] : [1, channels.length];
  const { count } = windowsIn(channels[0]?.length ?? 0, signal);
  function* tensors() {
    const windows = channels.map((samples) => windowsOf(samples, signal));
    for (let unit = 0; unit < count; unit++) {
      const out = new Float32Array(channels.length * window);
      for (const [c, of] of windows.entries()) {
        const samples = of.next().value as Float32Array;
        normalise?.(samples);
        for (let i = 0; i < window; i++) out[c * byChannel + i * byTime] = samples[i] as number;
      }
      yield bytesOf(out);
    }
  }
  return { count, tensors: tensors() };
}

function bytesOf(values: Float32Array<ArrayBuffer>): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
