import { describe, expect, it } from 'vitest';
import { PassportSchema } from './passport.ts';
import { passportProblems } from './problems.ts';

const passport = (input: object) => ({
  passport: 1,
  name: 'm',
  version: 1,
  task: 'classification',
  files: [{ path: 'model.onnx', sha256: '0'.repeat(64) }],
  inputs: [input],
  output: { decoder: 'classification', tensors: { logits: 'y' } },
});

function problems(input: object): string[] {
  const parsed = PassportSchema.safeParse(passport(input));
  if (parsed.error === undefined) return [];
  return passportProblems(parsed.error).map(({ path, message }) => `${path.join('.')}: ${message}`);
}

const image = { width: 28, height: 28 };

describe('what is wrong with an input', () => {
  it.each<[string, object, RegExp]>([
    [
      'a colour that there is not',
      { tensor: 'x', image: { ...image, colour: 'gray' } },
      /^inputs\.0\.image\.colour: .*"grey"/,
    ],
    [
      'a number in quotes',
      { tensor: 'x', image: { ...image, width: '28' } },
      /^inputs\.0\.image\.width: .*expected a number/,
    ],
    [
      'a number where a list belongs',
      { tensor: 'x', image: { ...image, mean: 127 } },
      /^inputs\.0\.image\.mean: .*expected/,
    ],
    ['a key that there is not', { tensor: 'x', image: { ...image, hight: 28 } }, /^inputs\.0\.image: .*"hight"/],
    [
      'a window of sound that is none',
      { tensor: 'x', audio: { rate_hz: 16_000, window: 0 } },
      /^inputs\.0\.audio\.window: /,
    ],
    ['a type that there is not', { tensor: 'x', constant: 1, dtype: 'int65' }, /^inputs\.0\.dtype: /],
    ['no form at all', { tensor: 'x' }, /^inputs\.0: expected one of image, audio, signal/],
  ])('%s is named where it stands', (_name, input, expected) => {
    const found = problems(input);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(expected);
    // In words of its own, not in those of zod.
    expect(found[0]).not.toMatch(/Invalid|Too (small|big)|Unrecognized/);
  });

  it('nothing is', () => {
    expect(problems({ tensor: 'x', image })).toEqual([]);
  });
});
