import { describe, expect, it } from 'vitest';
import { seeded } from './reference.testing.ts';
import { windowsIn, windowsOf } from './windows.ts';

/** Sample i is i + 1, so that a zero can only be padding. */
const ramp = (length: number, at = 0) => Float32Array.from({ length }, (_, i) => at + i + 1);

const random = seeded(7);
const whole = (max: number) => Math.floor(random() * (max + 1));
const CASES = Array.from({ length: 300 }, () => ({
  length: whole(200),
  spec: { window: 1 + whole(30), hop: 1 + whole(40), context: whole(20) },
}));

describe('windows', () => {
  it('lie at multiples of the hop, with their context before them and zeros before the beginning', () => {
    expect([...windowsOf(ramp(7), { window: 3, hop: 2, context: 1 })].map((window) => [...window])).toEqual([
      [0, 1, 2, 3],
      [2, 3, 4, 5],
      [4, 5, 6, 7],
    ]);
  });

  it('follow each other without a gap where no hop is said, and a last one that is not whole is none', () => {
    expect([...windowsOf(ramp(8), { window: 3 })].map((window) => [...window])).toEqual([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect([...windowsOf(ramp(2), { window: 3 })]).toEqual([]);
  });

  it('each cover exactly their samples, for any numbers', () => {
    for (const { length, spec } of CASES) {
      const windows = [...windowsOf(ramp(length), spec)];
      expect(windows.length).toBe(windowsIn(length, spec).count);
      for (const [i, window] of windows.entries()) {
        const expected = Array.from({ length: spec.context + spec.window }, (_, k) =>
          Math.max(0, i * spec.hop - spec.context + k + 1),
        );
        expect([...window]).toEqual(expected);
      }
      // One more would not have fitted.
      expect(windows.length * spec.hop + spec.window).toBeGreaterThan(length);
    }
  });

  it('are the same however the samples were cut, where enough of the earlier ones is kept', () => {
    for (const { length, spec } of CASES) {
      const expected = [...windowsOf(ramp(length), spec)].map((window) => [...window]);
      const found = new Map<number, number[]>();
      let from = 0;
      for (let end = 1 + whole(50); ; end = Math.min(length, end + 1 + whole(50))) {
        const at = Math.max(0, from);
        const piece = ramp(Math.min(end, length) - at, at);
        const { first } = windowsIn(piece.length, spec, at);
        for (const [i, window] of [...windowsOf(piece, spec, at)].entries())
          found.set(first + i * spec.hop, [...window]);
        if (end >= length) break;
        // What a window that is not whole yet can still need.
        from = end - spec.window - spec.context - spec.hop;
      }
      expect([...found.keys()]).toEqual(expected.map((_, i) => i * spec.hop));
      expect([...found.values()]).toEqual(expected);
    }
  });
});
