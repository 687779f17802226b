import { BrinkError, type SignalInput } from '@brink/protocol';
import { createBandPass, designBandPass, filterBothWays } from './butterworth.ts';
import { normaliseMinMax, normaliseZScore } from './normalise.ts';
import { detrend, medianFilter } from './smooth.ts';
import type { Units } from './units.ts';
import { windowsIn, windowsOf } from './windows.ts';

// The order: median, band-pass (causal) over the recording; then window by window band-pass (both ways), detrend,
// normalise. Nothing looks at more than the samples before it, half a median behind it, and its own window, so that a
// stream makes of the same samples the same units as a file.

const NORMALISERS = { none: undefined, 'z-score': normaliseZScore, 'min-max': normaliseMinMax } as const;

/** @throws BrinkError E_PASSPORT where the numbers of `signal` cannot be together */
export function checkSignal({ rate_hz, median, band_pass }: SignalInput): void {
  if (median !== undefined && median % 2 === 0) wrong(`median is ${median}; expected an odd number of samples`);
  if (band_pass === undefined) return;
  const { low_hz, high_hz } = band_pass;
  if (high_hz <= low_hz) wrong(`band_pass.high_hz is ${high_hz}; expected more than low_hz, ${low_hz}`);
  if (high_hz >= rate_hz / 2)
    wrong(`band_pass.high_hz is ${high_hz}; expected less than half of rate_hz, ${rate_hz / 2}`);
}

/**
 * A measured signal → the tensors of a `signal` input.
 * @param channels in the order of `signal.channels`, all of one length, at `signal.rate_hz`
 * @throws BrinkError E_PASSPORT; E_DECODE where the samples are so large that filtering leaves float32
 */
export function signalUnits(channels: readonly Float32Array[], signal: SignalInput): Units {
  checkSignal(signal);
  const { window, layout } = signal;
  const [byChannel, byTime] = layout === 'channels-time' ? [window, 1] : [1, channels.length];
  const { count } = windowsIn(channels[0]?.length ?? 0, signal);
  const finish = createFinish(signal);
  const clean = conditioned(channels, signal);
  function* tensors() {
    const windows = clean.map((samples) => windowsOf(samples, signal));
    for (let unit = 0; unit < count; unit++) {
      const out = new Float32Array(channels.length * window);
      for (const [c, of] of windows.entries()) {
        const samples = finish(of.next().value as Float32Array<ArrayBuffer>, c);
        for (let i = 0; i < window; i++) out[c * byChannel + i * byTime] = samples[i] as number;
      }
      yield new Uint8Array(out.buffer);
    }
  }
  return { count, tensors: tensors() };
}

/** What is done over the recording, channel by channel. */
function conditioned(channels: readonly Float32Array[], { median, band_pass, rate_hz, channels: names }: SignalInput) {
  const causal = band_pass?.phase === 'causal' ? band_pass : undefined;
  if (median === undefined && causal === undefined) return channels;
  const sections = causal && designBandPass(causal.order, causal.low_hz, causal.high_hz, rate_hz);
  return channels.map((samples, c) => {
    let values = Float64Array.from(samples);
    if (median !== undefined) values = medianFilter(values, median);
    if (sections !== undefined) values = createBandPass(sections)(values);
    return toFloat32(values, names[c]);
  });
}

type Finish = (samples: Float32Array<ArrayBuffer>, channel: number) => Float32Array<ArrayBuffer>;

/** What is done to one window of one channel. */
function createFinish({ band_pass, detrend: trend, normalise: how, rate_hz, channels }: SignalInput): Finish {
  const normalise = NORMALISERS[how];
  const both = band_pass?.phase === 'zero' ? band_pass : undefined;
  const sections = both && designBandPass(both.order, both.low_hz, both.high_hz, rate_hz);
  return (samples, channel) => {
    let out = samples;
    if (sections !== undefined || trend !== 'none') {
      let values = Float64Array.from(samples);
      if (sections !== undefined) values = filterBothWays(values, sections);
      if (trend !== 'none') detrend(values, trend);
      out = toFloat32(values, channels[channel]);
    }
    normalise?.(out);
    return out;
  };
}

function toFloat32(values: Float64Array, channel: string | undefined): Float32Array<ArrayBuffer> {
  const out = Float32Array.from(values);
  if (out.every(Number.isFinite)) return out;
  throw new BrinkError(
    'E_DECODE',
    `"${channel}" is no finite float32 any more when filtered; expected smaller numbers`,
  );
}

function wrong(detail: string): never {
  throw new BrinkError('E_PASSPORT', `inputs.signal.${detail}`);
}
