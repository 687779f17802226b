import { ConfigurationSchema, type KeepConfig } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { createKeeping } from './keeping.ts';
import { FIRST_MS, outcome } from './ledger.testing.ts';

type Fields = Parameters<typeof outcome>[1];

/** Which of them are kept, by their place. */
function kept(keep: KeepConfig, ...units: Fields[]): number[] {
  const keeping = createKeeping();
  const pipelines = { pets: { model: 'cifar-net', keep } };
  keeping.configure(ConfigurationSchema.parse({ version: 1, streams: { front: { format: 'image', pipelines } } }));
  const last = { sign: undefined, ms: undefined };
  return units.flatMap((fields, at) => (keeping.wants(outcome(at + 1, fields), last) ? [at] : []));
}

const cat = { result: { task: 'classification', label: 'cat', score: 0.9 } } satisfies Fields;
const surer = { result: { task: 'classification', label: 'cat', score: 0.99 } } satisfies Fields;
const dog = { result: { task: 'classification', label: 'dog', score: 0.9 } } satisfies Fields;
const late = { outcome: 'expired', result: undefined, error: { code: 'E_EXPIRED', detail: '' } } satisfies Fields;
const sees = (...labels: string[]) => ({
  result: {
    ...{ task: 'detection', label: labels[0] ?? 'none', score: 0.9 },
    objects: labels.map((label) => ({ label, score: 0.5, box: [0, 0, 1, 1] })),
  },
});

describe('keep', () => {
  it('all: every one', () => {
    expect(kept('all', cat, cat, dog)).toEqual([0, 1, 2]);
  });

  it('changes: where the label, the outcome, the model or the quality differs from the one before', () => {
    expect(kept('changes', cat, surer, dog, dog, cat)).toEqual([0, 2, 4]);
    expect(kept('changes', cat, late, late, cat)).toEqual([0, 1, 3]);
    expect(kept('changes', cat, { ...cat, model: { name: 'cifar-net', version: 4 } })).toEqual([0, 1]);
    expect(kept('changes', cat, { result: { ...cat.result, quality: 'bad' } })).toEqual([0, 1]);
  });

  it('changes: where there are more or fewer objects of a label, whatever their order', () => {
    const seen = [sees('cat', 'dog'), sees('dog', 'cat'), sees('cat', 'dog', 'dog'), sees(), sees()] as Fields[];
    expect(kept('changes', ...seen)).toEqual([0, 2, 3]);
  });

  it('changes: values are a change each time that they differ', () => {
    const value = (t: number) => ({ result: { task: 'regression', values: { t } } }) satisfies Fields;
    expect(kept('changes', value(1), value(1), value(2))).toEqual([0, 2]);
  });

  it('every_ms: one in this time, of received_at; a clock that was set back silences nothing', () => {
    const at = (ms: number) => ({ ...cat, received_ms: FIRST_MS + ms });
    expect(kept({ every_ms: 1000 }, at(0), at(999), at(1000), at(1999), at(2000))).toEqual([0, 2, 4]);
    expect(kept({ every_ms: 1000 }, at(0), at(-3_600_000), at(-3_599_500), at(-3_599_000))).toEqual([0, 1, 3]);
  });
});
