import { BrinkError, type SignalInput } from '@brink/protocol';
import { createBandPass, designBandPass, filterBothWays } from './butterworth.ts';
import { toFloat32 } from './conditioning.ts';
import { cutsOf } from './cuts.ts';
import { normaliseMinMax, normaliseZScore } from './normalise.ts';
import { detrend, medianFilter } from './smooth.ts';
import type { Units } from './units.ts';

// The order: median, band-pass (causal) over the recording; where units lie; then unit by unit band-pass (both ways),
// detrend, normalise, zeros. Nothing looks at more than the samples before it, half a median behind it, and its own window, so that a
// stream makes of the same samples the same units as a file.

const NORMALISERS = { none: undefined, 'z-score': normaliseZScore, 'min-max': normaliseMinMax } as const;

/** @throws BrinkError E_PASSPORT where the numbers of `signal` cannot be together */
export function checkSignal(signal: SignalInput): void {
  const { rate_hz, median, band_pass } = signal;
  if (median !== undefined && median % 2 === 0) wrong(`median is ${median}; expected an odd number of samples`);
  if (band_pass !== undefined) checkBand('band_pass', [band_pass.low_hz, band_pass.high_hz], rate_hz);
  checkTrigger(signal);
}

function checkBand(name: string, [low, high]: readonly [number, number], rateHz: number): void {
  const half = rateHz / 2;
  if (low < high && high < half) return;
  wrong(`${name} is ${low} to ${high} Hz; expected a band below half of rate_hz, ${half}`);
}

function checkTrigger(signal: SignalInput): void {
  const { trigger, hop, before, pad, until, rate_as } = signal;
  if (trigger === undefined) {
    const without = Object.entries({ before, pad, until, rate_as }).find(([, value]) => value !== undefined);
    if (without !== undefined) wrong(`${without[0]} says how to cut at a peak; expected trigger beside it`);
    return;
  }
  const { band_hz, channel } = trigger.peaks;
  checkBand('trigger.peaks.band_hz', band_hz, signal.rate_hz);
  if (hop !== undefined) wrong('hop is there beside trigger; expected one of the two');
  if ((pad === undefined) !== (until === undefined)) wrong('of pad and until one is there; expected both, or neither');
  if ((before ?? 0) >= signal.window) wrong(`before is ${before}; expected less than window, ${signal.window}`);
  if (channel !== undefined && !signal.channels.includes(channel)) {
    wrong(`trigger.peaks.channel is "${channel}"; expected one of channels`);
  }
}

/**
 * A measured signal → the tensors of a `signal` input.
 * @param channels in the order of `signal.channels`, all of one length, at `signal.rate_hz`
 * @throws BrinkError E_PASSPORT; E_DECODE where the samples are so large that filtering leaves float32
 */
export function signalUnits(channels: readonly Float32Array[], signal: SignalInput): Units {
  checkSignal(signal);
  const tensorOf = createSignalTensor(signal);
  const clean = conditioned(channels, signal);
  const { count, at, values } = cutsOf(clean, signal);
  function* tensors() {
    for (let unit = 0; unit < count; unit++) {
      const { from, to } = at(unit);
      yield tensorOf(clean.map((samples) => samples.slice(from, to)));
    }
  }
  return { count, tensors: tensors(), ...(values === undefined ? {} : { values }) };
}

/**
 * One cut of conditioned samples → its tensor: what is done to each window alone.
 * @returns from arrays of at most a window per channel, which it may change. @throws BrinkError E_DECODE
 */
export function createSignalTensor(
  signal: SignalInput,
): (channels: readonly Float32Array<ArrayBuffer>[]) => Uint8Array {
  const { window, layout, channels: names } = signal;
  const [byChannel, byTime] = layout === 'channels-time' ? [window, 1] : [1, names.length];
  const finish = createFinish(signal);
  return (channels) => {
    // What a short cut does not fill stays zero.
    const out = new Float32Array(names.length * window);
    for (const [c, all] of channels.entries()) {
      const samples = finish(all, c);
      for (let i = 0; i < samples.length; i++) out[c * byChannel + i * byTime] = samples[i] as number;
    }
    return new Uint8Array(out.buffer);
  };
}

/** What is done over the recording, channel by channel. */
function conditioned(channels: readonly Float32Array[], { median, band_pass, rate_hz, channels: names }: SignalInput) {
  const causal = band_pass?.phase === 'causal' ? band_pass : undefined;
  if (median === undefined && causal === undefined) return channels;
  const sections = causal && designBandPass(causal.order, causal.low_hz, causal.high_hz, rate_hz);
  return channels.map((samples, c) => {
    let values = Float64Array.from(samples);
    if (median !== undefined) values = medianFilter(values, median);
    if (sections !== undefined) values = createBandPass(sections).run(values);
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

function wrong(detail: string): never {
  throw new BrinkError('E_PASSPORT', `inputs.signal.${detail}`);
}
