import { expect, test } from 'vitest';
import { outcome } from '../ledger/ledger.testing.ts';
import { readOutcomes } from './outcomes.ts';

const bytes = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
const letter = {
  dead: true,
  device: 'Any Text <b>',
  stream: 'front',
  error: { code: 'E_IMAGE_TYPE', detail: 'GIF' },
  sha256: 'c'.repeat(64),
  bytes: 3,
  received_ms: 1,
};

test('outcomes and dead letters are told apart, and keep the text that they came as', () => {
  const { items, refused } = readOutcomes([bytes(outcome(1)), bytes(letter)]);
  expect(items.map(({ kind }) => kind)).toEqual(['outcome', 'dead']);
  expect(items[0]?.json).toBe(JSON.stringify(outcome(1)));
  expect(refused).toEqual([]);
});

test('a view into a larger buffer is read as itself', () => {
  const whole = Buffer.concat([Buffer.alloc(64, 'x'), bytes(outcome(7)), Buffer.alloc(64, 'y')]);
  const { items } = readOutcomes([whole.subarray(64, whole.length - 64)]);
  expect(items[0]).toMatchObject({ kind: 'outcome', outcome: { seq: 7 } });
});

test('what is wrong is refused by its index, with what is wrong', () => {
  const { items, refused } = readOutcomes([
    bytes('{'),
    bytes({ ...outcome(1), colour: 'red' }),
    bytes({ ...outcome(1), result: undefined }),
    bytes({ ...letter, error: { code: 'E_NONE', detail: '' } }),
    bytes('null'),
    bytes({ ...outcome(1), result: { ...outcome(1).result, label: 'x'.repeat(600_000) } }),
    bytes({ ...outcome(1), evidence: { ...outcome(1).evidence, gateway: 'g'.repeat(5000) } }),
    bytes(outcome(2)),
  ]);
  expect(items).toHaveLength(1);
  expect(refused.map(({ index, error }) => [index, error.code])).toEqual([
    [0, 'E_BAD_REQUEST'],
    [1, 'E_BAD_REQUEST'],
    [2, 'E_BAD_REQUEST'],
    [3, 'E_BAD_REQUEST'],
    [4, 'E_BAD_REQUEST'],
    [5, 'E_TOO_LARGE'],
    [6, 'E_TOO_LARGE'],
  ]);
  expect(refused[1]?.error.detail).toContain('colour');
  expect(refused[2]?.error.detail).toContain('result');
});
