import { type Outcome, OutcomeSchema } from '@brink/protocol';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { outcome } from '../ledger/ledger.testing.ts';
import { createAcceptance } from './acceptance.ts';

const isOutcome = createAcceptance(OutcomeSchema);

/** Every part of the schema is in one of them. */
const whole: Outcome[] = [
  outcome(1),
  outcome(2, {
    result: {
      task: 'raw',
      objects: [{ label: 'cat', label_text: '猫', score: 1, box: [0, 0, 0.5, 1] }],
      values: { rms: -0.5 },
      embedding: [1, 2e-9],
      tensors: { out: { dtype: 'float32', shape: [2, 0], data: [1, 2] } },
      quality: 'bad',
    },
  }),
  outcome(3, { outcome: 'dead', result: undefined, error: { code: 'E_TIMEOUT', detail: 'slow' } }),
].map((value) => JSON.parse(JSON.stringify(value)) as Outcome);

const WRONG: unknown[] = [
  null,
  true,
  '',
  'X y',
  'k3v9',
  -1,
  0,
  1.5,
  2,
  1e300,
  [],
  {},
  [1],
  [0, 0, 0, 0, 0],
  { constructor: 1 },
];

/** The value with each of its parts replaced, taken out or added to, one at a time. */
function* changed(value: unknown): Generator<unknown> {
  yield* WRONG;
  if (typeof value !== 'object' || value === null) return;
  if (Array.isArray(value)) {
    yield [...value, ...value];
    yield Array.from({ length: 70_000 }, () => value[0]);
    for (const [index, item] of value.entries())
      for (const other of changed(item)) yield value.toSpliced(index, 1, other);
    return;
  }
  for (const name of ['extra', '__proto__', 'toString']) {
    yield JSON.parse(`{${JSON.stringify(value).slice(1, -1)},"${name}":1}`);
  }
  for (const [key, item] of Object.entries(value)) {
    const { [key]: _, ...rest } = value as Record<string, unknown>;
    yield rest;
    for (const other of changed(item)) yield { ...value, [key]: other };
  }
}

test('what is as the schema says is known without asking it', () => {
  expect(whole.map(isOutcome)).toEqual([true, true, true]);
});

test('whatever is changed in an outcome: a yes is one that the schema gives as well, of the same value', () => {
  const answers = { yes: 0, no: 0 };
  for (const value of whole.flatMap((one) => [...changed(one)])) {
    const yes = isOutcome(value);
    answers[yes ? 'yes' : 'no'] += 1;
    if (!yes) continue;
    const parsed = OutcomeSchema.safeParse(value);
    expect(
      parsed.success && JSON.stringify(sorted(parsed.data)) === JSON.stringify(sorted(value)),
      JSON.stringify(value).slice(0, 300),
    ).toBe(true);
  }
  expect(answers.yes).toBeGreaterThan(100);
  expect(answers.no).toBeGreaterThan(1000);
});

test.each([
  ['a transformation', z.string().transform((text) => text.trim())],
  ['a default', z.strictObject({ a: z.string().default('x') })],
  ['what is coerced', z.coerce.string()],
  ['an unknown check', z.string().trim()],
  ['a list of a least length', z.array(z.string()).min(2)],
  ['an object that leaves things out', z.object({ a: z.string() })],
  ['a union', z.union([z.string(), z.number()])],
])('%s is left to the schema', (_, schema) => {
  const check = createAcceptance(schema);
  expect(['x', { a: 'x' }, ['x'], {}].map(check)).not.toContain(true);
});

/** The schema gives keys in its own order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, sorted(item)]),
  );
}
