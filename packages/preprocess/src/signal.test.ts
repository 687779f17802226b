import { SignalInputSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { createBandPass, designBandPass } from './butterworth.ts';
import { normaliseMinMax } from './normalise.ts';
import { expectNear, offsetChirp } from './reference.testing.ts';
import { signalUnits } from './signal.ts';
import { detrend, medianFilter } from './smooth.ts';
import { floatsOf } from './units.testing.ts';
import { wireHeads } from './wire.ts';

describe('a signal', () => {
  const given = [Float32Array.of(1, 2, 3, 4, 5), Float32Array.of(10, 30, 20, 40, 0)];
  const spec = { rate_hz: 10, window: 3, hop: 2, channels: ['a', 'b'] };

  it('becomes windows in either layout', () => {
    const channelsFirst = floatsOf(signalUnits(given, SignalInputSchema.parse(spec)));
    expect(channelsFirst.map((unit) => [...unit])).toEqual([
      [1, 2, 3, 10, 30, 20],
      [3, 4, 5, 20, 40, 0],
    ]);
    const timeFirst = floatsOf(signalUnits(given, SignalInputSchema.parse({ ...spec, layout: 'time-channels' })));
    expect(timeFirst.map((unit) => [...unit])).toEqual([
      [1, 10, 2, 30, 3, 20],
      [3, 20, 4, 40, 5, 0],
    ]);
  });

  it('is normalised per window and channel', () => {
    const units = floatsOf(signalUnits(given, SignalInputSchema.parse({ ...spec, normalise: 'min-max' })));
    expect(units.map((unit) => [...unit])).toEqual([
      [0, 0.5, 1, 0, 1, 0.5],
      [0, 0.5, 1, 0.5, 1, 0],
    ]);
    const [scored] = floatsOf(signalUnits(given, SignalInputSchema.parse({ ...spec, normalise: 'z-score' })));
    const side = Math.sqrt(1.5);
    expectNear(scored!, [-side, 0, side, -side, side, 0], 1e-6);
  });

  const samples = Float32Array.from(offsetChirp(400, 1000));
  const chirped = { rate_hz: 1000, window: 100, channels: ['a'] };
  const unitsOf = (channels: Float32Array[], over: object) =>
    floatsOf(signalUnits(channels, SignalInputSchema.parse({ ...chirped, ...over })));

  it('goes through median and band-pass as a whole, then each window through detrend and normalise', () => {
    const band_pass = { low_hz: 20, high_hz: 200 };
    const filtered = createBandPass(designBandPass(2, 20, 200, 1000)).run(medianFilter(Float64Array.from(samples), 5));
    const units = unitsOf([samples], { median: 5, band_pass, detrend: 'linear', normalise: 'min-max' });
    expect(units.length).toBe(4);
    for (const [i, unit] of units.entries()) {
      const window = filtered.slice(i * 100, i * 100 + 100);
      detrend(window, 'linear');
      const expected = Float32Array.from(window);
      normaliseMinMax(expected);
      expectNear(unit, expected, 1e-5);
    }
    // The order counts: the other way round gives something else.
    const other = medianFilter(createBandPass(designBandPass(2, 20, 200, 1000)).run(Float64Array.from(samples)), 5);
    expect(Math.max(...other.map((x, i) => Math.abs(x - filtered[i]!)))).toBeGreaterThan(0.05);
  });

  it('is filtered both ways window by window: what lies around a window does not count', () => {
    const band_pass = { low_hz: 20, high_hz: 200, phase: 'zero' };
    const all = unitsOf([samples], { band_pass });
    const [alone] = unitsOf([samples.subarray(100, 200)], { band_pass });
    expect(all[1]).toEqual(alone);
    const [causalAlone] = unitsOf([samples.subarray(100, 200)], { band_pass: { ...band_pass, phase: 'causal' } });
    expect(causalAlone).not.toEqual(unitsOf([samples], { band_pass: { ...band_pass, phase: 'causal' } })[1]);
  });

  it('is filtered channel by channel', () => {
    const other = samples.map((x) => -3 * x);
    const over = { median: 3, band_pass: { low_hz: 20, high_hz: 200 }, detrend: 'constant' };
    const [both] = unitsOf([samples, other], { ...over, channels: ['a', 'b'] });
    const [first] = unitsOf([samples], over);
    expectNear(both!.subarray(0, 100), first!, 0);
    expectNear(
      both!.subarray(100),
      first!.map((x) => -3 * x),
      1e-5,
    );
  });

  it.each([
    [{ median: 4 }, /inputs\.signal\.median is 4; expected an odd number/],
    [{ band_pass: { low_hz: 20, high_hz: 20 } }, /band_pass is 20 to 20 Hz; expected a band/],
    [
      { band_pass: { low_hz: 20, high_hz: 500 } },
      /band_pass is 20 to 500 Hz; expected a band below half of rate_hz, 500/,
    ],
  ])('is refused where its numbers cannot be: %j', (over, said) => {
    const signal = SignalInputSchema.parse({ ...chirped, ...over });
    expect(() => signalUnits([samples], signal)).toThrow(/E_PASSPORT/);
    expect(() => wireHeads({ inputs: [{ tensor: 'x', signal }], state: [] })).toThrow(said);
  });

  it('that leaves float32 when filtered is refused, so that no unit holds what is no number', () => {
    const huge = Float32Array.from({ length: 100 }, (_, i) => (i % 20 < 10 ? 3.4e38 : -3.4e38));
    expect(() => unitsOf([huge], { band_pass: { low_hz: 20, high_hz: 200 } })).toThrow(/E_DECODE: "a" is no finite/);
  });
});

describe('a signal cut at its peaks', () => {
  /** A beat of 40 ms each second, the second channel counts the samples. */
  const at = [100, 220, 330, 460, 580, 690];
  const level = Float32Array.from({ length: 800 }, (_, i) =>
    at.reduce((sum, peak) => sum + Math.exp(-((i - peak) ** 2) / 8), 0.5),
  );
  const count = Float32Array.from({ length: 800 }, (_, i) => i);
  const spec = { rate_hz: 100, window: 115, channels: ['n', 'ecg'], trigger: { peaks: { channel: 'ecg' } } };
  const units = (over: object) => signalUnits([count, level], SignalInputSchema.parse({ ...spec, ...over }));
  const beginsAndEnds = (over: object) =>
    floatsOf(units(over)).map((unit) => [unit[0], unit.subarray(0, 115).findLast((x) => x > 0)]);

  it('has one unit from each peak to the next, the rest zeros, never more than the window; the last is not whole', () => {
    const cut = { until: 'next-peak', pad: 'zero', rate_as: 'heart_rate' };
    expect(beginsAndEnds(cut)).toEqual([
      [100, 214],
      [220, 329],
      [330, 444],
      [460, 574],
      [580, 689],
    ]);
    const rates = [120, 110, 130, 120, 110].map((samples) => ({ heart_rate: 6000 / samples }));
    expect(units(cut).values).toEqual(rates);
    expect(units({ ...cut, rate_as: undefined }).values).toBeUndefined();
  });

  it('takes what lies before the peak along; where that is not there, there is no unit', () => {
    expect(beginsAndEnds({ until: 'next-peak', pad: 'zero', before: 20 })[0]).toEqual([80, 194]);
    expect(beginsAndEnds({ until: 'next-peak', pad: 'zero', before: 101 })[0]).toEqual([119, 233]);
  });

  it('has whole windows where no end is said, each peak that has one', () => {
    expect(beginsAndEnds({}).map(([begin]) => begin)).toEqual([100, 220, 330, 460, 580]);
    expect(beginsAndEnds({ window: 100 }).length).toBe(6);
  });

  it('is normalised before the zeros come, which are not measured', () => {
    const [first] = floatsOf(units({ until: 'next-peak', pad: 'zero', normalise: 'z-score', window: 200 }));
    const beat = first!.subarray(0, 120);
    expect(Math.abs(beat.reduce((sum, x) => sum + x, 0))).toBeLessThan(1e-3);
    expect(first!.subarray(120, 200).every((x) => x === 0)).toBe(true);
  });

  it.each([
    [{ hop: 10 }, /hop is there beside trigger/],
    [{ until: 'next-peak' }, /of pad and until one is there/],
    [{ before: 115 }, /before is 115; expected less than window, 115/],
    [{ trigger: { peaks: { channel: 'x' } } }, /trigger\.peaks\.channel is "x"/],
    [{ trigger: { peaks: { band_hz: [5, 50] } } }, /trigger\.peaks\.band_hz is 5 to 50 Hz; expected a band below/],
    [{ trigger: undefined, rate_as: 'bpm' }, /rate_as says how to cut at a peak; expected trigger beside it/],
  ])('is refused where its numbers cannot be: %j', (over, said) => {
    expect(() => units(over)).toThrow(/E_PASSPORT/);
    expect(() => units(over)).toThrow(said);
  });

  it('stands alone: other inputs would have other units', () => {
    const signal = SignalInputSchema.parse(spec);
    const inputs = [{ tensor: 'x', signal }];
    expect(() => wireHeads({ inputs, state: [] })).not.toThrow();
    expect(() => wireHeads({ inputs: [...inputs, { tensor: 'y', signal }], state: [] })).toThrow(/E_PASSPORT.*alone/);
  });
});
