import { AudioInputSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { chirp, expectNear, reference } from './reference.testing.ts';
import { floatsOf } from './units.testing.ts';
import { audioUnits } from './units.ts';
import { wireHeads } from './wire.ts';

describe('a recording', () => {
  it('becomes windows with context, of the size that the head promises', () => {
    const audio = AudioInputSchema.parse({ rate_hz: 16_000, window: 4, hop: 2, context: 3 });
    const units = floatsOf(audioUnits(Float32Array.of(1, 2, 3, 4, 5, 6, 7), audio));
    expect(units.map((unit) => [...unit])).toEqual([
      [0, 0, 0, 1, 2, 3, 4],
      [0, 1, 2, 3, 4, 5, 6],
    ]);
    expect(wireHeads({ inputs: [{ tensor: 'x', audio }], state: [] })[0]?.bytes).toBe(7 * 4);
  });

  it('is divided by its largest sample window by window, before the spectrum', () => {
    const mfcc = { bins: 5, mels: 10, frame: 200, stride: 100, fft: 256, high_hz: 4000 };
    const audio = AudioInputSchema.parse({ rate_hz: 16_000, window: 400, normalise: 'peak', mfcc });
    const loud = chirp(800, 16_000);
    const quietThenLoud = loud.map((sample, i) => (i < 400 ? sample / 8 : sample));
    const [first, second] = floatsOf(audioUnits(loud, audio));
    const [quiet, same] = floatsOf(audioUnits(quietThenLoud, audio));
    expectNear(quiet!, first!, 1e-4);
    expect(same).toEqual(second);
    // Without it an eighth of the loudness shows.
    const [raw] = floatsOf(audioUnits(quietThenLoud, { ...audio, normalise: 'none' }));
    expect(Math.abs(raw![0]! - first![0]!)).toBeGreaterThan(1);
  });

  it.each(['time-bins', 'bins-time', 'time-bins-1', '1-time-bins'] as const)(
    'has as many frames as its head promises, context included (%s)',
    (layout) => {
      const mfcc = { ...reference.spectra[0]!.mfcc, layout };
      for (const [window, context] of [
        [480, 0],
        [799, 0],
        [700, 100],
        [16_000, 160],
      ] as const) {
        const audio = AudioInputSchema.parse({ rate_hz: 16_000, window, context, mfcc });
        const [unit] = floatsOf(audioUnits(chirp(window, 16_000), audio));
        expect(unit!.byteLength).toBe(wireHeads({ inputs: [{ tensor: 'x', audio }], state: [] })[0]?.bytes);
      }
    },
  );

  it('is refused where its spectrum cannot be, before any unit is asked for, and by its head too', () => {
    const mfcc = { bins: 5, mels: 10, frame: 200, stride: 100, fft: 256, high_hz: 4000 };
    const audio = AudioInputSchema.parse({ rate_hz: 4000, window: 400, mfcc });
    expect(() => audioUnits(new Float32Array(400), audio)).toThrow(/E_PASSPORT.*half of rate_hz/);
    expect(() => wireHeads({ inputs: [{ tensor: 'x', audio }], state: [] })).toThrow(/E_PASSPORT.*half of rate_hz/);
    const short = { ...audio, rate_hz: 8000, window: 199 };
    expect(() => wireHeads({ inputs: [{ tensor: 'x', audio: short }], state: [] })).toThrow(/E_PASSPORT.*199 samples/);
    expect(() => wireHeads({ inputs: [{ tensor: 'x', audio: { ...short, window: 200 } }], state: [] })).not.toThrow();
  });
});
