import { BrinkError, type DecoderName, ResultSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import type { Decode } from './decode.ts';
import { createDecoder } from './decoder.ts';
import { EXAMPLES, optionsOf, type Random, runOf, seeded, type UnitOutputs, whole } from './examples.testing.ts';

const SEEDS = Array.from({ length: 25 }, (_, seed) => seed + 1);
const NAMES = Object.keys(EXAMPLES) as DecoderName[];

function codeOf(act: () => unknown): string {
  try {
    act();
    return 'nothing';
  } catch (error) {
    return BrinkError.from(error).message;
  }
}

/** The unit with one of its numbers replaced. */
function spoilt(unit: UnitOutputs, value: number, random: Random): UnitOutputs {
  const names = Object.keys(unit);
  const name = names[whole(random, 0, names.length - 1)]!;
  const { shape, values } = unit[name]!;
  return { ...unit, [name]: { shape, values: values.with(whole(random, 0, values.length - 1), value) } };
}

/** What is wrong with the promise that batch-mates change nothing; undefined where it holds. */
function changedByMates(decode: Decode, alone: Decode, units: readonly UnitOutputs[]): string | undefined {
  const batch = runOf(units);
  for (const [at, unit] of units.entries()) {
    const together = JSON.stringify(decode(batch, at, 'en'));
    const single = JSON.stringify(alone(runOf([unit]), 0, 'en'));
    if (together !== single) return `unit ${at} of ${units.length}: ${together}, alone ${single}`;
  }
  return undefined;
}

describe.each(NAMES)('%s', (name) => {
  const example = EXAMPLES[name];
  const decode = createDecoder(optionsOf(example));

  it('gives a unit the same result whoever is in its batch', () => {
    for (const seed of SEEDS) {
      const random = seeded(seed);
      const units = Array.from({ length: whole(random, 2, 5) }, () => example.unit(random));
      expect(changedByMates(decode, decode, units), `seed ${seed}`).toBeUndefined();
    }
  });

  it('gives a unit its result beside one that is NaN, and refuses that one alone', () => {
    for (const seed of SEEDS) {
      const random = seeded(seed);
      const unit = example.unit(random);
      const expected = decode(runOf([unit]), 0, 'en');
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
        const bad = spoilt(example.unit(random), value, random);
        const batch = runOf([bad, unit, bad]);
        expect(decode(batch, 1, 'en')).toEqual(expected);
        for (const at of [0, 2]) expect(codeOf(() => decode(batch, at, 'en'))).toMatch(/^E_MODEL_OUTPUT: output "/);
      }
    }
  });

  it('gives what the schema of results takes: scores and boxes of 0..1, the best first', () => {
    for (const seed of SEEDS) {
      const { result, top } = decode(runOf([example.unit(seeded(seed))]), 0, 'en');
      expect(ResultSchema.parse(JSON.parse(JSON.stringify(result)))).toEqual(result);
      expect(top.length).toBeLessThanOrEqual(5);
      const scores = result.objects?.map(({ score }) => score) ?? [];
      expect(scores).toEqual(scores.toSorted((a, b) => b - a));
      for (const { box } of result.objects ?? []) expect(box[0] < box[2] && box[1] < box[3]).toBe(true);
      if (result.objects !== undefined) expect(result.score).toBe(scores[0] ?? 0);
      if (['classification', 'detection', 'keyword', 'anomaly', 'segmentation'].includes(example.task)) {
        expect(result).toMatchObject({ label: expect.any(String), score: expect.any(Number) });
      }
    }
  });

  it('refuses an output that is missing or does not divide into the batch', () => {
    const unit = example.unit(seeded(7));
    const run = runOf([unit, unit]);
    expect(codeOf(() => decode({ ...run, tensors: new Map() }, 0, 'en'))).toMatch(/^E_MODEL_OUTPUT: the run gave no/);
    expect(codeOf(() => decode({ ...run, batch: 7 }, 0, 'en'))).toMatch(/^E_(MODEL_OUTPUT|PASSPORT): output/);
  });

  it('is for its own task', () => {
    const task = example.task === 'raw' ? 'regression' : 'raw';
    expect(codeOf(() => createDecoder({ ...optionsOf(example), task }))).toMatch(/^E_PASSPORT: task is/);
  });
});

describe('the check of batch-mates', () => {
  it.each(NAMES)('finds out a decoder of %s that reads the slice of another unit', (name) => {
    const example = EXAMPLES[name];
    const decode = createDecoder(optionsOf(example));
    const neighbour: Decode = (outputs, unit, language) => decode(outputs, (unit + 1) % outputs.batch, language);
    const found = SEEDS.some((seed) => {
      const random = seeded(seed);
      return changedByMates(neighbour, decode, [example.unit(random), example.unit(random)]) !== undefined;
    });
    expect(found).toBe(true);
  });
});
