import { describe, expect, it } from 'vitest';
import { CODINGS, type Coding, cornersOf, drawn, FASTEST_DET, INPUT, LABELS, type Thing } from './codings.testing.ts';
import { createDecoder } from './decoder.ts';
import { optionsOf, runOf, seeded } from './examples.testing.ts';

const SEEDS = Array.from({ length: 20 }, (_, seed) => seed + 1);

function decoded(coding: Coding, things: readonly Thing[], over: object = {}) {
  const options = optionsOf({ task: 'detection', output: coding.output, labels: LABELS, input: INPUT }, over);
  const decode = createDecoder({ ...options, files: coding.files });
  return decode(runOf([coding.encode(things)]), 0, 'en').result.objects ?? [];
}

/** In the order in which the decoder gives them. */
function expectThings(objects: ReturnType<typeof decoded>, things: readonly Thing[]) {
  const sorted = things.toSorted((a, b) => b.score - a.score);
  expect(objects.map(({ label }) => label)).toEqual(sorted.map(({ kind }) => LABELS[kind]));
  for (const [at, thing] of sorted.entries()) {
    expect(objects[at]!.score).toBeCloseTo(thing.score, 4);
    for (const [side, value] of cornersOf(thing).entries())
      expect(objects[at]!.box[side]).toBeCloseTo(Math.min(1, Math.max(0, value)), 4);
  }
}

const thingsFor = ({ sideMin = 0 }: Coding, seed: number) =>
  drawn(seeded(seed)).map((thing) => ({ ...thing, w: Math.max(sideMin, thing.w), h: Math.max(sideMin, thing.h) }));

describe.each(Object.entries(CODINGS))('%s', (_, coding) => {
  it('finds what was encoded', () => {
    for (const seed of SEEDS) {
      const things = thingsFor(coding, seed);
      expectThings(decoded(coding, things), things);
    }
  });

  it('drops what does not reach score_min, and with no objects says none', () => {
    const things = thingsFor(coding, 2);
    expect(decoded(coding, things, { score_min: 0.995 })).toEqual([]);
    const [best] = things.toSorted((a, b) => b.score - a.score);
    expect(decoded(coding, things, { score_min: 0.05, objects_max: 1 }).map(({ label }) => label)).toEqual([
      LABELS[best!.kind],
    ]);
  });
});

describe('the round trip', () => {
  it('notices a wrong coding: each of these differs in one word from the right one', () => {
    const things = drawn(seeded(4));
    const wrong: [string, object][] = [
      ['yolox, rows', { strides: [32, 16, 8] }],
      ['ssd, priors made from maps', { order: 'yxhw' }],
      ['ssd, priors made from maps', { variances: [0.1, 0.1, 0.2, 0.2] }],
      ['ssd, priors made from maps', { background: null }],
      ['anchor-free, one output', { centre: 0 }],
      ['anchor-free, one output', { distances: 'pixels' }],
      ['scores-boxes, corners', { form: 'centre' }],
      ['scores-boxes, corners', { unit: 'pixels' }],
      ['box-rows, pixels', { unit: 'picture' }],
      ['box-rows, pixels', { columns: ['y0', 'x0', 'y1', 'x1', 'score', 'class'] }],
      ['grid, FastestDet, channels last', { channels: FASTEST_DET.map(({ activation: _, ...rest }) => rest) }],
    ];
    for (const [name, over] of wrong) {
      const [coding, right] = [CODINGS[name]!, decoded(CODINGS[name]!, things)];
      let other: unknown;
      try {
        other = decoded(coding, things, over);
      } catch (error) {
        other = error;
      }
      expect(other, `${name} ${JSON.stringify(over)}`).not.toEqual(right);
    }
  });
});
