import { describe, expect, it } from 'vitest';
import librosa from '../fixtures/librosa.json' with { type: 'json' };
import { chirp, expectNear, mfccOf, reference } from './reference.testing.ts';
import { createSpectrum, hannWindow, melBands } from './spectrum.ts';

describe('the spectrum against TensorFlow', () => {
  it('has its Hann window', () => {
    expectNear(hannWindow(reference.hann.length), reference.hann.values, 1e-6);
  });

  it('has its mel bands, bin by bin', () => {
    const { mel } = reference;
    const found = melBands(mel, mel.rate_hz).flatMap(({ first, weights }) => {
      const row = new Float64Array(mel.fft / 2 + 1);
      row.set(weights, first);
      return [...row];
    });
    expectNear(found, mel.values, 1e-4);
  });

  it.each(reference.spectra)('has its coefficients or log-mel bands at $rate_hz Hz: $mfcc', (of) => {
    const found = createSpectrum(mfccOf(of.mfcc), of.rate_hz)(chirp(of.samples, of.rate_hz));
    expectNear(found, of.values, 1e-3);
  });

  it('gives the same for the same samples again, whatever came between', () => {
    const spectrum = createSpectrum(mfccOf(reference.spectra[0]!.mfcc), 16_000);
    const once = spectrum(chirp(1200, 16_000));
    spectrum(chirp(4000, 8000));
    expect(spectrum(chirp(1200, 16_000))).toEqual(once);
  });

  it('lies in memory as the layout says', () => {
    const { mfcc, samples, rate_hz } = reference.spectra[0]!;
    const sound = chirp(samples, rate_hz);
    const rows = createSpectrum(mfccOf(mfcc), rate_hz)(sound);
    for (const layout of ['time-bins-1', '1-time-bins'] as const) {
      expect(createSpectrum(mfccOf(mfcc, layout), rate_hz)(sound)).toEqual(rows);
    }
    const columns = createSpectrum(mfccOf(mfcc, 'bins-time'), rate_hz)(sound);
    for (const [i, value] of rows.entries()) expect(columns[(i % 10) * 3 + Math.floor(i / 10)]).toBe(value);
  });

  it('shows a tone in the band where it lies', () => {
    const mels = 20;
    const spec = mfccOf({ mels, frame: 512, stride: 512, fft: 512, low_hz: 0, high_hz: 8000 });
    const centres = Array.from({ length: mels }, (_, i) => {
      const mel = ((i + 1) * 1127 * Math.log(1 + 8000 / 700)) / (mels + 1);
      return 700 * (Math.exp(mel / 1127) - 1);
    });
    for (const [band, hz] of centres.entries()) {
      const tone = Float32Array.from({ length: 512 }, (_, i) => Math.sin((2 * Math.PI * hz * i) / 16_000));
      const found = createSpectrum(spec, 16_000)(tone);
      expect(found.indexOf(Math.max(...found)), `${hz} Hz`).toBe(band);
    }
  });

  it('is a number for silence too, with and without an offset', () => {
    const silence = new Float32Array(1000);
    for (const log_offset of [0, 1e-6]) {
      const found = createSpectrum(mfccOf({ bins: 4, mels: 8, frame: 256, stride: 128, fft: 256, log_offset }), 16_000);
      expect([...found(silence)].every(Number.isFinite)).toBe(true);
    }
  });

  it.each([
    [{ fft: 500 }, /fft is 500; expected a power of two/],
    [{ fft: 256 }, /fft is 256; expected at least frame, 480/],
    [{ bins: 50 }, /bins is 50; expected at most mels, 40/],
    [{ low_hz: 4000 }, /low_hz is 4000; expected less than high_hz/],
    [{ high_hz: 8001 }, /high_hz is 8001; expected at most half of rate_hz, 8000/],
  ])('refuses %o', (wrong, said) => {
    const spec = { bins: 10, mels: 40, frame: 480, stride: 320, fft: 512, ...wrong };
    expect(() => createSpectrum(mfccOf(spec), 16_000)).toThrow(said);
  });
});

describe('the spectrum against librosa', () => {
  const cases = librosa.map((of) => ({ ...of, name: `${of.rate_hz} Hz` }));
  const made = ({ rate_hz, samples, mfcc: { bins, ...mfcc } }: (typeof librosa)[number]) => {
    const sound = chirp(samples, rate_hz);
    const of = (spec: object) => createSpectrum(mfccOf(spec), rate_hz)(sound);
    return { logMel: of(mfcc), mfcc: of({ ...mfcc, bins }) };
  };

  it.each(cases)('has its log-mel bands and coefficients with the same filters, $name', (of) => {
    const { logMel, mfcc } = made(of);
    expectNear(logMel, of.straight.log_mel, 1e-4);
    expectNear(mfcc, of.straight.mfcc, 1e-3);
  });

  // librosa's filters have their sides straight in Hz: narrow bands of few bins differ most.
  it.each(cases)('has nearly those of its own filters, $name', (of) => {
    const { logMel, mfcc } = made(of);
    const mean = (found: Float32Array, expected: number[]) =>
      expected.reduce((sum, value, i) => sum + Math.abs(value - found[i]!), 0) / expected.length;
    expect(mean(logMel, of.own.log_mel)).toBeLessThan(0.05);
    expect(mean(mfcc, of.own.mfcc)).toBeLessThan(0.1);
  });
});
